"""`docker import`: a file system's tar becomes an image of one layer."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterable

from onggi.images.catalog import Image, Images
from onggi.oci.image import History, ImageConfig, RootFS, RunConfig
from onggi.oci.platform import Platform, host_platform
from onggi.oci.reference import Reference


def now_text() -> str:
    """RFC 3339 with nanoseconds, as Go writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


async def import_image(
    images: Images,
    stream: AsyncIterable[bytes],
    *,
    name: Reference | None,
    message: str = "",
    config: RunConfig | None = None,
    platform: Platform | None = None,
    source: str = "-",
) -> Image:
    """Raises InvalidArgument (not a tar), NoSpace. Cancelled or failed: nothing is left."""
    layer = await images.layers.apply(stream)
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
    image = await images.create(document, names=[name] if name else [])
    images.on_event("import", image.id, name.familiar() if name else image.id)
    return image
