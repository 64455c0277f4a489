"""One exec: waits for the request, starts the process, waits for it and says how it ended.

Forked by the zygote ahead of time, as a container's spare shim is, but alone: an exec needs no namespaces made ahead and
no shim that lives for months in little memory. Its stdio are the engine's descriptors themselves, or a terminal whose
master the engine has: no byte passes here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from typing import Never

from onggi.errors import OnggiError, RuntimeStepError
from onggi.kernel import cgroups, process
from onggi.kernel.faults import point
from onggi.oci.runtime import Process
from onggi.runtime import defaults, handover, init, joining, protocol, waiting
from onggi.runtime.processes import exit_of, start_time
from onggi.runtime.protocol import ExecProcess, ExitRecord, Started
from onggi.runtime.steps import StepFailed


def run(requests: socket.socket, orders: socket.socket) -> Never:
    """Wait for a request at `requests`, carry it out, wait for its end.

    The order has a pipe to the launcher, which is told when there is a request, and the end when the process runs.
    """
    _, slot = handover.read_order(orders)
    orders.close()
    _rehearse()
    received = waiting.next_request(requests, slot)
    if received is None:
        os._exit(0)
    payload, fds = received
    requests.close()
    control = socket.socket(fileno=fds[0])
    point("shim.request.read")
    if waiting.has_hung_up(control):
        os._exit(0)
    waiting.say(slot, waiting.BUSY)
    request = protocol.decode_launcher_request(payload)
    try:
        if not isinstance(request, ExecProcess):
            raise TypeError(f"{type(request).__name__} among execs")
        pid = _start(request, control, fds[1:])
    except (RuntimeStepError, OSError) as error:
        with contextlib.suppress(OSError):
            protocol.send(control, waiting.failure(error))
        os._exit(0)
    os.close(slot)
    protocol.close_all(fds[1:])
    _supervise(pid, control)
    os._exit(0)


def _start(request: ExecProcess, control: socket.socket, stdio: list[int]) -> int:
    """Returns the process's number when it is its program, and the engine knows."""
    point("exec.clone.before")
    spawned = init.exec_in(exec_plan(request), stdio=(stdio[0], stdio[1], stdio[2]) if stdio else None)
    point("exec.clone.after")
    report = Started(
        pid=spawned.pid,
        pid_start=start_time(spawned.pid),
        started_at_ns=time.time_ns(),
        shim_pid=os.getpid(),
        console=spawned.console is not None,
    )
    rights = [spawned.pidfd.fileno()]
    if spawned.console is not None:
        rights.append(spawned.console.fileno())
    try:
        protocol.send(control, report, rights)
    except OSError:
        # Given up meanwhile.
        process.pidfd_send_signal(spawned.pidfd, signal.SIGKILL)
        raise
    spawned.pidfd.close()
    if spawned.console is not None:
        spawned.console.close()
    return spawned.pid


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


def _supervise(pid: int, control: socket.socket) -> None:
    waiting.be_silent()
    _, status = os.waitpid(pid, 0)
    exit_code, signal_number = exit_of(status)
    with contextlib.suppress(OSError):
        # Without an engine nobody asks any more.
        protocol.send(control, ExitRecord(exit_code, time.time_ns(), signal_number))


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
