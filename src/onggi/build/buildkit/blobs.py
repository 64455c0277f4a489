"""Blobs of past builds for their clients: logs, attestations. A part of containerd's content service, read only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from onggi.build.buildkit.pb import content_pb2
from onggi.build.buildkit.rpc import Code, Methods, RpcError, ServerCall, unary
from onggi.oci.digest import Digest, is_digest
from onggi.store.content import Content

if TYPE_CHECKING:
    from collections.abc import Callable

_SERVICE: Final = "/containerd.services.content.v1.Content/"
_PIECE: Final = 1 << 20


class Blobs:
    """Answers from the histories' own store: nothing else of the engine can be read through it."""

    def __init__(self, content: Callable[[], Content]) -> None:
        self._content = content

    def methods(self) -> Methods:
        return {
            _SERVICE + "Info": unary(content_pb2.InfoRequest, self._info),
            _SERVICE + "Read": self._read,
        }

    def _check(self, digest: str) -> Digest:
        if not is_digest(digest) or not self._content().has(Digest(digest)):
            raise RpcError(Code.NOT_FOUND, f"content {digest}: not found")
        return Digest(digest)

    async def _info(self, request: content_pb2.InfoRequest, call: ServerCall) -> content_pb2.InfoResponse:  # noqa: ARG002
        digest = self._check(request.digest)
        return content_pb2.InfoResponse(info=content_pb2.Info(digest=digest, size=self._content().size(digest)))

    async def _read(self, call: ServerCall) -> None:
        request = await call.request(content_pb2.ReadContentRequest)
        digest = self._check(request.digest)
        if request.offset < 0 or request.size < 0:
            raise RpcError(Code.INVALID_ARGUMENT, "a negative offset or size")
        with self._content().open(digest) as file:
            file.seek(request.offset)
            at, left = request.offset, request.size or self._content().size(digest)
            while left > 0 and (piece := await asyncio.to_thread(file.read, min(_PIECE, left))):
                await call.send(content_pb2.ReadContentResponse(offset=at, data=piece))
                at, left = at + len(piece), left - len(piece)
