"""One stream of an HTTP/2 connection: a gRPC call, its messages cut out of the data as it comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from onggi.build.buildkit.frames import (
    END_STREAM,
    MESSAGE_LIMIT,
    STREAM_WINDOW,
    Broken,
    Error,
    Frame,
    Headers,
    StreamEnded,
    data_frames,
    frame,
)

if TYPE_CHECKING:
    from onggi.build.buildkit.http2 import Connection


class Stream:
    """One request and its answer. `headers` are the peer's, `trailers` come with its end."""

    def __init__(self, connection: Connection, identifier: int) -> None:
        self.id = identifier
        self.headers: Headers | None = None
        self.trailers: Headers | None = None
        self.on_lost: Callable[[], object] | None = None
        """Called once when the peer resets the stream or the connection goes."""
        self.send_window = connection.peer_window
        self._connection = connection
        self._messages: deque[bytes] = deque()
        self._buffer = bytearray()
        self._taken = 0
        self._queued = 0
        self._waiter: asyncio.Future[None] | None = None
        self._lost: str = ""
        self._received_end = False
        self._sent_end = False

    @property
    def is_open(self) -> bool:
        return not self._lost and not (self._received_end and self._sent_end)

    # What the peer sends

    def receive_headers(self, headers: Headers, *, end: bool) -> None:
        if self.headers is None:
            self.headers = headers
        else:
            self.trailers = headers
        if end:
            self.receive_end()
        self._wake()

    def receive_data(self, data: bytes | memoryview, size: int) -> None:
        """`size` counts for flow control: the data and its padding."""
        self._queued += size
        if self._queued > STREAM_WINDOW:
            raise Broken(Error.FLOW_CONTROL_ERROR, "more data than the window allows")
        buffer = self._buffer
        # Most frames are one whole message: it is taken as it is.
        if not buffer and len(data) >= 5 and not data[0] and int.from_bytes(data[1:5], "big") == len(data) - 5:
            if len(data) - 5 > MESSAGE_LIMIT:
                raise Broken(Error.PROTOCOL_ERROR, f"a gRPC message of {len(data) - 5} bytes")
            self._messages.append(bytes(data[5:]))
            self._wake()
            return
        buffer += data
        at, length = 0, len(buffer)
        while length - at >= 5:
            wanted = int.from_bytes(buffer[at + 1 : at + 5], "big")
            if buffer[at] or wanted > MESSAGE_LIMIT:
                raise Broken(Error.PROTOCOL_ERROR, f"a gRPC message of {wanted} bytes, flags {buffer[at]}")
            if length - at - 5 < wanted:
                break
            self._messages.append(bytes(buffer[at + 5 : at + 5 + wanted]))
            at += 5 + wanted
        if at:
            del buffer[:at]
        if not self._messages:
            # A message may be longer than the window: what waits for its end counts as taken.
            self._give_back()
        self._wake()

    def receive_end(self) -> None:
        self._received_end = True
        self._wake()
        self._connection.forget(self)

    def lose(self, reason: str) -> None:
        """No more will come, nothing can be sent."""
        if self._lost or (self._received_end and self._sent_end):
            return
        self._lost = reason
        self._wake()
        if self.on_lost is not None:
            self.on_lost()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _news(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _give_back(self) -> None:
        """Lets the peer send as much as has been taken, half a window at a time."""
        self._taken += self._queued
        self._queued = 0
        if self._taken > STREAM_WINDOW // 2 and not self._received_end:
            self._connection.grant(self.id, self._taken)
            self._taken = 0

    async def wait_for_headers(self) -> Headers:
        """Raises StreamEnded."""
        while self.headers is None:
            if self._lost:
                raise StreamEnded(self._lost)
            await self._news()
        return self.headers

    async def batch(self) -> list[bytes]:
        """All messages that are here, at least one; none at the end. Raises StreamEnded."""
        while not self._messages:
            if self._received_end:
                return []
            if self._lost:
                raise StreamEnded(self._lost)
            await self._news()
        found = list(self._messages)
        self._messages.clear()
        self._give_back()
        return found

    async def message(self) -> bytes | None:
        """The next one; None at the end. Raises StreamEnded."""
        while not self._messages:
            if self._received_end:
                return None
            if self._lost:
                raise StreamEnded(self._lost)
            await self._news()
        found = self._messages.popleft()
        if not self._messages:
            self._give_back()
        return found

    # What is sent to the peer

    def send_headers(self, headers: Headers, *, end: bool = False) -> None:
        """Raises StreamEnded."""
        if self._lost or self._sent_end:
            raise StreamEnded(self._lost or "the stream has ended")
        self._connection.write_headers(self.id, headers, end=end)
        if end:
            self._end_sent()

    async def send(self, message: bytes) -> None:
        """One gRPC message; waits while the peer or the connection takes no more. Raises StreamEnded."""
        data = b"\0" + len(message).to_bytes(4, "big") + message
        connection = self._connection
        if len(data) <= min(self.send_window, connection.send_window, connection.peer_frame) and connection.can_write:
            if self._lost or self._sent_end:
                raise StreamEnded(self._lost or "the stream has ended")
            self._send_piece(data)
            return
        view = memoryview(data)
        while view:
            await connection.writable(self)
            if self._lost or self._sent_end:
                raise StreamEnded(self._lost or "the stream has ended")
            size = min(len(view), self.send_window, connection.send_window)
            self.send_window -= size
            connection.send_window -= size
            connection.write(data_frames(self.id, view[:size], connection.peer_frame))
            view = view[size:]

    def _send_piece(self, data: bytes) -> None:
        self.send_window -= len(data)
        self._connection.send_window -= len(data)
        self._connection.write(frame(Frame.DATA, 0, self.id, data))

    def end(self) -> None:
        """Nothing more is sent."""
        if not self._lost and not self._sent_end:
            self._connection.write(frame(Frame.DATA, END_STREAM, self.id, b""))
            self._end_sent()

    def reset(self, error: Error = Error.CANCEL) -> None:
        """Ends the stream in both directions, at once."""
        if self.is_open:
            self._connection.write(frame(Frame.RST_STREAM, 0, self.id, error.to_bytes(4, "big")))
            self._lost = "the stream was reset"
            self._wake()
        self._connection.forget(self)

    def _end_sent(self) -> None:
        self._sent_end = True
        self._connection.forget(self)
