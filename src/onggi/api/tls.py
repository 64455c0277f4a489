"""TLS with half-close: what a client sends ends with its close-notify, and it reads on (E-239).

asyncio's and uvloop's TLS transports can't: they close both directions at the first close-notify, and `docker run -i` over
TCP would lose its output. So the records are taken apart here (ssl.SSLObject, no I/O of its own), and the plain bytes go
through a socket pair to the protocol that serves every other client, with the ends of both directions kept apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast

_HANDSHAKE_S: Final = 20.0
_PIECE: Final = 1 << 16

log = logging.getLogger(__name__)


class TlsEnd(asyncio.Protocol):
    """The client's side. After the handshake its plain side is made with `serve`, a protocol factory."""

    def __init__(self, context: ssl.SSLContext, serve: Callable[[], asyncio.Protocol]) -> None:
        self._serve = serve
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._transport: asyncio.Transport | None = None
        self._plain: _PlainEnd | None = None
        self._opening: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._client_ended = False
        self._we_ended = False

    # The network's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._deadline = asyncio.get_running_loop().call_later(_HANDSHAKE_S, self.abort)

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        try:
            self._advance()
        except ssl.SSLError as error:
            log.debug("a TLS connection failed", extra={"reason": error.reason or type(error).__name__})
            self._flush()  # the alert that says why
            self.close()

    def eof_received(self) -> bool:
        """Without a close-notify before it this is a cut, not an end: what came may be only a part (RFC 8446, 6.1)."""
        if not self._client_ended:
            self.abort()
        return True

    def pause_writing(self) -> None:
        if self._plain is not None:
            self._plain.pause_reading()

    def resume_writing(self) -> None:
        if self._plain is not None:
            self._plain.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        if self._deadline is not None:
            self._deadline.cancel()
        if self._plain is not None:
            self._plain.close()

    def _advance(self) -> None:
        """As far as what has come allows. Raises SSLError when the client's records or its certificate are wrong."""
        if self._opening is None:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                return
            self._flush()
            if self._deadline is not None:
                self._deadline.cancel()
            self._opening = asyncio.get_running_loop().create_task(self._open(), name="TLS connection")
        elif self._plain is not None:
            self._read()

    async def _open(self) -> None:
        """Makes the plain side, and reads what has come meanwhile."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        try:
            await loop.connect_accepted_socket(self._serve, sock=theirs)
            _, plain = await loop.create_connection(lambda: _PlainEnd(self), sock=ours)
        except OSError:
            ours.close()
            theirs.close()
            self.abort()
            return
        if self._transport is None:  # the client has gone meanwhile
            plain.close()
            return
        self._plain = plain
        try:
            self._read()
        except ssl.SSLError:
            self.abort()

    def _read(self) -> None:
        plain = self._plain
        if plain is None or self._client_ended:
            return
        try:
            while piece := self._tls.read(_PIECE):
                plain.write(piece)
            self._end_of_client(plain)
        except ssl.SSLWantReadError:
            self._flush()  # answers of TLS itself: key updates
        except ssl.SSLZeroReturnError:
            self._end_of_client(plain)

    def _end_of_client(self, plain: _PlainEnd) -> None:
        self._client_ended = True
        plain.end()
        if self._we_ended:
            self.close()

    # The plain side's

    def send(self, data: bytes) -> None:
        if self._transport is not None and not self._we_ended:
            self._tls.write(data)
            self._flush()

    def end(self) -> None:
        """The server has said all: the client is told by a close-notify, and may still send until its own."""
        if self._we_ended or self._transport is None:
            return
        self._we_ended = True
        with contextlib.suppress(ssl.SSLError):  # SSLWantRead: its own close-notify hasn't come, which is fine
            self._tls.unwrap()
        self._flush()
        if self._client_ended:
            self.close()

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _flush(self) -> None:
        if self._transport is not None and (data := self._outgoing.read()):
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _PlainEnd(asyncio.Protocol):
    """Our end of the socket pair, whose other end the server has."""

    def __init__(self, tls: TlsEnd) -> None:
        self._tls = tls
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._tls.send(data)

    def eof_received(self) -> bool:
        self._tls.end()
        return True

    def pause_writing(self) -> None:
        self._tls.pause_reading()

    def resume_writing(self) -> None:
        self._tls.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The server's side is gone altogether: nothing that the client still sends would be read."""
        self._transport = None
        self._tls.end()
        self._tls.close()

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def end(self) -> None:
        if self._transport is not None and not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
