"""Layers as blobs: the one a layer came in, or a gzip of it, made once and kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from isal import isal_zlib

from onggi.images.sidebyside import side_by_side
from onggi.oci.digest import Digest
from onggi.oci.manifest import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    decode_manifest,
    encode_document,
)
from onggi.store.blocking import blocking
from onggi.store.compression import Compression, detect
from onggi.store.content import Writer
from onggi.store.pipes import widen

if TYPE_CHECKING:
    from onggi.images.catalog import Catalog, Image

_PIECE: Final = 1024 * 1024
_GZIP_LEVEL: Final = 1
_GZIP_WINDOW: Final = 16 + 15
"""zlib's way of asking for a gzip header and trailer."""


async def packed_image(images: Catalog, image: Image) -> tuple[bytes, Manifest]:
    """The image's manifest, with all of its blobs in the store: the one it came with, or one that is made and remembered.

    Cancelled: blobs that are made already stay.
    """
    kept = kept_manifest(images, image)
    if kept is not None:
        return kept
    return await new_manifest(images, image, await side_by_side(packed_layer(images, one) for one in image.layers))


async def new_manifest(images: Catalog, image: Image, layers: Sequence[PackedLayer]) -> tuple[bytes, Manifest]:
    """A manifest of these blobs, in the order of the image's layers. Remembered, and the blobs with it."""
    is_oci = any(layer.compression is Compression.ZSTD for layer in layers)
    config = Descriptor(OCI_CONFIG if is_oci else DOCKER_CONFIG, image.id, images.content.size(image.id))
    blobs = [Descriptor(layer_type(one.compression, is_oci=is_oci), one.digest, one.size) for one in layers]
    manifest = Manifest(2, config, blobs, OCI_MANIFEST if is_oci else DOCKER_MANIFEST)
    data = encode_document(manifest)
    digest = await blocking(images.content.put, data)
    known = {str(diff): str(one.digest) for diff, one in zip(image.layers, layers, strict=True)}
    await images.keep_blobs(image.id, known, digest)
    return data, manifest


def kept_manifest(images: Catalog, image: Image) -> tuple[bytes, Manifest] | None:
    """The manifest that the image came with, or was pushed with before, if all of its blobs are here."""
    digest = Digest(image.row.manifest)
    if not digest or not images.content.has(digest):
        return None
    data = images.content.read(digest)
    manifest = decode_manifest(data)
    if not isinstance(manifest, Manifest) or not all(images.content.has(blob.digest) for blob in manifest.layers):
        return None
    return data, manifest


@dataclass(frozen=True, slots=True)
class PackedLayer:
    digest: Digest
    size: int
    compression: Compression


async def packed_layer(images: Catalog, diff_id: Digest) -> PackedLayer:
    """A compressed blob of the layer. Raises Corrupt when the layer's files aren't what they were."""
    blob, compression = images.blob_of(diff_id), Compression.GZIP
    if blob is None:
        blob = await _pack(images, diff_id)
    else:
        with images.content.open(blob) as file:
            compression = detect(file.read(8))
        if compression not in (Compression.GZIP, Compression.ZSTD):
            blob, compression = await blocking(_recompress, images, blob), Compression.GZIP
    return PackedLayer(blob, images.content.size(blob), compression)


async def _pack(images: Catalog, diff_id: Digest) -> Digest:
    """The worker reads, digests and compresses the tree; a thread here digests what comes out and writes it."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    widen(write_end)
    try:
        with images.content.ingest() as writer:
            packing = asyncio.ensure_future(images.layers.pack(diff_id, write_end, gzip=True))
            try:
                # The job has its own copy of the pipe once the task has run up to its first wait.
                await asyncio.sleep(0)
                os.close(write_end)
                write_end = -1
                await blocking(_receive, read_end, writer)
                await packing
            finally:
                if not packing.done():
                    packing.cancel()
                    await asyncio.wait([packing])
            return await blocking(writer.commit)
    finally:
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)


def _receive(fd: int, writer: Writer) -> None:
    while piece := os.read(fd, _PIECE):
        writer.write(piece)


def _recompress(images: Catalog, blob: Digest) -> Digest:
    """A plain tar (an import's, or an archive's) as gzip. Blocks."""
    deflate = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)
    with images.content.open(blob) as file, images.content.ingest() as writer:
        while piece := file.read(_PIECE):
            writer.write(deflate.compress(piece))
        writer.write(deflate.flush())
        return writer.commit()


def layer_type(compression: Compression, *, is_oci: bool) -> str:
    """The media type of a packed layer."""
    if compression is Compression.ZSTD:
        return OCI_LAYER_ZSTD
    if compression is Compression.NONE:
        return OCI_LAYER if is_oci else DOCKER_LAYER
    return OCI_LAYER_GZIP if is_oci else DOCKER_LAYER_GZIP
