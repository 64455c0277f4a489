"""The commands of `onggi-runtime` on a container that is there: start, pause, resume, update."""

from __future__ import annotations

import os
import select
from typing import Final

from onggi.errors import Conflict, InvalidArgument
from onggi.runtime import cgroupspaths, hooks
from onggi.runtime.bundles import FIFO, Bundles, is_alive
from onggi.runtime.ending import forget
from onggi.runtime.flags import Given
from onggi.runtime.reports import status_of
from onggi.runtime.runtimelog import Log
from onggi.runtime.updates import resources, schemata_of

_PROGRAM_WITHIN_MS: Final = 10_000
"""A startContainer hook stands between, and may take its time."""


def start(options: Given, given: Given) -> int:
    """The program of a created container begins."""
    bundles = Bundles(options.text("root"))
    state = bundles.load(given.rest[0])
    status = status_of(bundles, state)
    if status == "stopped":
        raise Conflict("cannot start a container that has stopped")
    if status != "created":
        raise Conflict("cannot start an already running container")
    path = f"{bundles.directory(state.id)}/{FIFO}"
    try:
        fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Conflict("cannot start an already running container") from None
    try:
        # Removed first: of two starts one finds nothing.
        os.unlink(path)
        os.write(fifo, b"0")
        _wait_for_program(fifo)
    except FileNotFoundError:
        raise Conflict("cannot start an already running container") from None
    finally:
        os.close(fifo)
    try:
        hooks.run(state.decoded_hooks().poststart, state.told("running"))
    except InvalidArgument:
        # A container that its hooks couldn't be told of is stopped and deleted (runtime.md, "Lifecycle", 1.3).
        forget(bundles, state, Log.of(options))
        raise
    return 0


def _wait_for_program(fifo: int) -> None:
    """Until the fifo has no reader any more: the process has become its program, or has ended.

    Poststart hooks are for a program that runs (config.md, "Poststart"), and so are signals.
    """
    poll = select.poll()
    poll.register(fifo, 0)
    poll.poll(_PROGRAM_WITHIN_MS)


def pause(options: Given, given: Given) -> int:
    """All its processes stand still."""
    bundles = Bundles(options.text("root"))
    state = bundles.load(given.rest[0])
    status = status_of(bundles, state)
    if status not in {"running", "created"}:
        raise Conflict(f"container not running or created: {status}")
    cgroupspaths.find(state.cgroup_path).freeze()
    return 0


def resume(options: Given, given: Given) -> int:
    """They go on."""
    bundles = Bundles(options.text("root"))
    state = bundles.load(given.rest[0])
    if status_of(bundles, state) != "paused":
        raise Conflict("container not paused")
    cgroupspaths.find(state.cgroup_path).thaw()
    return 0


def update(options: Given, given: Given) -> int:
    """Its limits change while it runs."""
    bundles = Bundles(options.text("root"))
    state = bundles.load(given.rest[0])
    if not is_alive(state):
        raise Conflict("container not running")
    wanted, schemata = resources(given), schemata_of(given, state.resctrl)
    cgroupspaths.find(state.cgroup_path).apply(wanted)
    if schemata:
        from onggi.runtime import resctrl

        resctrl.write_schemata(state.resctrl, schemata)
    return 0
