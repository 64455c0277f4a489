"""Blobs: given out as the kernel copies them, taken in as they come."""

from __future__ import annotations

import asyncio
import os
from typing import BinaryIO, Final

from aiohttp import web

from onggi.registry.access import Access, Scope
from onggi.registry.answers import HEADERS, Refused
from onggi.registry.call import Call
from onggi.registry.names import digest_of, parse_repository
from onggi.registry.repositories import Repositories
from onggi.registry.uploads import Uploads, range_text
from onggi.store.blocking import blocking

_SEND_BYTES: Final = 64 * 1024 * 1024
"""Of one sendfile: between two of them a cancelled request ends."""


class Blobs:
    def __init__(self, repositories: Repositories, uploads: Uploads, access: Access) -> None:
        self._repositories, self._uploads, self._access = repositories, uploads, access

    async def get(self, call: Call) -> web.StreamResponse:
        digest = digest_of(call.argument)
        size = self._repositories.blob_size(call.name, digest)
        headers = {
            "Docker-Content-Digest": digest,
            "Content-Type": "application/octet-stream",
            "ETag": f'"{digest}"',
            "Cache-Control": "max-age=31536000",
            "Accept-Ranges": "bytes",
        }
        if f'"{digest}"' in call.request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        if call.request.method == "HEAD":
            self._repositories.touch_blob(digest)
            return web.Response(headers={**headers, "Content-Length": str(size)})
        wanted = call.wanted_range(size)
        first, count = wanted or (0, size)
        if wanted:
            headers["Content-Range"] = f"bytes {first}-{first + count - 1}/{size}"
        with self._repositories.content.open(digest) as file:
            return await _send(call.request, file, first, count, headers, 206 if wanted else 200)

    async def delete(self, call: Call) -> web.StreamResponse:
        await blocking(self._repositories.unlink_blob, call.name, digest_of(call.argument))
        return web.Response(status=202)

    async def begin(self, call: Call) -> web.StreamResponse:
        """An upload; a blob at once when the digest is given with the body, or another repository has it."""
        mounted = call.query("mount")
        if mounted and await self._mount(call, mounted):
            return self._stored(call, mounted)
        if call.query("digest"):
            digest = digest_of(call.query("digest"))
            identifier = self._uploads.begin(call.name)
            try:
                await self._uploads.append(call.name, identifier, call.chunks(), start=None, length=None)
                await self._uploads.finish(call.name, identifier, digest)
            except BaseException:
                self._uploads.discard(identifier)
                raise
            await blocking(self._repositories.link_blob, call.name, digest)
            return self._stored(call, digest)
        algorithm = call.query("digest-algorithm")
        if algorithm and algorithm not in ("sha256", "sha512"):
            raise Refused("DIGEST_INVALID", f"unsupported digest algorithm {algorithm[:40]!r}")
        return self._underway(call, self._uploads.begin(call.name), 0, 202)

    async def status(self, call: Call) -> web.StreamResponse:
        return self._underway(call, call.argument, self._uploads.offset(call.name, call.argument), 204)

    async def append(self, call: Call) -> web.StreamResponse:
        start, length = call.content_range()
        try:
            offset = await self._uploads.append(call.name, call.argument, call.chunks(), start=start, length=length)
        except Refused as refused:
            if refused.code == "RANGE_INVALID":
                refused.headers["Location"] = _location(call, call.argument)
            raise
        return self._underway(call, call.argument, offset, 202)

    async def finish(self, call: Call) -> web.StreamResponse:
        """The last chunk, if there is a body, and the end."""
        if not call.query("digest"):
            raise Refused("DIGEST_INVALID", "the digest is missing")
        digest = digest_of(call.query("digest"))
        start, length = call.content_range()
        if call.request.can_read_body:
            await self._uploads.append(call.name, call.argument, call.chunks(), start=start, length=length)
        await self._uploads.finish(call.name, call.argument, digest)
        await blocking(self._repositories.link_blob, call.name, digest)
        return self._stored(call, digest)

    async def cancel(self, call: Call) -> web.StreamResponse:
        self._uploads.cancel(call.name, call.argument)
        return web.Response(status=204)

    async def _mount(self, call: Call, text: str) -> bool:
        """Whether another repository's blob is now shown here too. Only one that this user may pull from (S-70)."""
        digest, source = digest_of(text), call.query("from")
        if not source:
            return False
        await self._access.check(Scope.PULL, call.request.headers.get("Authorization", ""), call.request.remote or "")
        if not self._repositories.has_blob(parse_repository(source), digest):
            return False
        await blocking(self._repositories.link_blob, call.name, digest)
        return True

    @staticmethod
    def _stored(call: Call, digest: str) -> web.Response:
        return web.Response(
            status=201,
            headers={"Location": f"/v2/{call.name}/blobs/{digest}", "Docker-Content-Digest": digest},
        )

    @staticmethod
    def _underway(call: Call, identifier: str, offset: int, status: int) -> web.Response:
        headers = {
            "Location": _location(call, identifier),
            "Range": range_text(offset),
            "Docker-Upload-UUID": identifier,
        }
        return web.Response(status=status, headers=headers)


def _location(call: Call, identifier: str) -> str:
    return f"/v2/{call.name}/blobs/uploads/{identifier}"


async def _send(
    request: web.BaseRequest, file: BinaryIO, first: int, count: int, headers: dict[str, str], status: int
) -> web.StreamResponse:
    """A part of a file, without its bytes passing through Python where the transport is a plain socket."""
    answer = web.StreamResponse(status=status, headers={**HEADERS, **headers, "Content-Length": str(count)})
    writer = await answer.prepare(request)
    transport = request.transport
    if writer is None or transport is None:
        raise ConnectionResetError("the client is gone")
    if count:
        # The headers wait for the first bytes of a body: these don't pass through the writer.
        writer.send_headers()
        os.posix_fadvise(file.fileno(), first, count, os.POSIX_FADV_SEQUENTIAL)
        loop = asyncio.get_running_loop()
        while count:
            sent = await loop.sendfile(transport, file, first, min(count, _SEND_BYTES))
            if not sent:
                raise ConnectionResetError("the file is shorter than it was")
            first, count = first + sent, count - sent
    await answer.write_eof()
    return answer
