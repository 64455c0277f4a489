"""`docker import`: a file system's tar becomes an image of one layer."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterable, AsyncIterator
from typing import Final

from onggi.images.catalog import Catalog, Image
from onggi.oci.image import History, ImageConfig, RootFS, RunConfig
from onggi.oci.platform import Platform, host_platform
from onggi.oci.reference import Reference
from onggi.store.blocking import blocking
from onggi.store.content import Writer

_BATCH: Final = 1024 * 1024


def now_text() -> str:
    """RFC 3339 with nanoseconds, as Go writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


async def import_image(
    images: Catalog,
    stream: AsyncIterable[bytes],
    *,
    name: Reference | None,
    message: str = "",
    config: RunConfig | None = None,
    platform: Platform | None = None,
    source: str = "-",
) -> Image:
    """Raises Corrupt (not a tar), NoSpace. Cancelled or failed: nothing is left.

    The tar is kept as it came: a push needs bytes with the layer's digest, and the unpacked files would give others.
    """
    with images.content.ingest() as writer:
        layer = await images.layers.apply(_kept(stream, writer))
        blob = await blocking(writer.commit)
    where = platform or host_platform()
    created = now_text()
    document = ImageConfig(
        architecture=where.architecture,
        os=where.os,
        variant=where.variant,
        rootfs=RootFS(diff_ids=[layer.diff_id]),
        config=config or RunConfig(),
        created=created,
        history=[History(created=created, comment=message or f"Imported from {source}")],
    )
    image = await images.create(document, names=[name] if name else [], blobs={layer.diff_id: blob})
    if name:
        images.on_event("tag", image.id, name.familiar())
    images.on_event("import", image.id, image.id)
    return image


async def _kept(stream: AsyncIterable[bytes], writer: Writer) -> AsyncIterator[bytes]:
    """`stream`, written down as it passes."""
    batch = bytearray()
    async for piece in stream:
        batch += piece
        if len(batch) >= _BATCH:
            await blocking(writer.write, batch)
            yield bytes(batch)
            batch = bytearray()
    await blocking(writer.write, batch)
    yield bytes(batch)
