"""A container's output to the clients that are attached, and their input to the container.

No thread and no blocking call: the shim's loop asks `events` what to wait for and calls `output`, `flush` and `receive`.

A client is a stream socket. It gets docker's frames, a header of 8 bytes (1 stdout, 2 stderr; three zeros; length, big
endian) before each piece, or with a tty the bytes as they are. What the socket doesn't take waits here, 1 MiB at most;
then the container's output is not read until there is room again, as docker does it, but not for ever: a client that
takes nothing for `patience_s` is cut, is told so in its stream, and the container goes on (R-20).

A client may still be sending when the last has been said: its bytes are read and dropped until it has heard the end. A
socket that is closed with bytes unread answers the next ones with an error, which overtakes output that isn't read yet.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections import deque
from typing import Final

from onggi.runtime.protocol import AttachPlan

STDOUT: Final = 1
STDERR: Final = 2

WAITING_LIMIT: Final = 1024 * 1024
INPUT_BYTES: Final = 64 * 1024
_LINGER_S: Final = 5.0

_NO_SIGNAL: Final = int(socket.MSG_NOSIGNAL)
_frame_header = struct.Struct(">BxxxI").pack
_CUT: Final = b"\r\nonggi: this client read too slowly and was detached; the log has the rest\r\n"


class Client:
    """One attached socket, which this object owns."""

    def __init__(self, sock: socket.socket, plan: AttachPlan, *, tty: bool) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._plan = plan
        self._tty = tty
        self._waiting: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._stuck_since: float | None = None
        self._ending = False
        self._dropping_until: float | None = None
        self.sends_input = plan.stdin
        self.closed = False

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def full(self) -> bool:
        """No more output may be read for this client."""
        return self._waiting_bytes > WAITING_LIMIT

    @property
    def waiting(self) -> bool:
        """There is output that the socket hasn't taken yet."""
        return bool(self._waiting)

    def events(self, *, input_open: bool) -> int:
        """What to poll for; errors and the end of the peer are always told."""
        events = select.POLLOUT if self._waiting else 0
        if self.sends_input and (input_open or self._dropping_until is not None):
            events |= select.POLLIN
        return events

    def output(self, stream: int, chunk: bytes, now: float) -> None:
        """Send a piece of output, if this client wants the stream."""
        if self._ending or self.closed or not (self._plan.stdout if stream == STDOUT else self._plan.stderr):
            return
        parts = [chunk] if self._tty else [_frame_header(stream, len(chunk)), chunk]
        size = sum(map(len, parts))
        sent = 0
        if not self._waiting:
            try:
                sent = self._sock.sendmsg(parts, (), _NO_SIGNAL)
            except BlockingIOError:
                pass
            except OSError:
                self.close()
                return
        if sent == size:
            return
        rest = memoryview(b"".join(parts))[sent:]
        self._waiting.append(rest)
        self._waiting_bytes += len(rest)
        if self._stuck_since is None:
            self._stuck_since = now

    def flush(self, now: float) -> None:
        """Send what waits, as far as the socket takes it."""
        while self._waiting:
            first = self._waiting[0]
            try:
                sent = self._sock.send(first, _NO_SIGNAL)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            self._stuck_since = now
            self._waiting_bytes -= sent
            if sent == len(first):
                self._waiting.popleft()
            else:
                self._waiting[0] = first[sent:]
        self._stuck_since = None
        if self._ending:
            self._all_said(now)

    def deadline(self) -> float | None:
        """When this client is to be cut if it still takes nothing, or hears nothing. None: nobody waits for it."""
        if self._dropping_until is not None:
            return self._dropping_until
        if self._stuck_since is None or not (self.full or self._ending):
            return None
        return self._stuck_since + self._plan.patience_s

    def cut(self) -> None:
        """Give it up: what it has begun to take is completed, then it is told, if it ever reads again."""
        if self._ending:
            self.close()
            return
        begun = list(self._waiting)[:1]
        notice = _CUT if self._tty else _frame_header(STDERR, len(_CUT)) + _CUT
        self._waiting = deque([*begun, memoryview(notice)])
        self._waiting_bytes = sum(map(len, self._waiting))
        self._ending = True
        # Once more the same patience for the notice, without holding anybody up.
        self._stuck_since = None

    def end(self, now: float) -> None:
        """There will be no more output: close when all is sent."""
        self._ending = True
        if self._waiting:
            if self._stuck_since is None:
                self._stuck_since = now
            self.flush(now)
        else:
            self._all_said(now)

    def _all_said(self, now: float) -> None:
        if not self.sends_input:
            self.close()
        elif self._dropping_until is None:
            self._dropping_until = now + _LINGER_S
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                self.close()

    def receive(self) -> bytes | None:
        """Input from the client: b"" at its end, None when there is none now. A broken client is closed."""
        try:
            data = self._sock.recv(INPUT_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            self.close()
            return None
        if self._dropping_until is None:
            return data
        if not data:
            self.close()
        return None

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._waiting.clear()
            self._waiting_bytes = 0
            with contextlib.suppress(OSError):
                # The engine may hold a copy of our end: the stream must end all the same.
                self._sock.shutdown(socket.SHUT_RDWR)
            self._sock.close()


class Input:
    """The way into the container: a pipe, or the terminal's master. Owns the descriptor unless it is a terminal."""

    def __init__(self, fd: int, *, tty: bool) -> None:
        self.fd = fd
        self._tty = tty
        self._waiting = b""
        self._close_after = False
        self.open = True

    @property
    def waiting(self) -> bool:
        """The container hasn't taken what is there: no more may be received."""
        return bool(self._waiting)

    def write(self, data: bytes) -> None:
        """Pass `data` on; what isn't taken waits for `flush`. After the end it is dropped."""
        if self.open:
            self._waiting += data
            self.flush()

    def flush(self) -> None:
        try:
            while self._waiting:
                self._waiting = self._waiting[os.write(self.fd, self._waiting) :]
        except BlockingIOError:
            return
        except OSError:
            # EPIPE: the container has closed its end.
            self.close()
            return
        if self._close_after:
            self.close()

    def end(self) -> None:
        """No more input will come: the container sees the end once it has taken what waits."""
        self._close_after = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        self._waiting = b""
        if self.open:
            self.open = False
            if not self._tty:
                os.close(self.fd)
