"""`onggi-runtime kill` and `delete`: signals to a container, and its end with all that belongs to it."""

from __future__ import annotations

import _signal as signal  # lean.py
import contextlib
import os
from typing import Final

from onggi.errors import Conflict, InvalidArgument, NotFound
from onggi.kernel import process
from onggi.kernel.cgroups import membership
from onggi.runtime import cgroupspaths, hooks
from onggi.runtime.bundles import Bundles, ContainerState, is_alive
from onggi.runtime.flags import Given
from onggi.runtime.processes import wait_readable
from onggi.runtime.reports import status_of
from onggi.runtime.runtimelog import Log

_KILL_TIMEOUT_S: Final = 10.0
_FROZEN_ELSEWHERE_S: Final = 0.1


def kill(options: Given, given: Given) -> int:
    """A signal to the first process; with --all, or when there is no process 1 whose end ends all, to each of them."""
    bundles = Bundles(options.text("root"))
    number = signal_number(given.rest[1] if len(given.rest) > 1 else "SIGTERM")
    if "regex" not in given.switches:
        _kill_one(bundles.load(given.rest[0]), number, every="all" in given.switches)
        return 0
    for state in _matching(bundles, given.rest[0]):
        with contextlib.suppress(Conflict):
            _kill_one(state, number, every="all" in given.switches)
    return 0


def _kill_one(state: ContainerState, number: int, *, every: bool) -> None:
    cgroup = cgroupspaths.find(state.cgroup_path)
    if every or (number == signal.SIGKILL and state.shares_pids):
        pids = cgroup.pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if not pids and not every:
            _signal_init(state, number)
    else:
        _signal_init(state, number)
    if number == signal.SIGKILL and cgroup.is_frozen():
        # What is frozen by v1 dies when it is thawed (cgroup-v1/freezer-subsystem.rst).
        cgroup.thaw()


def _signal_init(state: ContainerState, number: int) -> None:
    if not is_alive(state):
        raise Conflict("container not running")
    with process.pidfd_open(state.pid) as pidfd:
        # Asked again with the pidfd in hand: from here on the number can't become another process (S-18).
        if not is_alive(state):
            raise Conflict("container not running")
        process.pidfd_send_signal(pidfd, number)


def _matching(bundles: Bundles, pattern: str) -> list[ContainerState]:
    import re  # it takes longer than the rest

    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InvalidArgument(f"invalid regular expression {pattern!r}: {error}") from None
    return [state for state in bundles.all() if expression.search(state.id)]


def signal_number(text: str) -> int:
    """A signal by number or name, with or without SIG. Raises InvalidArgument."""
    if text.isdecimal():
        return int(text)
    from signal import Signals

    name = text.upper()
    try:
        return Signals["SIG" + name.removeprefix("SIG")].value
    except KeyError:
        raise InvalidArgument(f'unknown signal "{text}"') from None


def delete(options: Given, given: Given) -> int:
    """Forget a stopped or created container; with --force end it first, and a missing one is fine."""
    bundles, log = Bundles(options.text("root")), Log.of(options)
    force = "force" in given.switches
    if "regex" in given.switches:
        for state in _matching(bundles, given.rest[0]):
            _delete_one(bundles, state, log, force=force)
        return 0
    try:
        state = bundles.load(given.rest[0])
    except NotFound:
        if force:
            bundles.remove(given.rest[0])
            return 0
        raise
    _delete_one(bundles, state, log, force=force)
    return 0


def _delete_one(bundles: Bundles, state: ContainerState, log: Log, *, force: bool) -> None:
    status = status_of(bundles, state)
    if status in {"running", "paused"} and not force:
        raise Conflict(f"cannot delete container {state.id} that is not stopped: {status}")
    forget(bundles, state, log)


def forget(bundles: Bundles, state: ContainerState, log: Log) -> None:
    """End what is left of a container, and forget it. A hook after its end that fails is a warning (runtime.md, "Lifecycle")."""
    cgroup = cgroupspaths.find(state.cgroup_path)
    cgroup.kill_all()
    _wait_dead(state)
    cgroup.remove()
    if state.resctrl_made:
        from onggi.runtime import resctrl

        resctrl.remove(state.resctrl_made)
    for hook in state.decoded_hooks().poststop:
        try:
            hooks.run([hook], state.told("stopped"))
        except InvalidArgument as error:
            log.warning(f"poststop hook failed with {error}")
    bundles.remove(state.id)


def _wait_dead(state: ContainerState) -> None:
    try:
        pidfd = process.pidfd_open(state.pid)
    except ProcessLookupError:
        return
    with pidfd:
        if not is_alive(state):
            return
        process.pidfd_send_signal(pidfd, signal.SIGKILL)
        if wait_readable(pidfd.fileno(), _FROZEN_ELSEWHERE_S):
            return
        # Somebody may have moved it into a frozen group that isn't the container's.
        membership.thaw(state.pid)
        if not wait_readable(pidfd.fileno(), _KILL_TIMEOUT_S):
            raise Conflict(f"container {state.id} could not be killed: its process {state.pid} does not end")
