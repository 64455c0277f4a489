"""A shim's side of a log that goes elsewhere: output into the carrier's socket, without ever blocking.

The carrier is forked at the first output: a container that says nothing has none. One that was killed is replaced, at
most once a second; what it had not sent by then is lost.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import deque
from typing import Final

from onggi.runtime.logdrivers import carrier
from onggi.runtime.protocol import CarrierPlan

_NO_SIGNAL: Final = int(socket.MSG_NOSIGNAL)
_AGAIN_S: Final = 1.0
_LAST_S: Final = 5.0
"""How long the shim stays for a carrier that doesn't take the last output."""


class Carried:
    """Output on its way to a carrier. `connection` is the log server's, if it was made already."""

    def __init__(self, plan: CarrierPlan, connection: int) -> None:
        self._plan = plan
        self._connection = connection
        self._sock: socket.socket | None = None
        self._pid = 0
        self._not_before = 0.0
        self._waiting: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._ends_at: float | None = None
        self.lost_bytes = 0

    def fileno(self) -> int:
        """-1 when there is no carrier now."""
        return -1 if self._sock is None else self._sock.fileno()

    @property
    def full(self) -> bool:
        """The container must wait: its log is not taken, and must not be lost."""
        return self._plan.blocking and self._waiting_bytes >= self._plan.buffer_bytes

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def write(self, stream: int, chunk: bytes) -> None:
        """An empty chunk is the stream's end."""
        if not self._plan.blocking and self._waiting_bytes >= self._plan.buffer_bytes:
            self.lost_bytes += len(chunk)
            return
        frame = carrier.HEADER.pack(stream, time.time_ns(), len(chunk)) + chunk
        self._waiting.append(memoryview(frame))
        self._waiting_bytes += len(frame)
        self.flush()

    def flush(self) -> None:
        """As much as the carrier takes now."""
        try:
            sock = self._sock or self._forked()
            while sock is not None and self._waiting:
                first = self._waiting[0]
                sent = sock.send(first, _NO_SIGNAL)
                self._waiting_bytes -= sent
                if sent == len(first):
                    self._waiting.popleft()
                else:
                    self._waiting[0] = first[sent:]
        except BlockingIOError:
            return
        except OSError:
            self._drop()
        if self._ends_at is not None and not self._waiting:
            self._drop()

    def deadline(self) -> float | None:
        """When to `flush` although the socket doesn't ask for it."""
        if self._ends_at is not None and self._waiting:
            return self._ends_at
        return self._not_before if self._sock is None and self._waiting else None

    def end(self, now: float) -> None:
        """No more output comes: the socket is closed when all is taken, or can't be in a while."""
        self._ends_at = now + _LAST_S
        self.flush()

    def give_up(self, now: float) -> None:
        """What isn't taken by its deadline is lost."""
        if self._ends_at is not None and self._ends_at <= now:
            self.lost_bytes += self._waiting_bytes
            self._waiting.clear()
            self._waiting_bytes = 0
            self._drop()

    def _forked(self) -> socket.socket | None:
        now = time.monotonic()
        if now < self._not_before:
            return None
        self._not_before = now + _AGAIN_S
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        connection, self._connection = self._connection, -1
        self._pid = os.fork()
        if not self._pid:
            carrier.run(self._plan, theirs, socket.socket(fileno=connection) if connection >= 0 else None)
        theirs.close()
        if connection >= 0:
            os.close(connection)
        ours.setblocking(False)
        self._sock = ours
        return ours

    def _drop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self._waiting and self._waiting[0].obj is not None:
            # A frame that was begun is not understood by the next carrier.
            whole = memoryview(self._waiting[0].obj)
            self._waiting_bytes += len(whole) - len(self._waiting[0])
            self._waiting[0] = whole
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, os.WNOHANG) if self._pid else None
