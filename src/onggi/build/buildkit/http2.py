"""HTTP/2 for gRPC on a connection that is already there, in either role (RFC 9113). No priorities, no push.

A synchronous context sends a frame for each file's name and one for each piece of a file: fifteen thousand for five thousand
small files. What happens for a frame is therefore a few lines here, and a reader gets all messages of one read at once.

Memory is bounded: a peer may send `STREAM_WINDOW` bytes on a stream before its reader takes them, one message has at most
`MESSAGE_LIMIT`, a header block `HEADERS_LIMIT`, a connection `STREAMS_LIMIT` streams.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from typing import Final, cast

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError

from onggi.build.buildkit.frames import (
    ACK,
    CONNECTION_WINDOW,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME_LIMIT,
    HEADER_TABLE_SIZE,
    HEADERS_LIMIT,
    INITIAL_WINDOW,
    MAX_FRAME,
    MAX_STREAMS,
    PADDED,
    PREFACE,
    RESETS_LIMIT,
    STREAM_WINDOW,
    STREAMS_LIMIT,
    WITH_PRIORITY,
    Broken,
    Error,
    Frame,
    Headers,
    StreamEnded,
    frame,
    setting,
)
from onggi.build.buildkit.streams import Stream

log = logging.getLogger(__name__)

_HEAD: Final = struct.Struct("!BHBBL")
"""A frame's first 9 bytes: length in two parts, kind, flags, stream (RFC 9113, 4.1)."""


class Connection(asyncio.Protocol):
    """All streams of a connection. `accept` makes it the server's side: it is told of each new stream once its headers are there."""

    def __init__(self, accept: Callable[[Stream], None] | None = None) -> None:
        self._accept = accept
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Stream] = {}
        self._decoder, self._encoder = Decoder(max_header_list_size=HEADERS_LIMIT), Encoder()
        self._buffer = bytearray()
        self._awaits_preface = accept is not None
        self._block: tuple[int, int, bytearray] | None = None
        """Stream, flags and what has come of a header block that isn't whole."""
        self._next, self._last_peer = 1, 0
        self._resets = 0
        self._received = 0
        self._flow = asyncio.Event()
        self._heard = asyncio.Event()
        """A ping came, or the answer to one."""
        self.can_write = True
        self.send_window = DEFAULT_WINDOW
        self.peer_window = DEFAULT_WINDOW
        self.peer_frame = 16384
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.adopt(cast("asyncio.Transport", transport))  # uvloop's are no subclass of asyncio's

    def adopt(self, transport: asyncio.Transport) -> None:
        """Begins to talk."""
        self._transport = transport
        settings = b"".join(
            setting.pack(name, value)
            for name, value in (
                (MAX_STREAMS, STREAMS_LIMIT),
                (INITIAL_WINDOW, STREAM_WINDOW),
                (MAX_FRAME, FRAME_LIMIT),
            )
        )
        opening = b"" if self._accept else PREFACE
        self.write(opening + frame(Frame.SETTINGS, 0, 0, settings))
        self.grant(0, CONNECTION_WINDOW - DEFAULT_WINDOW)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            self._frames()
        except (Broken, HPACKError, struct.error, IndexError) as broken:
            error = broken.error if isinstance(broken, Broken) else Error.COMPRESSION_ERROR
            log.warning("a client broke HTTP/2", extra={"reason": str(broken)})
            self.close(error)

    def eof_received(self) -> None:
        """HTTP/2 has no half-closed connections."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.can_write = True
        for stream in list(self._streams.values()):
            stream.lose(f"the connection has gone{f': {exc}' if exc else ''}")
        self._streams.clear()
        self._flow.set()
        if not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        self.can_write = False

    def resume_writing(self) -> None:
        self.can_write = True
        self._flow.set()

    @property
    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def close(self, error: Error = Error.NO_ERROR) -> None:
        """Says goodbye, and closes once that has been sent. Streams that are open are lost."""
        if self._transport is not None and not self._transport.is_closing():
            payload = self._last_peer.to_bytes(4, "big") + error.to_bytes(4, "big")
            self._transport.write(frame(Frame.GOAWAY, 0, 0, payload))
            self._transport.close()

    async def watch(self, every_s: float, patience_s: float) -> None:
        """Asks the peer every `every_s` whether it is there; returns when the connection is lost, or cuts it after `patience_s`.

        A peer whose machine has gone ends no connection: TCP would wait for hours.
        """
        while not self.lost.done():
            await asyncio.wait([self.lost], timeout=every_s)
            if self.lost.done():
                return
            self._heard.clear()
            self.write(frame(Frame.PING, 0, 0, bytes(8)))
            try:
                async with asyncio.timeout(patience_s):
                    await self._heard.wait()
            except TimeoutError:
                log.warning("a client answers no more")
                if self._transport is not None:
                    self._transport.abort()
                return

    # Streams

    def open(self, headers: Headers) -> Stream:
        """A new request. Raises StreamEnded when the connection has gone."""
        if self.is_closing:
            raise StreamEnded("the connection has gone")
        stream = Stream(self, self._next)
        self._next += 2
        self._streams[stream.id] = stream
        stream.send_headers(headers)
        return stream

    def forget(self, stream: Stream) -> None:
        if not stream.is_open:
            self._streams.pop(stream.id, None)

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def write_headers(self, stream: int, headers: Headers, *, end: bool) -> None:
        block = self._encoder.encode(headers)
        kind, flags = Frame.HEADERS, END_STREAM if end else 0
        while len(block) > self.peer_frame:
            self.write(frame(kind, flags, stream, block[: self.peer_frame]))
            kind, flags, block = Frame.CONTINUATION, 0, block[self.peer_frame :]
        self.write(frame(kind, flags | END_HEADERS, stream, block))

    def grant(self, stream: int, size: int) -> None:
        self.write(frame(Frame.WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big")))

    async def writable(self, stream: Stream) -> None:
        """Returns when a byte of `stream` may be sent, or it has ended."""
        while stream.is_open and (not self.can_write or self.send_window <= 0 or stream.send_window <= 0):
            self._flow.clear()
            await self._flow.wait()

    # Frames

    def _frames(self) -> None:
        buffer = self._buffer
        if self._awaits_preface:
            if not PREFACE.startswith(bytes(buffer[: len(PREFACE)])):
                raise Broken(Error.PROTOCOL_ERROR, "no HTTP/2 preface")
            if len(buffer) < len(PREFACE):
                return
            del buffer[: len(PREFACE)]
            self._awaits_preface = False
        at, length = 0, len(buffer)
        with memoryview(bytes(buffer)) as view:
            while length - at >= 9:
                high, low, kind, flags, stream = _HEAD.unpack_from(view, at)
                size = high << 16 | low
                if size > FRAME_LIMIT:
                    raise Broken(Error.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
                end = at + 9 + size
                if end > length:
                    break
                stream &= 0x7FFFFFFF
                payload = view[at + 9 : end]
                if kind == Frame.DATA and self._block is None:
                    self._data(stream, flags, payload)
                else:
                    self._control(kind, flags, stream, bytes(payload))
                at = end
        del buffer[:at]

    def _data(self, identifier: int, flags: int, payload: memoryview) -> None:
        size = len(payload)
        self._received += size
        if self._received > CONNECTION_WINDOW // 2:
            self.grant(0, self._received)
            self._received = 0
        stream = self._streams.get(identifier)
        if stream is None:
            self._check_known(identifier)
            return
        if flags & PADDED:
            if not size or payload[0] >= size:
                raise Broken(Error.PROTOCOL_ERROR, "more padding than frame")
            payload = payload[1 : size - payload[0]]
        if size:
            stream.receive_data(payload, size)
        if flags & END_STREAM:
            stream.receive_end()

    def _control(self, kind: int, flags: int, identifier: int, payload: bytes) -> None:
        if self._block is not None:
            self._continued(kind, flags, identifier, payload)
        elif kind == Frame.HEADERS:
            self._headers(flags, identifier, payload)
        elif kind == Frame.RST_STREAM:
            self._reset(identifier, payload)
        elif kind == Frame.SETTINGS:
            if not flags & ACK:
                self._settings(payload)
        elif kind == Frame.PING:
            if len(payload) != 8:
                raise Broken(Error.FRAME_SIZE_ERROR, "a ping has 8 bytes")
            if not flags & ACK:
                self._answer(frame(Frame.PING, ACK, 0, payload))
            self._heard.set()
        elif kind == Frame.GOAWAY:
            for stream in list(self._streams.values()):
                if not self._accept and stream.id > int.from_bytes(payload[:4], "big"):
                    stream.lose("the peer takes no more requests")
        elif kind == Frame.WINDOW_UPDATE:
            self._granted(identifier, payload)
        elif kind in (Frame.PUSH_PROMISE, Frame.CONTINUATION):
            raise Broken(Error.PROTOCOL_ERROR, f"a frame of kind {kind} has no place here")

    def _answer(self, frame: bytes) -> None:
        """A peer that asks and never reads is let go of: what waits for it would have no bound."""
        if not self.can_write:
            raise Broken(Error.ENHANCE_YOUR_CALM, "the peer reads no answers")
        self.write(frame)

    def _headers(self, flags: int, identifier: int, payload: bytes) -> None:
        if flags & PADDED:
            if not payload or payload[0] >= len(payload):
                raise Broken(Error.PROTOCOL_ERROR, "more padding than frame")
            payload = payload[1 : len(payload) - payload[0]]
        if flags & WITH_PRIORITY:
            payload = payload[5:]
        if flags & END_HEADERS:
            self._whole_headers(identifier, flags, payload)
        else:
            self._block = (identifier, flags, bytearray(payload))

    def _continued(self, kind: int, flags: int, identifier: int, payload: bytes) -> None:
        stream, first, block = self._block or (0, 0, bytearray())
        if kind != Frame.CONTINUATION or identifier != stream:
            raise Broken(Error.PROTOCOL_ERROR, "a header block was interrupted")
        block += payload
        if len(block) > HEADERS_LIMIT:
            raise Broken(Error.ENHANCE_YOUR_CALM, "headers are too long")
        if flags & END_HEADERS:
            self._block = None
            self._whole_headers(stream, first, bytes(block))

    def _whole_headers(self, identifier: int, flags: int, block: bytes) -> None:
        # Also what isn't wanted is decoded: the table of the compression is the connection's.
        headers = [(_text(name), _text(value)) for name, value in self._decoder.decode(block, raw=True)]
        end = bool(flags & END_STREAM)
        stream = self._streams.get(identifier)
        if stream is not None:
            stream.receive_headers(headers, end=end)
            return
        if self._accept is None or identifier % 2 == 0:
            self._check_known(identifier)
            return
        if identifier <= self._last_peer:
            return
        self._last_peer = identifier
        if len(self._streams) >= STREAMS_LIMIT:
            self._answer(frame(Frame.RST_STREAM, 0, identifier, Error.REFUSED_STREAM.to_bytes(4, "big")))
            return
        stream = self._streams[identifier] = Stream(self, identifier)
        stream.receive_headers(headers, end=end)
        self._accept(stream)

    def _check_known(self, identifier: int) -> None:
        """Frames of a stream that ended a moment ago are no error; of one that never was they are."""
        newest = self._last_peer if self._accept else self._next - 1
        if identifier == 0 or identifier > newest:
            raise Broken(Error.PROTOCOL_ERROR, f"there is no stream {identifier}")

    def _reset(self, identifier: int, payload: bytes) -> None:
        stream = self._streams.pop(identifier, None)
        if stream is None:
            return
        stream.lose(f"the peer reset the stream (error {int.from_bytes(payload, 'big')})")
        self._flow.set()
        if self._accept is not None:
            self._resets += 1
            if self._resets > RESETS_LIMIT:
                raise Broken(Error.ENHANCE_YOUR_CALM, "too many streams were reset")

    def _settings(self, payload: bytes) -> None:
        for name, value in setting.iter_unpack(payload):
            if name == INITIAL_WINDOW:
                if value > 0x7FFFFFFF:
                    raise Broken(Error.FLOW_CONTROL_ERROR, "a window over 2^31-1")
                for stream in self._streams.values():
                    stream.send_window += value - self.peer_window
                self.peer_window = value
            elif name == MAX_FRAME:
                if not 16384 <= value <= 0xFFFFFF:
                    raise Broken(Error.PROTOCOL_ERROR, f"frames of {value} bytes")
                self.peer_frame = min(value, FRAME_LIMIT)
            elif name == HEADER_TABLE_SIZE:
                self._encoder.header_table_size = min(value, 4096)
        self._answer(frame(Frame.SETTINGS, ACK, 0, b""))
        self._flow.set()

    def _granted(self, identifier: int, payload: bytes) -> None:
        size = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if not identifier:
            self.send_window += size
        elif (stream := self._streams.get(identifier)) is not None:
            stream.send_window += size
        self._flow.set()


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode("latin-1")
