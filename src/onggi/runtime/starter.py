"""Starts one container for its shim, and is gone.

A starter is forked by a spare shim ahead of time and waits for the request. All that a start needs in memory goes with
it; the container's process is made with CLONE_PARENT, so that the shim, which has touched hardly a page, is its
parent from its first instruction on (private memory of a shim: 0.9 MB instead of 1.8).

It tells the engine of the start itself, when the shim has everything.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import time
from typing import Final, Never

import msgspec

from onggi.errors import RuntimeStepError
from onggi.kernel import cgroups, process
from onggi.kernel.cgroups.cradle import Cradle
from onggi.kernel.cgroups.resources import Resources
from onggi.kernel.faults import point
from onggi.runtime import defaults, exitfile, init, inside, protocol, waiting
from onggi.runtime.ahead import Ahead
from onggi.runtime.doze import Alarm
from onggi.runtime.example import example_spec
from onggi.runtime.handover import Handover, decode_order, started_report
from onggi.runtime.logfile import LogFile
from onggi.runtime.plan import InitPlan, RootfsPlan
from onggi.runtime.processes import start_time
from onggi.runtime.protocol import ShimState, StartContainer
from onggi.runtime.rootfs import CgroupView

_READABLE: Final = int(select.EPOLLIN)
_URGENT: Final = int(select.EPOLLPRI)

PIPE_BYTES: Final = 256 * 1024
"""A burst is taken by the pipe while the log is written. Pages of a pipe are used only when there is something in it."""


_RULES: Final = Resources(devices=defaults.device_rules())
"""What a cradle is made with: nearly every container has them."""

_SAMPLE: Final = protocol.encode(
    StartContainer("rehearsal", InitPlan(spec=example_spec(), rootfs=RootfsPlan(lower=["/"], upper="/", work="/")), "/")
)


def run(engine: socket.socket, orders: socket.socket, shim: socket.socket, shim_pid: int, alarm: Alarm) -> Never:
    """Wait for a request at `engine`, carry it out, hand over to `shim`, which `alarm` wakes.

    The order has a pipe to the launcher, which is told the parent of the container's cgroup when there is a request, and
    the end when that is done; and what another starter told it: where the next container will belong.
    """
    process.set_pdeathsig(signal.SIGKILL)
    if os.getppid() != shim_pid:
        os._exit(0)
    order = protocol.receive(orders)
    if order is None:
        os._exit(0)
    orders.close()
    [slot] = order[1]
    cradle = _cradle(decode_order(order[0]).cgroup_parent)
    made = _made_ahead(cradle)
    # After the fork: what is written before it is written again after it, at the price of another page.
    _rehearse()
    received = waiting.next_request(engine, slot)
    if received is None:
        _give_up(cradle, made)
        os._exit(0)
    payload, fds = received
    control = socket.socket(fileno=fds[0])
    point("shim.request.read")
    if waiting.has_hung_up(control):
        _give_up(cradle, made)
        os._exit(0)
    request = protocol.decode_launcher_request(payload)
    with contextlib.suppress(BrokenPipeError):
        # Without its launcher the start goes on.
        os.write(slot, os.path.dirname(request.cgroup_path).encode()[:4096] or b"/")
    try:
        if not isinstance(request, StartContainer):
            raise TypeError(f"{type(request).__name__} among starts")
        _start(request, control, fds[1:], shim, alarm, cradle, made)
    except (RuntimeStepError, OSError) as error:
        with contextlib.suppress(OSError):
            protocol.send(control, waiting.failure(error))
        _give_up(cradle, made)
    os._exit(0)


def _give_up(cradle: Cradle | None, made: Ahead | None) -> None:
    """What was made ahead isn't needed."""
    if made is not None:
        with contextlib.suppress(ValueError):
            # Its descriptor is closed when a start that failed has ended it already.
            made.end()
    if cradle is not None:
        with contextlib.suppress(OSError):
            cradle.remove()


def _rehearse() -> None:
    """Everything of a start that has no effect, while nobody waits.

    After a fork each page costs a fault when it is first written (a reference count is enough), 2 µs on a virtual
    machine: half of them are here, and a start is 2 ms shorter for it.
    """
    request = protocol.decode_launcher_request(_SAMPLE)
    if isinstance(request, StartContainer):
        stdio, ours = _pipes(request)
        inside.Start(request.plan, stdio, CgroupView({}, unified=False), tty=False, exec_fifo=None, supervised=True)
        first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        state = ShimState("", os.getpid(), start_time(os.getpid()), time.time_ns(), 0, 0, "")
        protocol.send(first, started_report(state, dns=0), ours)
        received = protocol.receive(second)
        protocol.close_all([*stdio, *ours, *(received[1] if received is not None else ())])
        first.close()
        second.close()


def _cradle(cgroup_parent: str) -> Cradle | None:
    if not cgroup_parent or cgroups.is_unified():
        return None
    try:
        return Cradle(cgroup_parent, _RULES)
    except OSError:
        # Its parent is gone, or a limit of it is reached: the start will say so, if it is still true then.
        return None


def _made_ahead(cradle: Cradle | None) -> Ahead | None:
    try:
        return Ahead(cradle.enter if cradle is not None else None)
    except OSError:
        # A limit is reached (namespaces, processes): the start will say so, if it is still true then.
        return None


def _start(
    request: StartContainer,
    control: socket.socket,
    fds: list[int],
    shim: socket.socket,
    alarm: Alarm,
    cradle: Cradle | None,
    made: Ahead | None,
) -> None:
    with contextlib.ExitStack() as undo:
        directory = exitfile.make_directory(request.directory, request.cgroup_path)
        undo.callback(exitfile.remove_directory, request.directory)
        listener = _listen(directory)
        if request.log.driver == "json-file":
            # A log that can't be opened fails the start, not the shim.
            LogFile(request.log).close()
        point("shim.clone.before")
        resources = request.plan.spec.linux_resources
        stdio, ours = _pipes(request)
        named = cradle.become(request.cgroup_path) if cradle is not None else None
        if named is None:
            cgroup = cgroups.create(request.cgroup_path, resources)
            beside = None
        else:
            cgroup = named
            if resources.devices != _RULES.devices:
                # The child makes device nodes while the rest is written: it must not meet half of these rules.
                named.apply(Resources(devices=resources.devices))

            def beside(_: int) -> None:
                # What the child may use is settled before its program runs.
                named.apply(msgspec.structs.replace(resources, devices=[]))

        undo.callback(cgroup.remove)
        undo.callback(cgroup.kill_all)
        spawned = init.spawn(
            request.plan,
            stdio=stdio,
            tty=request.tty,
            cgroup=cgroup,
            beside=beside,
            made=made,
            placed=named is not None,
        )
        point("shim.clone.after")
        protocol.close_all([fd for fd in stdio if fd >= 0])
        if spawned.console is not None:
            ours = [spawned.console.fileno()]
        dns = [fd.fileno() for fd in spawned.dns_fds]
        state = ShimState(
            container_id=request.container_id,
            pid=spawned.pid,
            pid_start=start_time(spawned.pid),
            started_at_ns=time.time_ns(),
            shim_pid=os.getppid(),
            shim_pid_start=start_time(os.getppid()),
            cgroup_path=request.cgroup_path,
        )
        exitfile.write_state(directory, state)
        # Without a limit of its own it is the machine that is short: its exit record will say so.
        oom = cgroup.oom_events() if resources.memory is not None and resources.memory.limit else None
        undo.pop_all()
        if cradle is not None and named is None:
            with contextlib.suppress(OSError):
                cradle.remove()
    handover = Handover(
        directory=request.directory,
        state=state,
        log=request.log,
        tty=request.tty,
        has_input=request.open_stdin,
        stdin_once=request.stdin_once,
        attach=request.attach,
        dns=len(dns),
        watches_memory=oom is not None,
        unused=made.spawned.pid if made is not None and made.spawned.pid != spawned.pid else 0,
        log_connected=request.log_connected,
    )
    # With the log server's connection, if there is one.
    attached, held = fds[: (count := len(request.attach) + request.log_connected)], fds[count:]
    if spawned.root is not None:
        held.append(spawned.root.fileno())
    fixed = [control.fileno(), directory, listener.fileno(), spawned.pidfd.fileno()]
    has_something_to_do = request.tty or attached or handover.unused
    if has_something_to_do:
        alarm.wake()
    protocol.send(shim, handover, [*fixed, *ours, *attached, *dns, *([] if oom is None else [oom]), *held])
    if not has_something_to_do:
        told = dict.fromkeys([control.fileno(), listener.fileno(), spawned.pidfd.fileno(), *ours[-2:]], _READABLE)
        alarm.set(told if oom is None else told | {oom: _READABLE | _URGENT})
    with contextlib.suppress(OSError):
        # Told last: whoever pauses the container from now on stops this process too. Without an engine the container
        # goes on, and the next one asks for it.
        protocol.send(control, started_report(state, dns=len(dns)), [spawned.pidfd.fileno(), *dns])


def _listen(directory: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    # sun_path takes 107 bytes, fewer than the directory's name may have.
    listener.bind(f"/proc/self/fd/{directory}/{exitfile.SOCKET}")
    listener.listen(8)
    return listener


def _pipes(request: StartContainer) -> tuple[tuple[int, int, int], list[int]]:
    """The container's stdio and our ends of it. With a tty there is none: the terminal is made inside."""
    if request.tty:
        return (-1, -1, -1), []
    ours = []
    if request.open_stdin:
        stdin, end = os.pipe2(os.O_CLOEXEC)
        ours.append(end)
    else:
        stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    out, stdout = os.pipe2(os.O_CLOEXEC)
    err, stderr = os.pipe2(os.O_CLOEXEC)
    for end in (out, err):
        with contextlib.suppress(OSError):
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return (stdin, stdout, stderr), [*ours, out, err]
