"""One request, with what the handlers read from it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web

from onggi.registry.answers import Refused
from onggi.registry.routes import Match

Handler = Callable[["Call"], Awaitable[web.StreamResponse]]
"""Answers a call of one action."""

_CONTENT_RANGE: Final = re.compile(r"(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/(?:\d{1,18}|\*))?")
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Call:
    """A matched request. `user` is set once access is granted."""

    def __init__(self, request: web.BaseRequest, match: Match) -> None:
        self.request = request
        self.route, self.name, self.argument = match.route, match.name, match.argument
        self.user = ""

    def query(self, key: str) -> str:
        return self.request.query.get(key, "")

    def queries(self, key: str) -> Sequence[str]:
        return self.request.query.getall(key, [])

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. A client that wants to be told to go on is told."""
        await self._go_on()
        async for piece in self.request.content.iter_any():
            yield piece

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises Refused SIZE_INVALID with 413 when it is longer than `limit`."""
        if (self.request.content_length or 0) > limit:
            raise Refused("SIZE_INVALID", f"the body is longer than {limit} bytes", status=413)
        data = bytearray()
        async for piece in self.chunks():
            data += piece
            if len(data) > limit:
                raise Refused("SIZE_INVALID", f"the body is longer than {limit} bytes", status=413)
        return bytes(data)

    async def _go_on(self) -> None:
        if self.request.headers.get("Expect", "").lower() == "100-continue":
            await self.request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.request.writer.output_size = 0

    def content_range(self) -> tuple[int | None, int | None]:
        """(start, length) that Content-Range promises; (None, None) without one. Raises Refused."""
        text = self.request.headers.get("Content-Range")
        if text is None:
            return None, None
        found = _CONTENT_RANGE.fullmatch(text.strip())
        if not found or int(found[2]) < int(found[1]):
            raise Refused("BLOB_UPLOAD_INVALID", f"invalid Content-Range: {text[:100]!r}", status=416)
        start, length = int(found[1]), int(found[2]) - int(found[1]) + 1
        stated = self.request.content_length
        if stated is not None and stated != length:
            raise Refused("SIZE_INVALID", "Content-Range and Content-Length don't agree", status=416)
        return start, length

    def wanted_range(self, size: int) -> tuple[int, int] | None:
        """(first, count) of a single byte range; None: everything. Raises Refused RANGE_INVALID.

        What isn't one range of bytes is ignored, as RFC 9110 (14.2) lets a server do.
        """
        found = _RANGE.fullmatch(self.request.headers.get("Range", "").strip())
        if not found or not (found[1] or found[2]):
            return None
        if not found[1]:
            count = min(int(found[2]), size)
            first = size - count
        else:
            first = int(found[1])
            last = min(int(found[2]), size - 1) if found[2] else size - 1
            if found[2] and int(found[2]) < first:
                return None
            count = last - first + 1
        if count <= 0:
            raise Refused(
                "RANGE_INVALID", "the range is outside of the blob", headers={"Content-Range": f"bytes */{size}"}
            )
        return first, count
