"""Answers that go on: chunked bodies, JSON lines, progress. Each write waits for the client, so one client holds one buffer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp.web_response import StreamResponse

from onggi.api.answers import JSON, encode_json, head

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.web_request import BaseRequest

    from onggi.api.call import Call

PIECE: Final = 1 << 16


class Stream(StreamResponse):
    """An answer whose length isn't known. `begin` sends the head at once; the handler returns it at the end.

    A handler that fails after `begin` leaves the last chunk unsent: the client sees a broken body, not a short one.
    """

    def __init__(
        self,
        call: Call,
        content_type: str = JSON,
        *,
        status: int = 200,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self._request = call.request
        self._chunks = call.request.version >= (1, 1)
        self._begun = False
        self._status = status
        self._reason = ""
        self._type = content_type
        self._extra = headers
        self._keep_alive = self._chunks and call.request.keep_alive
        self._call = call

    async def begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        self._call.streaming = True
        parts = [head(self._status, self._extra), b"Content-Type: %b\r\n" % self._type.encode()]
        parts.append(b"Transfer-Encoding: chunked\r\n" if self._chunks else b"")
        parts.append(b"" if self._keep_alive else b"Connection: close\r\n")
        parts.append(b"\r\n")
        await self._send(b"".join(parts))

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Raises ConnectionResetError when the client has gone."""
        if not self._begun:
            await self.begin()
        if self._request.method == "HEAD" or not data:
            return
        if not self._chunks:
            await self._send(data)
        elif len(data) < PIECE:
            await self._send(b"%x\r\n%b\r\n" % (len(data), bytes(data)))
        else:  # one large piece isn't copied once more
            await self._send(b"%x\r\n" % len(data))
            await self._send(data)
            await self._send(b"\r\n")

    async def line(self, value: object) -> None:
        """One JSON object, ended by CR LF as dockerd ends them."""
        await self.write(encode_json(value) + b"\r\n")

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002
        await self.begin()
        return None

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002
        if self._chunks and self._request.method != "HEAD":
            await self._send(b"0\r\n\r\n")

    async def _send(self, data: bytes | bytearray | memoryview) -> None:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        transport.write(data)
        await self._request.writer.drain()


@asynccontextmanager
async def closing(pieces: AsyncIterator[object]) -> AsyncIterator[None]:
    """What gives the pieces ends with the block, as aclosing's does; not every iterator is a generator."""
    try:
        yield
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()
