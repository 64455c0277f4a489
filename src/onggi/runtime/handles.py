"""A running container and a running exec, as the engine holds them: one socket to the shim, one pidfd of the process.

asyncio side. Everything here runs on the engine's loop and blocks nowhere.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import fcntl
import itertools
import os
import select
import signal
import socket
import termios
from collections.abc import Callable
from typing import Final

from onggi.errors import Conflict, NotFound, OnggiError, RuntimeStepError, Unavailable
from onggi.runtime import protocol
from onggi.runtime.heldports import Name
from onggi.runtime.protocol import AttachPlan, ExitRecord, ShimRequest, Started

START_FAILED: Final = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: "
    "onggi-runtime create failed: unable to start container process: error during container init: "
)
_ANSWER_S: Final = 5.0
EXEC_FAILED: Final = "OCI runtime exec failed: exec failed: unable to start container process: "
_NO_SUBPATH: Final = "cannot access path"
_DAEMONS_OWN: Final = (
    "unable to find user", "unable to find group", "uids and gids must be", "Cannot mkdir", _NO_SUBPATH,
)  # fmt: skip
"""What dockerd finds out before it calls its runtime, and says without these words."""


class Link:
    """The engine's end of a shim's socket: reports in, requests out.

    `started` ends with the first report; `exited` with the exit record, or with None when the shim goes without one.
    """

    def __init__(self, sock: socket.socket, failed: str = START_FAILED) -> None:
        sock.setblocking(False)
        self._failed = failed
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._requests = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[protocol.Done]] = {}
        self.started: asyncio.Future[tuple[Started, list[int]]] = self._loop.create_future()
        self.exited: asyncio.Future[ExitRecord | None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.on_oom: Callable[[int], None] | None = None
        self._loop.add_reader(sock, self._readable)

    def send(self, message: ShimRequest, fds: list[int] | None = None) -> None:
        """Send one request. Raises Unavailable when the shim is gone or doesn't read."""
        try:
            protocol.send(self._sock, message, fds or [])
        except OSError as error:
            raise Unavailable(f"the container's shim doesn't answer: {error.strerror}") from error

    async def call(self, make: Callable[[int], ShimRequest], fds: list[int] | None = None) -> protocol.Done:
        """Send a request and wait until it is done. Cancelled: the request may still be carried out."""
        number = next(self._requests)
        answer: asyncio.Future[protocol.Done] = self._loop.create_future()
        self._waiting[number] = answer
        try:
            self.send(make(number), fds)
            return await answer
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        if not self.closed.done():
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self.closed.set_result(None)
            self._fail_all("the container's shim is gone")

    def _readable(self) -> None:
        while not self.closed.done():
            try:
                received = protocol.receive(self._sock)
            except BlockingIOError:
                return
            except (OSError, protocol.ProtocolError):
                received = None
            if received is None:
                self.close()
                return
            self._report(*received)

    def _report(self, payload: bytes, fds: list[int]) -> None:
        try:
            report = protocol.decode_shim_report(payload)
        except protocol.DecodeError:
            # A newer shim may say what we don't know; what we must know we do.
            protocol.close_all(fds)
            return
        match report:
            case Started() if not self.started.done():
                self.started.set_result((report, fds))
                return
            case protocol.Failed() if not self.started.done():
                text = report.message
                if not text.startswith(_DAEMONS_OWN):
                    # The docker command line and people's scripts look for this beginning.
                    text = f"{self._failed}{text}"
                error = RuntimeStepError(report.step, report.errno, text, report.exit_code)
                error.status = NotFound.status if text.startswith(_NO_SUBPATH) else error.status
                self.started.set_exception(error)
            case ExitRecord() if not self.exited.done():
                self.exited.set_result(report)
            case protocol.OomKilled() if self.on_oom is not None:
                self.on_oom(report.kills)
            case protocol.Done():
                self._answer(report.request, report)
            case protocol.Refused():
                self._answer(report.request, _refusal(report))
            case _:
                pass
        protocol.close_all(fds)

    def _answer(self, number: int, result: protocol.Done | OnggiError) -> None:
        answer = self._waiting.pop(number, None)
        if answer is None or answer.done():
            return
        if isinstance(result, OnggiError):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    def _fail_all(self, why: str) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable(why))
        self._waiting.clear()
        if not self.started.done():
            self.started.set_exception(Unavailable(why))
            # Read by whoever waits for the start; a cancelled one must not make the loop complain.
            self.started.exception()
        if not self.exited.done():
            self.exited.set_result(None)


def _refusal(report: protocol.Refused) -> OnggiError:
    if report.errno == errno.ESRCH:
        return Conflict(report.message)
    return Unavailable(report.message)


class Process:
    """A process that is known by its pidfd, so that a signal never reaches another one with its number (S-18)."""

    def __init__(self, pid: int, pidfd: int | None) -> None:
        self.pid = pid
        self._pidfd = pidfd

    @property
    def pidfd(self) -> int | None:
        """Stays this object's to close."""
        return self._pidfd

    def signal(self, number: int) -> bool:
        """Send a signal; False when the process has ended."""
        if self._pidfd is None:
            return False
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return False
        return True

    def has_ended(self) -> bool:
        if self._pidfd is None:
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    async def ended(self) -> None:
        """Wait until the process has ended. Cancelled: nothing is left behind."""
        if self._pidfd is None:
            return
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()
        # A descriptor of its own: one loop takes one reader for each.
        watched = os.dup(self._pidfd)
        loop.add_reader(watched, _settle, readable)
        try:
            await readable
        finally:
            loop.remove_reader(watched)
            os.close(watched)

    def close(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Shim:
    """A container that has been started.

    `dns_fds` are the sockets that listen on 127.0.0.11 inside; whoever takes them out of the list owns them.
    `bury` is what the runtime does for a container whose shim is gone: end all of it and say how it ended.
    """

    def __init__(
        self,
        container_id: str,
        link: Link,
        started: Started,
        fds: list[int],
        *,
        bury: Callable[[Shim], asyncio.Future[ExitRecord]],
        clear: Callable[[str], asyncio.Future[None]],
    ) -> None:
        self.container_id = container_id
        self.pid = started.pid
        self.pid_start = started.pid_start
        self.started_at_ns = started.started_at_ns
        self.shim_pid = started.shim_pid
        self.process = Process(started.pid, fds.pop(0) if started.pidfd else None)
        self.dns_fds = fds
        self._link = link
        self._bury = bury
        self._clear = clear
        self._burial: asyncio.Future[ExitRecord] | None = None

    def on_oom(self, callback: Callable[[int], None]) -> None:
        """Call `callback` with the number of kills so far, each time the kernel kills for memory."""
        self._link.on_oom = callback

    async def wait(self) -> ExitRecord:
        """How the container ended, once it has. Any number may wait. Cancelled: nothing is left behind.

        A shim that was killed ends its container too: all of it is killed, and the record says 137 and why (R-04).
        """
        record = await asyncio.shield(self._link.exited)
        if record is not None:
            return record
        if self._burial is None:
            self._burial = self._bury(self)
        return await asyncio.shield(self._burial)

    async def kill(self, number: int) -> None:
        """Send a signal to the container's init. Raises Conflict when it isn't running."""
        if not self.process.signal(number):
            raise Conflict(f"container {self.container_id} is not running")

    async def resize(self, rows: int, cols: int) -> None:
        """Set the terminal's size. Raises Conflict when there is no terminal or no process any more."""
        await self._link.call(lambda number: protocol.Resize(number, rows, cols))

    async def hold(self, fds: list[int], release: list[Name]) -> None:
        """The shim holds `fds` too (they stay the caller's), and lets go of those bound to `release`. Raises Conflict."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self._link.call(lambda number: protocol.Hold(number, release), fds)
        except TimeoutError:
            # One of a former release doesn't know the request, and says so to no number.
            raise Conflict("its shim is an older release's: published ports change when it is started again") from None

    async def attach(
        self, sock_fd: int, *, stdin: bool, stdout: bool, stderr: bool, patience_s: float = 10.0
    ) -> tuple[int, int]:
        """Give the shim one end of a stream socket pair: output comes out, input and its end go in.

        `sock_fd` stays the caller's, to be closed once this returns. After the container's end the socket ends.
        Returns inode and size of the log at the moment from which on the client gets the output.
        """
        plan = AttachPlan(stdin=stdin, stdout=stdout, stderr=stderr, patience_s=patience_s)
        done = await self._link.call(lambda number: protocol.Attach(number, plan), [sock_fd])
        return done.log_inode, done.log_offset

    async def forget(self) -> None:
        """The exit is committed: the shim may go, with its directory and its cgroup. Returns when they are gone."""
        with contextlib.suppress(Unavailable):
            self._link.send(protocol.Forget())
            await asyncio.shield(self._link.closed)
        await self._clear(self.container_id)
        self.release()

    def release(self) -> None:
        """Let go of our descriptors; the container goes on."""
        self._link.close()
        self.process.close()
        protocol.close_all(self.dns_fds)
        self.dns_fds.clear()


class ExecProcessHandle:
    """A process that was started inside a running container. `console` is its terminal, owned by this handle."""

    def __init__(self, link: Link, started: Started, fds: list[int]) -> None:
        self.pid = started.pid
        self.process = Process(started.pid, fds.pop(0) if started.pidfd else None)
        self.console: int | None = fds.pop(0) if started.console else None
        self._link = link
        protocol.close_all(fds)

    async def wait(self) -> int:
        """The exit code, 128 + n after signal n. A killed exec shim ends the process with it: 137."""
        record = await asyncio.shield(self._link.exited)
        if record is not None:
            return record.exit_code
        self.process.signal(signal.SIGKILL)
        await self.process.ended()
        return 128 + signal.SIGKILL

    def kill(self, number: int) -> bool:
        """Send a signal; False when the process has ended."""
        return self.process.signal(number)

    def resize(self, rows: int, cols: int) -> None:
        """Set the terminal's size. Raises Conflict when there is none."""
        if self.console is None:
            raise Conflict("the exec has no terminal")
        # struct winsize: rows, columns, and two that are unused (tty_ioctl(4)).
        fcntl.ioctl(self.console, termios.TIOCSWINSZ, array.array("H", [rows, cols, 0, 0]))

    def close(self) -> None:
        """Let go of the socket, the pidfd and the console."""
        self._link.close()
        self.process.close()
        if self.console is not None:
            os.close(self.console)
            self.console = None
