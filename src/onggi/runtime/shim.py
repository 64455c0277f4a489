"""The supervisor of one container: parent of its init, owner of its stdio, its log and its exit status.

One process, one thread, one loop over poll(2). It needs no engine: it outlives it, logs meanwhile, and keeps the exit
record until an engine has said that the exit is committed (R-01 to R-03).

States, in their order: starting (nobody knows of the container) → running → ended (the record is in place, the cgroup is
gone) → forgotten (directory gone; clients may still read what they have not read).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import stat
import struct
import termios
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from onggi.kernel import cgroups
from onggi.kernel.faults import point
from onggi.runtime import exitfile, protocol
from onggi.runtime.handover import Handover, started_report
from onggi.runtime.heldports import close_bound
from onggi.runtime.outlog import OutputLog
from onggi.runtime.processes import wait_status
from onggi.runtime.protocol import ExitRecord
from onggi.runtime.streams import STDERR, STDOUT, Client, Input

READ_BYTES: Final = 64 * 1024

_OOM_LOOK_S: Final = 0.1
_WORKER_LOOK_S: Final = 0.05

_LAST_OUTPUT_S: Final = 1.0
"""How long a process that was killed may take to let go of the container's stdout."""

_Handlers = dict[int, tuple[Callable[[], object], int]]
"""Descriptor → what to call, and the events that it is called for."""


class Shim:
    """A running container and all who listen to it."""

    def __init__(self, handover: Handover, fds: list[int]) -> None:
        engine, self._directory, listener, self._pidfd = fds[:4]
        left = fds[4:]
        self._path = handover.directory
        self._state = handover.state
        self._tty = handover.tty
        self._stdin_once = handover.stdin_once
        self._listener = socket.socket(fileno=listener)
        self._console = -1
        self._input: Input | None = None
        if handover.tty:
            self._console = left.pop(0)
            self._outputs = {STDOUT: self._console}
            if handover.has_input:
                self._input = Input(self._console, tty=True)
        else:
            if handover.has_input:
                self._input = Input(left.pop(0), tty=False)
            self._outputs = {STDOUT: left.pop(0), STDERR: left.pop(0)}
        if self._input is not None:
            os.set_blocking(self._input.fd, False)
        for fd in self._outputs.values():
            os.set_blocking(fd, False)
        self.clients = [Client(socket.socket(fileno=left.pop(0)), plan, tty=handover.tty) for plan in handover.attach]
        connection = left.pop(0) if handover.log_connected else -1
        self._dns = left[: handover.dns]
        self._oom_events = left[handover.dns] if handover.watches_memory else -1
        # Bound sockets of published ports, open for as long as the container runs; and the root's mount, until we go.
        self._held = left[handover.dns + handover.watches_memory :]
        self._oom_kills = 0
        self._oom_look_at: float | None = None
        self._log = OutputLog(handover.log, connection)
        self._record: ExitRecord | None = None
        self._forgotten = False
        self.worker = 0
        """The process that has started the container, to be reaped; 0 when there is none."""
        first = socket.socket(fileno=engine)
        first.setblocking(False)
        self._engines = [first]

    def announce(self, engine: socket.socket) -> None:
        """Tell an engine what there is, and everything that happens from now on."""
        alive = self._record is None
        rights = [self._pidfd, *self._dns] if alive else self._dns
        self._engines.append(engine)
        self._tell(engine, started_report(self._state, dns=len(self._dns), pidfd=alive), rights)
        if self._record is not None:
            self._tell(engine, self._record)

    def supervise(self) -> None:
        """The loop. Returns when the container is forgotten and nobody reads any more."""
        while not (self._forgotten and not self.clients and not self._log.unsent):
            self.step(self._timeout_ms())

    def step(self, timeout_ms: float | None) -> None:
        """Wait for something to happen, and answer it."""
        if self.worker and os.waitpid(self.worker, os.WNOHANG)[0]:
            self.worker = 0
        handlers: _Handlers = {}
        self._watch_container(handlers)
        self._watch_clients(handlers)
        self._watch_engines(handlers)
        poll = select.poll()
        for fd, (_, events) in handlers.items():
            poll.register(fd, events)
        for fd, _ in poll.poll(timeout_ms):
            handlers[fd][0]()
        if self._oom_look_at is not None and self._oom_look_at <= time.monotonic():
            self._oom_look_at = None
            self._tell_of_kills()
        if self._log.carried is not None:
            self._log.carried.give_up(time.monotonic())
        if self.clients:
            self._cut_slow_clients()
            self.clients = [client for client in self.clients if not client.closed]

    def abandon(self) -> None:
        """Close all descriptors. The container is nobody's then: for a shim that never had one."""
        self._log.close()
        for sock in (*self._engines, self._listener):
            sock.close()
        for client in self.clients:
            client.close()
        protocol.close_all([self._directory, self._pidfd, *self._outputs.values(), *self._dns])

    # -- the container's output and end

    def _watch_container(self, handlers: _Handlers) -> None:
        if not self._log.full and not any(client.full for client in self.clients):
            for stream, fd in self._outputs.items():
                handlers[fd] = (partial(self._output, stream, fd), select.POLLIN)
        if self._input is not None and self._input.waiting:
            fd = self._input.fd
            if fd in handlers:
                handlers[fd] = (self._terminal, select.POLLIN | select.POLLOUT)
            else:
                handlers[fd] = (self._input.flush, select.POLLOUT)
        carried = self._log.carried
        if carried is not None and carried.waiting and carried.fileno() >= 0:
            handlers[carried.fileno()] = (carried.flush, select.POLLOUT)
        if self._record is None:
            handlers[self._pidfd] = (self._ended, select.POLLIN)
            if self._oom_events >= 0:
                handlers[self._oom_events] = (self._out_of_memory, select.POLLIN | select.POLLPRI)

    def _terminal(self) -> None:
        if self._input is not None:
            self._input.flush()
        for stream, fd in list(self._outputs.items()):
            self._output(stream, fd)

    def _output(self, stream: int, fd: int) -> bool:
        """Take one piece of output; False when there is none now."""
        if self._outputs.get(stream) != fd:
            return False
        try:
            chunk = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            # A terminal that nobody has open any more answers EIO.
            chunk = b""
        if not chunk:
            self._output_ended(stream)
            return False
        self._log.write(stream, chunk)
        if self.clients:
            now = time.monotonic()
            for client in self.clients:
                client.output(stream, chunk, now)
        return True

    def _output_ended(self, stream: int) -> None:
        fd = self._outputs.pop(stream)
        if fd == self._console:
            # The terminal stays for a process that opens it anew, until the container's end.
            return
        os.close(fd)
        self._log.end(stream)

    def _out_of_memory(self) -> None:
        """The kernel tells before it kills: what is not counted yet is looked for once more a moment later."""
        try:
            os.read(self._oom_events, 4096)
            os.lseek(self._oom_events, 0, os.SEEK_SET)
        except OSError:
            # An eventfd: it can't be rewound, and is read out by now.
            pass
        self._oom_look_at = None if self._tell_of_kills() else time.monotonic() + _OOM_LOOK_S

    def _tell_of_kills(self) -> bool:
        kills = cgroups.open(self._state.cgroup_path).oom_kills()
        if kills <= self._oom_kills:
            return False
        self._oom_kills = kills
        for engine in list(self._engines):
            self._tell(engine, protocol.OomKilled(kills))
        return True

    def _ended(self) -> None:
        exit_code, number = wait_status(self._state.pid)
        finished_at_ns = time.time_ns()
        point("shim.exit.dead")
        cgroup = cgroups.open(self._state.cgroup_path)
        if self._oom_events >= 0:
            self._tell_of_kills()
        kills = cgroup.oom_kills()
        # With a PID namespace of its own all are dead by now; without one this ends what init left behind.
        cgroup.kill_all()
        self._drain()
        self._log.close()
        for fd in self._held:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                os.close(fd)  # whoever hears of the end may ask for the same ports
        peak = cgroup.memory_peak() if kills else 0
        record = ExitRecord(exit_code, finished_at_ns, number, kills > 0, self._log.trouble, kills, peak)
        exitfile.write_exit(self._directory, record)
        self._record = record
        os.close(self._pidfd)
        for engine in list(self._engines):
            self._tell(engine, record)
        point("shim.exit.told")
        if self._input is not None:
            self._input.close()
            self._input = None
        now = time.monotonic()
        for client in self.clients:
            client.end(now)
        with contextlib.suppress(OSError):  # it is in use still: tried again when the container is forgotten
            cgroup.remove()

    def _drain(self) -> None:
        """Take what the container wrote last."""
        deadline = time.monotonic() + _LAST_OUTPUT_S
        for stream, fd in list(self._outputs.items()):
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            while stream in self._outputs and (left := deadline - time.monotonic()) > 0:
                if not self._output(stream, fd) and stream in self._outputs:
                    poll.poll(left * 1000)
        for stream in list(self._outputs):
            # Somebody outside of the cgroup still holds it: what it says from now on is not the container's.
            self._output_ended(stream)

    # -- clients

    def _watch_clients(self, handlers: _Handlers) -> None:
        input_open = self._input is None or not self._input.waiting
        for client in self.clients:
            events = client.events(input_open=input_open)
            if not events and client.sends_input:
                # Its input must wait. Polled for nothing, one that has gone would be told of again and again.
                continue
            handlers[client.fileno()] = (partial(self._client, client), events)

    def _client(self, client: Client) -> None:
        client.flush(time.monotonic())
        if client.closed:
            return
        if not client.sends_input:
            # Only polled for its hang-up: POLLHUP comes when the peer has closed altogether.
            if not client.waiting:
                self._check_gone(client)
            return
        if self._input is not None and self._input.waiting:
            return
        data = client.receive()
        if data is None:
            return
        if data:
            if self._input is not None:
                self._input.write(data)
            return
        client.sends_input = False
        if self._input is not None and self._stdin_once and not self._tty:
            self._input.end()
        elif self._input is not None:
            # As docker does it: who attaches with input to a container that keeps its stdin, and ends it, has left.
            client.end(time.monotonic())

    def _check_gone(self, client: Client) -> None:
        poll = select.poll()
        poll.register(client.fileno(), 0)
        if any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0)):
            client.close()

    def _cut_slow_clients(self) -> None:
        now = time.monotonic()
        for client in self.clients:
            deadline = client.deadline()
            if deadline is not None and deadline <= now:
                client.cut()

    def _timeout_ms(self) -> float | None:
        deadlines = [deadline for client in self.clients if (deadline := client.deadline()) is not None]
        carried = self._log.carried
        if carried is not None and (deadline := carried.deadline()) is not None:
            deadlines.append(deadline)
        if self._oom_look_at is not None:
            deadlines.append(self._oom_look_at)
        if self.worker:
            deadlines.append(time.monotonic() + _WORKER_LOOK_S)
        return max(0.0, min(deadlines) - time.monotonic()) * 1000 + 1 if deadlines else None

    # -- engines

    def _watch_engines(self, handlers: _Handlers) -> None:
        if not self._forgotten:
            handlers[self._listener.fileno()] = (self._accept, select.POLLIN)
        for engine in self._engines:
            handlers[engine.fileno()] = (partial(self._request, engine), select.POLLIN)

    def _accept(self) -> None:
        try:
            engine, _ = self._listener.accept()
        except OSError:
            return
        # struct ucred: pid, uid, gid (unix(7)). The directory is 0700 already: this holds if somebody opens it (S-73).
        credentials = engine.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] != os.geteuid():
            engine.close()
            return
        engine.setblocking(False)
        self._engines.append(engine)

    def _request(self, engine: socket.socket) -> None:
        try:
            received = protocol.receive(engine)
        except BlockingIOError:
            return
        except (OSError, protocol.ProtocolError):
            received = None
        if received is None:
            self._drop(engine)
            return
        payload, fds = received
        try:
            request = protocol.decode_shim_request(payload)
        except protocol.DecodeError as error:
            protocol.close_all(fds)
            self._tell(engine, protocol.Refused(0, errno.EINVAL, str(error)))
            return
        match request:
            case protocol.Hello():
                self._engines.remove(engine)
                self.announce(engine)
            case protocol.Attach():
                self._attach(engine, request, fds)
                fds = fds[1:]
            case protocol.Resize():
                self._resize(engine, request)
            case protocol.Hold():
                self._held, fds = [*close_bound(self._held, request.release), *fds], []
                self._tell(engine, protocol.Done(request.request))
            case protocol.Forget():
                self._forget()
        protocol.close_all(fds)

    def _attach(self, engine: socket.socket, request: protocol.Attach, fds: list[int]) -> None:
        if not fds:
            self._tell(engine, protocol.Refused(request.request, errno.EINVAL, "attach without a socket"))
            return
        client = Client(socket.socket(fileno=fds[0]), request.plan, tty=self._tty)
        inode, offset = (0, 0) if self._record is not None else self._log.position()
        self._tell(engine, protocol.Done(request.request, inode, offset))
        if self._record is not None:
            client.end(time.monotonic())
        self.clients.append(client)

    def _resize(self, engine: socket.socket, request: protocol.Resize) -> None:
        if self._console < 0 or self._record is not None:
            self._tell(engine, protocol.Refused(request.request, errno.ESRCH, "the container has no terminal now"))
            return
        try:
            # struct winsize: rows, columns, and two that are unused (tty_ioctl(4)).
            fcntl.ioctl(self._console, termios.TIOCSWINSZ, struct.pack("4H", request.rows, request.cols, 0, 0))
        except OSError as error:
            self._tell(engine, protocol.Refused(request.request, error.errno or errno.EIO, "resize: " + str(error)))
            return
        self._tell(engine, protocol.Done(request.request))

    def _forget(self) -> None:
        if self._record is None:
            # Nobody can have committed an exit that hasn't happened.
            return
        point("shim.forget")
        self._forgotten = True
        self._listener.close()
        try:
            cgroups.open(self._state.cgroup_path).remove()
        except OSError:
            exitfile.leave(self._path)  # the engine looks for it
        else:
            exitfile.remove_directory(self._path)
        for engine in list(self._engines):
            self._drop(engine)

    def _tell(self, engine: socket.socket, report: protocol.ShimReport, rights: list[int] | None = None) -> None:
        try:
            protocol.send(engine, report, rights or [])
        except OSError:
            # Gone, or it has not read 200 KiB of messages: it connects again and asks (the record is on disk).
            self._drop(engine)

    def _drop(self, engine: socket.socket) -> None:
        if engine in self._engines:
            self._engines.remove(engine)
        engine.close()
