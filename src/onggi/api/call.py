"""One request as its handler sees it: version, parameters, query, body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final, TypeVar

from onggi.api.bodies import decode_body
from onggi.api.query import Query
from onggi.errors import InvalidArgument, OnggiError

if TYPE_CHECKING:
    from aiohttp.web_request import BaseRequest

    from onggi.api.connection import Connection
    from onggi.api.service import Service
    from onggi.engine.engine import Engine

T = TypeVar("T")

MAX_JSON: Final = 8 << 20
_BODY_S: Final = 60.0


class BodyTooLarge(OnggiError):
    """More than a JSON body may be."""

    status = 413


class Call:
    """What one request asks. Lives as long as its handler."""

    __slots__ = ("_continued", "connection", "params", "path", "query", "request", "service", "streaming", "version")

    def __init__(
        self, request: BaseRequest, connection: Connection, service: Service, version: int, path: str, query: Query
    ) -> None:
        self.request = request
        self.connection = connection
        self.service = service
        self.version = version
        self.path = path
        self.query = query
        self.params: dict[str, str] = {}
        self.streaming = False
        self._continued = False

    @property
    def engine(self) -> Engine:
        return self.service.engine

    def header(self, name: str) -> str:
        return self.request.headers.get(name, "")

    @property
    def has_body(self) -> bool:
        headers = self.request.headers
        return headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers

    async def body(self, limit: int = MAX_JSON) -> bytes:
        """The whole body. Raises BodyTooLarge, InvalidArgument when it doesn't come in a minute."""
        length = self.header("Content-Length")
        if length.isdigit() and int(length) > limit:
            raise BodyTooLarge(f"request body of {length} bytes is too large: at most {limit} are taken")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(_BODY_S):
                async for part in self.chunks():
                    size += len(part)
                    if size > limit:
                        raise BodyTooLarge(f"request body is too large: at most {limit} bytes are taken")
                    parts.append(part)
        except TimeoutError:
            raise InvalidArgument("the request's body did not arrive in time") from None
        return b"".join(parts)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives. Raises ConnectionResetError when the client goes before its end."""
        if not self._continued:
            self._continued = True
            if self.header("Expect").lower() == "100-continue" and (transport := self.request.transport) is not None:
                transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        content = self.request.content
        while part := await content.readany():
            yield part

    async def json(self, wanted: type[T]) -> T:
        """The body as a `wanted`. Raises InvalidArgument."""
        return self.decode(await self.body(), wanted)

    def decode(self, data: bytes, wanted: type[T]) -> T:
        """`data`, which is the body, as a `wanted`. Raises InvalidArgument."""
        if data:
            check_json_type(self.header("Content-Type"))
        return decode_body(data, wanted)

    async def optional_json(self, wanted: type[T]) -> T | None:
        """The same, None for an empty body or `null`."""
        data = await self.body()
        if not data.strip() or data.strip() == b"null":
            return None
        check_json_type(self.header("Content-Type"))
        return decode_body(data, wanted)


def check_json_type(content_type: str) -> None:
    """Raises InvalidArgument for another type: a web page can post text/plain without asking (S-65)."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json":
        raise InvalidArgument(f"unsupported Content-Type header ({content_type[:64]}): must be 'application/json'")
