"""The engine's side of worker.py: jobs that are awaited, with descriptors in and bytes out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from onggi import errors
from onggi.store import durable
from onggi.store.worker import FRAME, MESSAGE_LIMIT, Failure, Request

log = logging.getLogger(__name__)

_IDLE_S: Final = 60.0
"""A worker process that has had nothing to do for so long is ended: an idle engine is a small one."""

_END_S: Final = 5.0

Progress = Callable[[int], None]


class Workers:
    """Starts the worker process when the first job comes (about 0.1 s), and again should it die.

    A job costs a fork, 3 ms. Jobs run at once; whoever starts many bounds them.
    """

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._running = 0
        self._idle: asyncio.TimerHandle | None = None

    async def run(
        self,
        job: str,
        args: msgspec.Struct | None = None,
        fds: Sequence[int] = (),
        *,
        progress: Progress | None = None,
        ours: bool = True,
    ) -> bytes:
        """The answer of `job` (`module:function`), which gets copies of `fds`. `ours`: it works in the data root.

        Raises what the job raised: OnggiError, OSError (a full disk as NoSpace, a broken one as Unavailable); Unavailable when
        its process was killed. Cancelled: the job is killed and has ended; what it has done so far stays.
        """
        message = msgspec.msgpack.encode(Request(job, msgspec.msgpack.encode(args) if args is not None else b""))
        if len(message) > MESSAGE_LIMIT:
            raise ValueError(f"arguments of {job} are too long")
        reply, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        reply.setblocking(False)
        self._running += 1
        if self._idle:
            self._idle.cancel()
            self._idle = None
        try:
            with theirs:
                self._send(message, [theirs.fileno(), *fds])
            with durable.disk_errors(job.rpartition(":")[2].replace("_", " "), ours=ours):
                return await _Answer(reply, job, progress).wait()
        finally:
            reply.close()
            self._running -= 1
            if not self._running and self._control:
                self._idle = asyncio.get_running_loop().call_later(_IDLE_S, self._end)

    async def close(self) -> None:
        """The worker process is gone, and with it any job that runs."""
        if self._idle:
            self._idle.cancel()
            self._idle = None
        self._end()

    def _send(self, message: bytes, fds: list[int]) -> None:
        for attempt in (1, 2):
            control = self._control or self._start()
            try:
                socket.send_fds(control, [message], fds)
                return
            except (BrokenPipeError, ConnectionResetError):
                self._end()
                if attempt == 2:
                    raise errors.Unavailable(
                        "the store's worker process can't be started (see the engine's log)"
                    ) from None

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-I", "-m", "onggi.store.worker", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._control = ours
        return ours

    def _end(self) -> None:
        """The process sees the end of its socket; it is reaped when it has gone (Popen keeps it until then)."""
        if self._control:
            self._control.close()
            self._control = None
        process, self._process = self._process, None
        if process and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


class _Answer:
    """Reads frames of one job until its result."""

    def __init__(self, reply: socket.socket, job: str, progress: Progress | None) -> None:
        self._reply = reply
        self._job = job
        self._progress = progress
        self._pidfd = -1
        self._buffer = bytearray()
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[bytes] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._unwanted = False

    async def wait(self) -> bytes:
        self._loop.add_reader(self._reply.fileno(), self._readable)
        try:
            return await self._done
        except asyncio.CancelledError:
            self._unwanted = True
            self._kill()
            # The caller is about to take away what the job works on.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await self._ended
            raise
        finally:
            self._loop.remove_reader(self._reply.fileno())
            if self._pidfd >= 0:
                os.close(self._pidfd)

    def _kill(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _readable(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._reply, 65536, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except ConnectionError:
            data, fds = b"", []
        if fds:
            self._pidfd = fds[0]
            if self._unwanted:
                self._kill()
        if not data:
            self._loop.remove_reader(self._reply.fileno())
            if not self._ended.done():
                self._ended.set_result(None)
            self._settle(errors.Unavailable(f"the worker process of {self._job} was killed (out of memory?)"))
            return
        self._buffer += data
        while len(self._buffer) >= FRAME.size:
            kind, length = FRAME.unpack_from(self._buffer)
            if len(self._buffer) < FRAME.size + length:
                return
            body = bytes(self._buffer[FRAME.size : FRAME.size + length])
            del self._buffer[: FRAME.size + length]
            self._frame(kind, body)

    def _frame(self, kind: bytes, body: bytes) -> None:
        match kind:
            case b"N" if self._progress and not self._done.done():
                self._progress(int.from_bytes(body, "big"))
            case b"R" if not self._done.done():
                self._done.set_result(body)
            case b"E":
                self._settle(self._error(msgspec.msgpack.decode(body, type=Failure)))

    def _settle(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)

    def _error(self, failure: Failure) -> Exception:
        if failure.kind == "OSError":
            return OSError(failure.errno, failure.message)
        kind = getattr(errors, failure.kind, None)
        if isinstance(kind, type) and issubclass(kind, errors.OnggiError):
            return kind(failure.message)
        log.error("job %s failed: %s", self._job, failure.message)
        return errors.OnggiError(f"{self._job}: {failure.message}")
