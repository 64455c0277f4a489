"""The asyncio face: the same calls, each on a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from onggi.client import wire
from onggi.client.call import Call, Request, Stream
from onggi.client.endpoint import Endpoint
from onggi.client.errors import BrokenAnswer, ConnectionRefused
from onggi.client.sync import API_VERSION, _error

T = TypeVar("T")
_CHUNK = 1 << 18


class AsyncClient:
    """Carries out calls on the engine at `host`; any number at a time. A cancelled call closes its connection."""

    def __init__(self, host: str | None = None, *, version: str = API_VERSION) -> None:
        self.endpoint = Endpoint.from_environment(host)
        self.version = version

    async def __call__(self, call: Call[T]) -> T:
        """The call's answer. Raises ApiError, ConnectionRefused."""
        parser = wire.ResponseParser(call.request.method)
        body = b"".join([piece async for piece in self._exchange(call.request, parser)])
        if parser.status >= 400:
            raise _error(parser, body)
        return call.decode(body)

    async def stream(self, stream: Stream[T]) -> AsyncIterator[T]:
        """The items of the answer as they come."""
        parser = wire.ResponseParser(stream.request.method)
        split = stream.splitter()
        refused: list[bytes] = []
        async for piece in self._exchange(stream.request, parser):
            if parser.status >= 400:
                refused.append(piece)
                continue
            for item in split(piece):
                yield item
        if parser.status >= 400:
            raise _error(parser, b"".join(refused))

    async def _exchange(self, request: Request, parser: wire.ResponseParser) -> AsyncIterator[bytes]:
        reader, writer = await self._connect()
        try:
            await self._send(writer, request)
            while not parser.done:
                data = await reader.read(_CHUNK)
                if not data:
                    if not parser.status:
                        raise BrokenAnswer("the engine closed the connection without an answer")
                    parser.end()
                    return
                for piece in parser.feed(data):
                    yield piece
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = self.endpoint.address
        try:
            if isinstance(address, str):
                return await asyncio.open_unix_connection(address)
            context = self.endpoint.tls.context() if self.endpoint.tls else None
            return await asyncio.open_connection(*address, ssl=context)
        except OSError as error:
            raise ConnectionRefused(
                f"Cannot connect to the Docker daemon at {self.endpoint.text}. Is the docker daemon running?"
            ) from error

    async def _send(self, writer: asyncio.StreamWriter, request: Request) -> None:
        headers = {"Host": "onggi", "User-Agent": "onggi", "Connection": "close"} | request.headers
        body = request.body
        if isinstance(body, bytes):
            headers.setdefault("Content-Type", "application/json")
            headers["Content-Length"] = str(len(body))
        elif body is not None:
            headers["Transfer-Encoding"] = "chunked"
        elif request.method in ("POST", "PUT"):
            headers["Content-Length"] = "0"
        writer.write(wire.encode_head(request.method, request.target(f"/v{self.version}"), headers))
        if isinstance(body, bytes):
            writer.write(body)
        elif body is not None:
            for piece in body:
                if piece:
                    writer.write(wire.chunk(piece))
                    await writer.drain()
            writer.write(wire.chunk(b""))
        await writer.drain()
