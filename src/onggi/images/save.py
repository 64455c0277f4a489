"""`docker save`: images as one tar that docker, podman and OCI tools read. The same images give the same bytes."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from onggi.errors import InvalidArgument, NotFound
from onggi.images import archives
from onggi.images.catalog import is_image_id
from onggi.images.packing import packed_image
from onggi.oci.digest import Digest, sha256_of
from onggi.oci.manifest import Descriptor
from onggi.oci.reference import Reference, parse_reference
from onggi.store.blocking import blocking

if TYPE_CHECKING:
    from onggi.images.catalog import Catalog, Image

_PIECE: Final = 1024 * 1024
_BLOCK: Final = 512


async def save(images: Catalog, names: Sequence[str]) -> AsyncIterator[bytes]:
    """See Images.save. Layers that have no packed blob get one, which is kept for a push."""
    wanted = chosen(images, names)
    release = images.lease([layer for image, _ in wanted for layer in image.layers])
    try:
        packed = [(await packed_image(images, image), references) for image, references in wanted]
        for directory in ("blobs", "blobs/sha256"):
            yield _header(directory, 0, tarfile.DIRTYPE)
        written: set[Digest] = set()
        for (data, manifest), _ in packed:
            for blob in (manifest.config.digest, *(layer.digest for layer in manifest.layers)):
                if blob not in written:
                    written.add(blob)
                    async for piece in blob_pieces(images, blob):
                        yield piece
            if sha256_of(data) not in written:
                written.add(sha256_of(data))
                yield file_piece(archives.blob_name(sha256_of(data)), data)
        named = [(manifest, references) for (_, manifest), references in packed]
        indexed = [
            (Descriptor(manifest.media_type, sha256_of(data), len(data)), references)
            for (data, manifest), references in packed
        ]
        yield file_piece("index.json", archives.oci_index(indexed))
        yield file_piece("manifest.json", archives.docker_manifest(named))
        yield file_piece("oci-layout", archives.LAYOUT)
        yield file_piece("repositories", archives.repositories(named))
        yield end_of_archive()
    finally:
        release()


def chosen(images: Catalog, names: Sequence[str]) -> list[tuple[Image, list[Reference]]]:
    """Each image once, with the names it is saved under: all tags of a repository that is named alone, none for an id."""
    found: dict[Digest, tuple[Image, list[Reference]]] = {}
    for name in names:
        for image, reference in _find(images, name):
            references = found.setdefault(image.id, (image, []))[1]
            if reference and reference not in references:
                references.append(reference)
    return list(found.values())


def _find(images: Catalog, name: str) -> list[tuple[Image, Reference | None]]:
    try:
        reference = parse_reference(name, None)
    except InvalidArgument:
        return [(images.resolve(name), None)]
    if reference.digest:
        return [(images.resolve(name), None)]
    if reference.tag:
        return [(images.resolve(name), reference)]
    tags = [parse_reference(tag) for tag in sorted(images.names()) if tag.startswith(f"{reference.name}:")]
    if tags:
        return [(images.resolve(str(tag)), tag) for tag in tags]
    if is_image_id(name):
        return [(images.resolve(name), None)]
    raise NotFound(f"No such image: {reference.familiar()}")


async def blob_pieces(images: Catalog, digest: Digest) -> AsyncIterator[bytes]:
    """A blob of the store as a file of an archive."""
    size = images.content.size(digest)
    yield _header(archives.blob_name(digest), size)
    with images.content.open(digest) as file:
        while piece := await blocking(file.read, _PIECE):
            yield piece
    yield bytes(-size % _BLOCK)


def end_of_archive() -> bytes:
    return bytes(2 * _BLOCK)


def file_piece(name: str, data: bytes) -> bytes:
    """A file of an archive."""
    return _header(name, len(data)) + data + bytes(-len(data) % _BLOCK)


def _header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Owner and time are nobody's: two saves can be compared."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    return info.tobuf(tarfile.GNU_FORMAT)
