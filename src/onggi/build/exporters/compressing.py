"""Layers in the compression that a client asks for: gzip, zstd or none, at a level.

Base layers that came in another form keep it unless `force-compression` says otherwise, as BuildKit does: their blobs may be in the
registry already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import zstandard
from isal import isal_zlib

from onggi.errors import InvalidArgument
from onggi.images.packing import PackedLayer, packed_layer
from onggi.oci.digest import Digest
from onggi.store.blocking import blocking
from onggi.store.compression import Compression, open_reader

if TYPE_CHECKING:
    from onggi.images import Images

_KINDS: Final = {
    "": Compression.GZIP,
    "gzip": Compression.GZIP,
    "zstd": Compression.ZSTD,
    "uncompressed": Compression.NONE,
}
_PIECE: Final = 1024 * 1024
_GZIP_WINDOW: Final = 16 + 15
"""zlib's way of asking for a gzip header and trailer."""

_ISAL_LEVELS: Final = 3
_ZSTD_LEVELS: Final = 22
_ZSTD_DEFAULT: Final = 3


@dataclass(frozen=True, slots=True)
class Packing:
    """`level` is the compression's own scale, -1 its default."""

    compression: Compression = Compression.GZIP
    level: int = -1
    force: bool = False
    is_asked: bool = False

    @property
    def needs_oci(self) -> bool:
        """Docker's media types have none for zstd."""
        return self.compression is Compression.ZSTD


def packing_of(attrs: Mapping[str, str]) -> Packing:
    """`compression`, `compression-level`, `force-compression` of an exporter. Raises InvalidArgument."""
    name, level = attrs.get("compression", ""), attrs.get("compression-level", "")
    if name not in _KINDS:
        raise InvalidArgument(f"unsupported layer compression type {name!r}: gzip, zstd and uncompressed are")
    if level and not level.isdigit():
        raise InvalidArgument(f"non-integer value {level!r} specified for compression-level")
    force = attrs.get("force-compression", "").lower() in ("true", "1", "t")
    return Packing(_KINDS[name], int(level) if level else -1, force, bool(name or level or force))


async def layer_as(images: Images, diff_id: Digest, packing: Packing) -> PackedLayer:
    """The layer's blob in the form that is asked for; its own form when none is. Cancelled: nothing is left half-written."""
    own = await packed_layer(images, diff_id)
    foreign = not images.layers.info(diff_id).captured
    if not packing.is_asked or (foreign and not packing.force):
        return own
    if own.compression is packing.compression and packing.level < 0:
        return own
    digest = await blocking(_repacked, images, own.digest, packing)
    return PackedLayer(digest, images.content.size(digest), packing.compression)


def _repacked(images: Images, blob: Digest, packing: Packing) -> Digest:
    """Blocks for as long as the bytes take."""
    with images.content.open(blob) as file, images.content.ingest() as writer:
        reader = open_reader(file)[1]
        pack = _packer(packing)
        while piece := reader.read(_PIECE):
            writer.write(pack.compress(piece) if pack else piece)
        if pack:
            writer.write(pack.flush())
        return writer.commit()


def _packer(packing: Packing) -> isal_zlib.Compress | zstandard.ZstdCompressionObj | None:
    if packing.compression is Compression.GZIP:
        level = min(max(packing.level, 0), _ISAL_LEVELS) if packing.level >= 0 else 1
        return isal_zlib.compressobj(level, isal_zlib.DEFLATED, _GZIP_WINDOW)
    if packing.compression is Compression.ZSTD:
        level = min(max(packing.level, 1), _ZSTD_LEVELS) if packing.level >= 0 else _ZSTD_DEFAULT
        return zstandard.ZstdCompressor(level=level).compressobj()
    return None
