"""Execs, one after the other: starts each process, is its parent until it ends, and says how it ended.

Forked by the zygote ahead of time, as a starter is, and lives on like one: an exec pays for one fork, its own. Stdio are
the engine's descriptors themselves, or a terminal whose master the engine has: no byte passes here.

Invariants: (1) of a request's descriptors only the control socket outlives its start, with the pidfd of what runs; (2) an
end is told while another start is under way, however long that one hangs; (3) when the engine or the launcher has no use
for it any more, it waits for what runs and takes no request.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket
import time
from collections.abc import Mapping
from typing import Never

from onggi.errors import OnggiError, RuntimeStepError
from onggi.kernel import cgroups
from onggi.kernel.faults import point
from onggi.kernel.fds import Fd
from onggi.kernel.namespaces import is_rootless
from onggi.oci.runtime import Process
from onggi.runtime import defaults, handover, init, joining, parent, protocol, waiting
from onggi.runtime.processes import exit_of, start_time
from onggi.runtime.protocol import ExecProcess, ExitRecord, Started
from onggi.runtime.steps import StepFailed


class Running:
    """The processes that run, each with the socket on which the engine is told of its end."""

    def __init__(self) -> None:
        self._by_pidfd: dict[int, tuple[Fd, int, socket.socket]] = {}

    def add(self, pidfd: Fd, pid: int, control: socket.socket) -> None:
        """A child of ours; both descriptors are ours to close from now on."""
        self._by_pidfd[pidfd.fileno()] = (pidfd, pid, control)

    def until(self, wanted: Mapping[int, int]) -> set[int]:
        """Those of `wanted` (descriptor → poll's events) that are ready, as soon as one is. Ends are told meanwhile."""
        while True:
            ready = self._ready(wanted)
            for fd in ready & self._by_pidfd.keys():
                _tell_end(*self._by_pidfd.pop(fd))
            if found := ready & wanted.keys():
                return found

    def until_idle(self) -> None:
        """Until the last of them has ended."""
        while self._by_pidfd:
            for fd in self._ready({}):
                _tell_end(*self._by_pidfd.pop(fd))

    def _ready(self, wanted: Mapping[int, int]) -> set[int]:
        poll = select.poll()
        for fd, events in wanted.items():
            poll.register(fd, events)
        for fd in self._by_pidfd:
            poll.register(fd, select.POLLIN)
        return {fd for fd, _ in poll.poll()}


def _tell_end(pidfd: Fd, pid: int, control: socket.socket) -> None:
    _, status = os.waitpid(pid, 0)
    exit_code, signal_number = exit_of(status)
    with pidfd, control, contextlib.suppress(OSError):
        # Without an engine nobody asks any more.
        protocol.send(control, ExitRecord(exit_code, time.time_ns(), signal_number))


def run(requests: socket.socket, orders: socket.socket) -> Never:
    """Wait for requests at `requests`, carry each out, tell of its end.

    The order has a pipe to the launcher, which is told what this one is at.
    """
    _, slot = handover.read_order(orders)
    orders.close()
    _rehearse()
    # As a starter: what lives long collects its garbage.
    gc.enable()
    running = Running()
    while (received := waiting.next_request(requests, slot, running.until)) is not None:
        _serve(*received, slot, running)
        if is_rootless():
            break  # an ordinary user doesn't come back from a container's pid namespace (parent.py)
        waiting.say(slot, waiting.FREE)
    requests.close()
    os.close(slot)
    waiting.be_silent()
    running.until_idle()
    os._exit(0)


def _serve(payload: bytes, fds: list[int], slot: int, running: Running) -> None:
    control = socket.socket(fileno=fds[0])
    try:
        point("shim.request.read")
        if waiting.has_hung_up(control):
            control.close()
            return
        waiting.say(slot, waiting.BUSY)
        request = protocol.decode_launcher_request(payload)
        if not isinstance(request, ExecProcess):
            raise TypeError(f"{type(request).__name__} among execs")
        pidfd, pid = _start(request, control, fds[1:], running)
        running.add(pidfd, pid, control)
    except (RuntimeStepError, OSError) as error:
        with control, contextlib.suppress(OSError):
            protocol.send(control, waiting.failure(error))
    finally:
        protocol.close_all(fds[1:])


def _start(request: ExecProcess, control: socket.socket, stdio: list[int], running: Running) -> tuple[Fd, int]:
    """Returns when the process is its program, and the engine knows."""
    point("exec.clone.before")
    spawned = init.exec_in(
        exec_plan(request), stdio=(stdio[0], stdio[1], stdio[2]) if stdio else None, until=running.until
    )
    point("exec.clone.after")
    report = Started(
        pid=spawned.pid,
        pid_start=start_time(spawned.pid),
        started_at_ns=time.time_ns(),
        shim_pid=os.getpid(),
        console=spawned.console is not None,
    )
    console = spawned.console or contextlib.nullcontext()
    with console:
        rights = [spawned.pidfd.fileno(), *([spawned.console.fileno()] if spawned.console is not None else [])]
        try:
            protocol.send(control, report, rights)
        except OSError:
            # Given up meanwhile.
            parent.kill(spawned)
            os.waitpid(spawned.pid, 0)
            raise
    return spawned.pidfd, spawned.pid


def exec_plan(request: ExecProcess) -> init.ExecPlan:
    """What init needs of a request."""
    return init.ExecPlan(
        pid=request.pid,
        pid_start=request.pid_start,
        process=request.process,
        seccomp=request.seccomp,
        tty=request.tty,
        user=request.user,
        groups=request.groups,
        cgroup=cgroups.open_beside(request.cgroup_path, request.pid),
    )


def _rehearse() -> None:
    """Everything of an exec that has no effect, while nobody waits: each page that it writes to costs a fault now."""
    me = os.getpid()
    sample = ExecProcess("rehearsal", me, _process(), "/", user="0", pid_start=start_time(me))
    request = protocol.decode_launcher_request(protocol.encode(sample))
    if isinstance(request, ExecProcess):
        with contextlib.suppress(OSError, OnggiError, StepFailed):
            joining.Entry(exec_plan(request), (0, 1, 2), supervised=True).target.close()
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    report = Started(pid=0, pid_start=0, started_at_ns=time.time_ns(), shim_pid=os.getpid())
    protocol.send(first, report, [second.fileno()])
    received = protocol.receive(second)
    protocol.close_all(received[1] if received is not None else ())
    first.close()
    second.close()


def _process() -> Process:
    spec = defaults.default_spec().process or Process()
    spec.args = ["true"]
    return spec
