"""One start, from the request to the shim that has it all: by a starter with a child made ahead, or by a shim's worker.

It tells the engine of the start itself. Killed before the shim has everything, it takes the container with it: the shim
sees the end of its socket, and the engine finds neither.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from typing import Final

import msgspec

from onggi.kernel import cgroups
from onggi.kernel.cgroups.cradle import Cradle
from onggi.kernel.cgroups.face import Cgroup
from onggi.kernel.cgroups.resources import Resources
from onggi.kernel.faults import point
from onggi.runtime import defaults, doze, exitfile, init, protocol
from onggi.runtime.ahead import Ahead
from onggi.runtime.handover import Handover, started_report
from onggi.runtime.logfile import LogFile
from onggi.runtime.parent import Spawned
from onggi.runtime.processes import start_time
from onggi.runtime.protocol import ShimState, StartContainer

PIPE_BYTES: Final = 256 * 1024
"""A burst is taken by the pipe while the log is written. Pages of a pipe are used only when there is something in it."""

RULES: Final = Resources(devices=defaults.device_rules())
"""What a cradle is made with: nearly every container has them."""


def start(
    request: StartContainer,
    control: socket.socket,
    fds: list[int],
    shim: socket.socket,
    shim_pid: int,
    made: Ahead | None = None,
    cradle: Cradle | None = None,
    alarm: int | None = None,
) -> None:
    """Returns when the shim has the container and the engine knows; `fds` are the request's, and stay the caller's.

    With `made` the container's process is the child that waits there, in `cradle` if there is one; without, it is made with
    CLONE_PARENT, and the caller's parent is the shim. `alarm` is what a shim sleeps on (doze.py). Raises RuntimeStepError, OSError; nothing is left then.
    """
    with contextlib.ExitStack() as closing, contextlib.ExitStack() as undo:
        directory = exitfile.make_directory(request.directory, request.cgroup_path)
        closing.callback(os.close, directory)
        undo.callback(_forget, request)
        listener = closing.enter_context(_listen(directory))
        if request.log.driver == "json-file":
            # A log that can't be opened fails the start, not the shim.
            LogFile(request.log).close()
        point("shim.clone.before")
        stdio, ours = pipes(request)
        closing.callback(protocol.close_all, ours)
        with contextlib.ExitStack() as given:
            given.callback(protocol.close_all, [fd for fd in stdio if fd >= 0])
            cgroup, spawned = _spawn(request, stdio, made, cradle, undo)
        point("shim.clone.after")
        for fd in (spawned.pidfd, spawned.console, spawned.root, *spawned.dns_fds):
            if fd is not None:
                closing.callback(fd.close)
        dns = [fd.fileno() for fd in spawned.dns_fds]
        state = ShimState(
            container_id=request.container_id,
            pid=spawned.pid,
            pid_start=start_time(spawned.pid),
            started_at_ns=time.time_ns(),
            shim_pid=shim_pid,
            cgroup_path=request.cgroup_path,
        )
        # Without a limit of its own it is the machine that is short: its exit record will say so.
        resources = request.plan.spec.linux_resources
        oom = cgroup.oom_events() if resources.memory is not None and resources.memory.limit else None
        if oom is not None:
            closing.callback(os.close, oom)
        undo.pop_all()
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
            log_connected=request.log_connected,
        )
        output = [spawned.console.fileno()] if spawned.console is not None else ours
        # With the log server's connection, if there is one.
        attached, held = fds[: (count := len(request.attach) + request.log_connected)], fds[count:]
        if spawned.root is not None:
            held.append(spawned.root.fileno())
        fixed = [control.fileno(), directory, listener.fileno(), spawned.pidfd.fileno()]
        with contextlib.suppress(OSError):
            # Before the shim can tell of the end. Without an engine the container goes on, and the next one asks for it.
            protocol.send(control, started_report(state, dns=len(dns)), [spawned.pidfd.fileno(), *dns])
        # Its own end goes along: closed, it would wake a shim that has nothing to do.
        given_on = [*held, shim.fileno()]
        protocol.send(shim, handover, [*fixed, *output, *attached, *dns, *([] if oom is None else [oom]), *given_on])
        if alarm is not None:
            watched = dict.fromkeys([fixed[0], *fixed[2:], *output[-2:]], doze.READABLE)
            if oom is not None:
                watched[oom] = doze.READABLE | doze.URGENT
            if request.tty or attached or not doze.is_allowed():
                watched[control.fileno()] = doze.AT_ONCE
            doze.set_alarm(alarm, watched)


def _remove(cgroup: Cgroup) -> None:
    """What has failed is told, not what follows from it."""
    with contextlib.suppress(OSError):
        cgroup.remove()


def _forget(request: StartContainer) -> None:
    """A cgroup that can't be removed now stays known to the engine."""
    if cgroups.open(request.cgroup_path).exists():
        exitfile.leave(request.directory)
    else:
        exitfile.remove_directory(request.directory)


def _spawn(
    request: StartContainer,
    stdio: tuple[int, int, int],
    made: Ahead | None,
    cradle: Cradle | None,
    undo: contextlib.ExitStack,
) -> tuple[Cgroup, Spawned]:
    """The process, in its cgroup: the one made ahead under its name, or a new one."""
    resources = request.plan.spec.linux_resources
    named = cradle.become(request.cgroup_path) if cradle is not None else None
    if named is None:
        cgroup: Cgroup = cgroups.create(request.cgroup_path, resources)
        beside = None
    else:
        cgroup = named
        if resources.devices != RULES.devices:
            # The child makes device nodes while the rest is written: it must not meet half of these rules.
            named.apply(Resources(devices=resources.devices))

        def beside(_: int) -> None:
            # What the child may use is settled before its program runs.
            named.apply(msgspec.structs.replace(resources, devices=[]))

    undo.callback(_remove, cgroup)
    undo.callback(cgroup.kill_all)
    point("start.cgroup.named")
    if made is None:
        return cgroup, init.spawn(request.plan, stdio=stdio, tty=request.tty, cgroup=cgroup)
    placed = named is not None
    spawned = init.spawn_ahead(
        made, request.plan, stdio=stdio, tty=request.tty, cgroup=cgroup, placed=placed, beside=beside
    )
    if cradle is not None and not placed:
        with contextlib.suppress(OSError):
            cradle.remove()
    return cgroup, spawned


def _listen(directory: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    # sun_path takes 107 bytes, fewer than the directory's name may have.
    listener.bind(f"/proc/self/fd/{directory}/{exitfile.SOCKET}")
    listener.listen(8)
    return listener


def pipes(request: StartContainer) -> tuple[tuple[int, int, int], list[int]]:
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
