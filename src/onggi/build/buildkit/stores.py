"""Content stores of the client, by name: OCI layouts that builds stand on, directories that caches and layouts are written to.

The client serves containerd's content service on its session.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import BinaryIO, Final

from onggi.build.buildkit.pb import content_pb2
from onggi.build.buildkit.rpc import Code, RpcError
from onggi.build.buildkit.session import Session
from onggi.errors import Corrupt
from onggi.oci.digest import Digest
from onggi.oci.manifest import Descriptor
from onggi.store.blocking import blocking
from onggi.store.content import Content

_SERVICE: Final = "/containerd.services.content.v1.Content/"
_STORE: Final = "buildkit-attachable-store-id"
_PIECE: Final = 1 << 20
_DOCUMENT_LIMIT: Final = 8 * 1024 * 1024


class ClientStore:
    """One of them."""

    def __init__(self, session: Session, name: str) -> None:
        self._session, self._name = session, name
        self._metadata = [(_STORE, name)]

    async def pieces(self, digest: Digest) -> AsyncIterator[bytes]:
        """A blob's bytes. Raises Corrupt at their end when they are others, RpcError."""
        request = content_pb2.ReadContentRequest(digest=digest)
        hasher = hashlib.sha256()
        async with self._session.channel.call(_SERVICE + "Read", self._metadata) as call:
            await call.send(request)
            call.end()
            while (answer := await call.receive(content_pb2.ReadContentResponse)) is not None:
                hasher.update(answer.data)
                yield answer.data
        if digest.startswith("sha256:") and digest != f"sha256:{hasher.hexdigest()}":
            raise Corrupt(f"the client's blob {digest} has other bytes")

    async def document(self, digest: Digest) -> bytes:
        """A small blob. Raises Corrupt, RpcError."""
        found = b""
        async for piece in self.pieces(digest):
            found += piece
            if len(found) > _DOCUMENT_LIMIT:
                raise Corrupt(f"the client's document {digest} has more than {_DOCUMENT_LIMIT} bytes")
        return found

    async def fetch(self, blob: Descriptor, content: Content) -> None:
        """A blob into the engine's store, unless it is there. Raises Corrupt, RpcError, NoSpace. Cancelled: nothing is left."""
        if content.has(blob.digest):
            return
        with content.ingest() as writer:
            async for piece in self.pieces(blob.digest):
                await blocking(writer.write, piece)
            await blocking(writer.commit, blob.digest, blob.size)

    async def has(self, digest: Digest) -> bool:
        """Raises RpcError."""
        try:
            async with self._session.channel.call(_SERVICE + "Info", self._metadata) as call:
                await call.send(content_pb2.InfoRequest(digest=digest))
                call.end()
                return await call.receive(content_pb2.InfoResponse) is not None
        except RpcError as error:
            if error.code is Code.NOT_FOUND:
                return False
            raise

    async def write(self, digest: Digest, size: int, source: BinaryIO) -> None:
        """A blob, unless it is there. Raises RpcError."""
        if await self.has(digest):
            return
        request = content_pb2.WriteContentRequest
        async with self._session.channel.call(_SERVICE + "Write", self._metadata) as call:
            at = 0
            while piece := await blocking(source.read, _PIECE):
                await call.send(
                    request(
                        action=content_pb2.WRITE, ref=digest, total=size, expected=digest, offset=at, data=bytes(piece)
                    )
                )
                if await call.receive(content_pb2.WriteContentResponse) is None:
                    break
                at += len(piece)
            await call.send(request(action=content_pb2.COMMIT, ref=digest, total=size, expected=digest, offset=at))
            call.end()
            await call.receive(content_pb2.WriteContentResponse)
