"""Taken-over connections: `101 UPGRADED`, or `200 OK` for clients that never learnt to upgrade; then raw bytes both ways.

Bytes go between the client's transport and the engine's socket, on which a shim or an exec is the other end. Each side
that is slow pauses reading of the other: at most one buffer a direction stands here (R-20), the shim bounds the rest.
Half-close goes through in both directions; a client's whole close ends the pair, the container goes on. After the last
of the output the client's bytes are read and dropped for a while: a socket that is closed with bytes unread is reset, and
a client whose stdin was longer than the container read would report that instead of the exit status.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
import time
from typing import TYPE_CHECKING, Final, cast

from onggi.api.answers import head
from onggi.api.connection import TakenOver

if TYPE_CHECKING:
    from onggi.api.call import Call
    from onggi.api.detachkeys import DetachScanner

RAW: Final = "application/vnd.docker.raw-stream"
MULTIPLEXED: Final = "application/vnd.docker.multiplexed-stream"
STDOUT: Final = 1
_header: Final = struct.Struct(">BxxxI").pack
_HIGH_WATER: Final = 1 << 18
_FLUSH_S: Final = 300.0
_LINGER_S: Final = 5.0
_HEAD_S: Final = 1.0
_HEAD_POLL_S: Final = 0.001


def frame(stream: int, data: bytes) -> bytes:
    """Docker's frame around a piece of output (E-238)."""
    return _header(stream, len(data)) + data


def stream_type(call: Call, *, tty: bool) -> str:
    """Before 1.42 everything was called raw, frames too (E-237)."""
    return RAW if tty or call.version < 42 else MULTIPLEXED


def _is_upgrade(call: Call) -> bool:
    return bool(call.header("Upgrade")) and "upgrade" in call.header("Connection").lower()


class _End(asyncio.Protocol):
    """One end of the pair: what it reads, `other` writes."""

    def __init__(self, scanner: DetachScanner | None = None) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End = self
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._scanner = scanner
        self._ended = False
        self._dropping = False
        self._at_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.adopt(cast("asyncio.Transport", transport))  # uvloop's are no subclass of asyncio's

    def adopt(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        if self._dropping:
            return
        if self._scanner is not None:
            data = self._scanner.feed(data)
        other = self.other.transport
        if data and other is not None and not other.is_closing():
            other.write(data)
        if self._scanner is not None and self._scanner.found:
            self.close()

    def eof_received(self) -> bool:
        """Half-close: the other side is told; this one may still be written to, unless that has ended, too."""
        self._at_end = True
        self.other.end()
        return not self._dropping

    def end(self) -> None:
        """No more comes from the other side."""
        transport = self.transport
        if transport is None or self._ended or transport.is_closing():
            return
        self._ended = True
        if transport.can_write_eof():
            transport.write_eof()

    def finish(self) -> None:
        """Nothing comes any more from the other side, and nothing that this one sends is wanted there."""
        transport = self.transport
        if transport is None or transport.is_closing() or self._dropping:
            return
        if self._at_end or not transport.can_write_eof():  # TLS drops what still comes by itself
            self.close()
            return
        self._dropping = True
        self.end()
        transport.resume_reading()
        asyncio.get_running_loop().call_later(_LINGER_S, self.close)

    def pause_writing(self) -> None:
        if (other := self.other.transport) is not None and not other.is_closing():
            other.pause_reading()

    def resume_writing(self) -> None:
        if (other := self.other.transport) is not None and not other.is_closing():
            other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if not self.lost.done():
            self.lost.set_result(None)
        if exc is None:
            self.other.finish()
        else:  # cut, not closed: what still waits for the other side isn't worth waiting for
            self.other.abort()

    def close(self) -> None:
        """Close once what is buffered has been sent, or can't be in a while."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            if self.transport is not None and self.transport.get_write_buffer_size():
                asyncio.get_running_loop().call_later(_FLUSH_S, self.abort)

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class _ContainerEnd(_End):
    """The engine's socket: when its output ends, everything has been said and the client's connection ends."""

    def eof_received(self) -> bool:
        self.other.finish()
        return False

    def finish(self) -> None:
        """The client has gone: the shim has nothing to say to it."""
        self.close()


class Hijack:
    """A connection that stops being HTTP. Use `open`, then `join` or `close`."""

    def __init__(self, call: Call, content_type: str, scanner: DetachScanner | None = None) -> None:
        self._call = call
        self._content_type = content_type
        self._scanner = scanner
        self._client = _End(scanner)
        self._early = b""
        self._ended_early = False

    def open(self) -> None:
        """Answer the request and take its connection. Raises ConnectionResetError when the client has gone.

        The client's bytes are not read until `join`. What goes wrong from here on can only be said in the stream.
        """
        if _is_upgrade(self._call):
            upgrade = self._call.header("Upgrade")
            answer = head(101, (("Content-Type", self._content_type), ("Connection", "Upgrade"), ("Upgrade", upgrade)))
            answer = answer.replace(b"101 Switching Protocols", b"101 UPGRADED", 1)
        else:
            # Whoever doesn't upgrade is told the old type, frames or not, as dockerd does it.
            answer = head(200, (("Content-Type", RAW),))
        at_end = self._call.connection.at_end
        transport, self._early = self._call.connection.take_over(self._client)
        transport.pause_reading()
        self._client.adopt(transport)
        transport.write(answer + b"\r\n")
        self._ended_early = at_end

    @property
    def detached(self) -> bool:
        """Whether a person typed the keys that leave."""
        return self._scanner is not None and self._scanner.found

    def write(self, data: bytes) -> None:
        """Something of our own to the client, before `join` or `close`."""
        if self._client.transport is not None:
            self._client.transport.write(data)

    async def join(self, sock: socket.socket) -> TakenOver:
        """Pump between the client and `sock` (ours from now on) until both are at their end.

        Cancelled: both are closed. What runs in the container isn't touched.
        """
        try:
            await self._head_read()
        except BaseException:
            sock.close()
            self._client.close()
            raise
        container = _ContainerEnd()
        container.other, self._client.other = self._client, container
        try:
            await asyncio.get_running_loop().create_connection(lambda: container, sock=sock)
            if self._early:
                self._client.data_received(self._early)
            if self._ended_early:
                container.end()
            elif self._client.transport is not None:
                self._client.transport.resume_reading()
            else:
                container.close()
            await container.lost
            await self._client.lost
        finally:
            container.close()
            self._client.close()
        return TakenOver()

    async def _head_read(self) -> None:
        """Until the client has read our head, or doesn't in a while: docker-py loses what it reads together with that.

        Only a Unix socket tells (SIOCOUTQ in net/unix/af_unix.c: what the peer hasn't read). Behind TCP the head's way is
        as long as that of the bytes after it, so there is nothing to be gained.
        """
        deadline = time.monotonic() + _HEAD_S
        while (transport := self._client.transport) is not None:
            sock = transport.get_extra_info("socket")
            if sock is None or sock.family != socket.AF_UNIX or time.monotonic() > deadline:
                return
            unread = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
            if not any(unread):
                return
            await asyncio.sleep(_HEAD_POLL_S)

    async def close(self) -> TakenOver:
        """The end, when there is nothing to join."""
        self._client.finish()
        await self._client.lost
        return TakenOver()
