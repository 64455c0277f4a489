"""An archive's files, set down beside the store's blobs while it is looked through."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from onggi.errors import Corrupt, InvalidArgument
from onggi.images.archives import blob_name
from onggi.images.loadjob import Receive, Received, Spooled, clean_name
from onggi.oci.manifest import Descriptor
from onggi.store.blocking import blocking
from onggi.store.pipes import pumped

if TYPE_CHECKING:
    from onggi.images.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Spool:
    """`files`: by the name in the archive, what stands in `directory` under a number."""

    directory: str
    files: dict[str, Spooled]

    def find(self, name: str) -> Spooled:
        """Raises InvalidArgument."""
        found = self.files.get(clean_name(os.fsencode(name)))
        if found is None:
            raise InvalidArgument(f"the archive has no file {name[:200]!r}")
        return found

    def blob(self, descriptor: Descriptor) -> Spooled:
        """Raises InvalidArgument; Corrupt when it isn't what the descriptor says."""
        found = self.find(blob_name(descriptor.digest))
        if descriptor.digest.startswith("sha256:") and found.digest != descriptor.digest:
            raise Corrupt(f"blob {descriptor.digest} in the archive has the digest {found.digest}")
        if found.size != descriptor.size:
            raise Corrupt(f"blob {descriptor.digest} in the archive has {found.size} bytes, not {descriptor.size}")
        return found

    def path(self, file: Spooled) -> str:
        return os.path.join(self.directory, str(file.number))

    def open(self, file: Spooled) -> BinaryIO:
        return open(self.path(file), "rb")

    def read(self, file: Spooled, limit: int) -> bytes:
        """Raises InvalidArgument when it is too long."""
        if file.size > limit:
            raise InvalidArgument(f"a document in the archive is longer than {limit} bytes")
        with self.open(file) as opened:
            return opened.read()


@contextlib.asynccontextmanager
async def spooled(images: Catalog, body: AsyncIterable[bytes]) -> AsyncIterator[Spool]:
    """Raises Corrupt, NoSpace. At the end the files that nobody has taken are gone."""
    directory = images.content.spool_directory()
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            async with pumped(body) as source:
                answer = await images.layers.workers.run("onggi.images.loadjob:receive", Receive(), [source, fd])
        finally:
            os.close(fd)
        yield Spool(directory, msgspec.msgpack.decode(answer, type=Received).files)
    finally:
        await blocking(shutil.rmtree, directory, ignore_errors=True)
