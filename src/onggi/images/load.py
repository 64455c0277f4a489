"""`docker load`: what `save`, docker, podman or an OCI tool has written, whoever sent it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from onggi.errors import Corrupt, InvalidArgument, OnggiError
from onggi.images.archives import NAME_ANNOTATION, TAG_ANNOTATION, ArchivedImage
from onggi.images.loadjob import Spooled
from onggi.images.progress import Line, Output
from onggi.images.spool import Spool, spooled
from onggi.oci.digest import Digest, hex_of
from onggi.oci.image import CONFIG_LIMIT, decode_image_config
from onggi.oci.manifest import DOCUMENT_LIMIT, Descriptor, Index, Manifest, decode_manifest
from onggi.oci.platform import host_platform
from onggi.oci.reference import Reference, parse_reference
from onggi.store.blocking import blocking

if TYPE_CHECKING:
    from onggi.images.catalog import Catalog, Image

_DEPTH: Final = 3
"""Of indexes within indexes."""


class _Stream(msgspec.Struct, frozen=True):
    stream: str


@dataclass(frozen=True, slots=True)
class _Found:
    """An image in the archive; `layers` are in the order of the config's diff ids."""

    config: Spooled
    layers: Sequence[Spooled]
    names: Sequence[Reference]
    manifest: bytes = b""


async def load(images: Catalog, body: AsyncIterable[bytes], *, quiet: bool, output: Output) -> list[Image]:
    """See Images.load. Names are given when all of an image is durable; failed or cancelled: earlier images of the archive stay."""
    loaded = []
    async with spooled(images, body) as spool:
        for found in _images_in(spool):
            loaded.append(await _load_one(images, spool, found, quiet=quiet, output=output))
    return loaded


async def _load_one(images: Catalog, spool: Spool, found: _Found, *, quiet: bool, output: Output) -> Image:
    data = spool.read(found.config, CONFIG_LIMIT)
    config = decode_image_config(data)
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(found.layers):
        raise Corrupt(f"invalid manifest, layers length mismatch: expected {len(diff_ids)}, got {len(found.layers)}")
    release = images.lease(diff_ids, [*(layer.digest for layer in found.layers), found.config.digest])
    try:
        blobs: dict[str, str] = {}
        for diff_id, layer in zip(diff_ids, found.layers, strict=True):
            blobs[diff_id] = await _layer(images, spool, diff_id, layer, None if quiet else output)
        manifest = await blocking(images.content.put, found.manifest) if found.manifest else ""
        for name in found.names:
            before = images.named(str(name))
            if before and before != found.config.digest:
                output(
                    _Stream(
                        f"The image {name.familiar()} already exists, renaming the old one with ID {before} to empty string\n"
                    )
                )
        known = {diff: blob for diff, blob in blobs.items() if blob}
        image = await images.create(config, names=found.names, blobs=known, raw=data, manifest=manifest)
    finally:
        release()
    images.on_event("load", image.id, image.id)
    for name in found.names:
        output(_Stream(f"Loaded image: {name.familiar()}\n"))
    if not found.names:
        output(_Stream(f"Loaded image ID: {image.id}\n"))
    return image


async def _layer(images: Catalog, spool: Spool, diff_id: Digest, layer: Spooled, output: Output | None) -> str:
    """The blob that the layer is kept as; unpacked, if it wasn't here."""
    kept = images.packed(diff_id, layer.digest)
    if kept is not None:
        return kept
    line = Line(output, hex_of(diff_id)[:12]) if output else None
    if not images.layers.has(diff_id):

        def progress(count: int) -> None:
            if line:
                line.count("Loading layer", min(count, layer.size), layer.size)

        with spool.open(layer) as file:
            await images.layers.apply(file.fileno(), diff_id=diff_id, progress=progress)
    await blocking(images.content.adopt, spool.path(layer), layer.digest)
    return layer.digest


def _images_in(spool: Spool) -> list[_Found]:
    """Docker's list comes first: it is what docker itself reads when both are there."""
    if "manifest.json" in spool.files:
        return _docker_images(spool)
    if "index.json" in spool.files:
        return [
            found for descriptor in _root_index(spool).manifests for found in _oci_images(spool, descriptor, _DEPTH)
        ]
    raise InvalidArgument(
        "this is no image archive: it has neither manifest.json nor index.json (a file system's tar is for import)"
    )


def _docker_images(spool: Spool) -> list[_Found]:
    try:
        entries = msgspec.json.decode(spool.read(spool.find("manifest.json"), DOCUMENT_LIMIT), type=list[ArchivedImage])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"manifest.json can't be read: {error}") from error
    manifests = _manifests_by_config(spool)
    found = []
    for entry in entries:
        config = spool.find(entry.config)
        layers = [spool.find(name) for name in entry.layers]
        names = [parse_reference(name) for name in entry.repo_tags or []]
        if any(name.digest for name in names):
            raise InvalidArgument("manifest.json: an image can't be given a digest as its name")
        manifest, digests = manifests.get(config.digest, (b"", []))
        # Only the manifest of just these blobs is this image's.
        same = digests == [layer.digest for layer in layers]
        found.append(_Found(config, layers, names, manifest if same else b""))
    return found


def _manifests_by_config(spool: Spool) -> dict[Digest, tuple[bytes, list[Digest]]]:
    """Manifests of an OCI layout that stands beside docker's list. One that can't be read isn't needed."""
    found: dict[Digest, tuple[bytes, list[Digest]]] = {}
    if "index.json" not in spool.files:
        return found
    with contextlib.suppress(OnggiError):
        for entry in _root_index(spool).manifests:
            with contextlib.suppress(OnggiError):
                data, document = _document(spool, entry)
                if isinstance(document, Manifest):
                    found[document.config.digest] = (data, [layer.digest for layer in document.layers])
    return found


def _oci_images(spool: Spool, descriptor: Descriptor, depth: int) -> list[_Found]:
    """The image that `descriptor` leads to, on this platform when it is several."""
    data, document = _document(spool, descriptor)
    names = _names_of(descriptor)
    if isinstance(document, Index):
        entry = document.choose(host_platform())
        if entry is None or not depth:
            return []
        return [
            _Found(found.config, found.layers, names or found.names, found.manifest)
            for found in _oci_images(spool, entry, depth - 1)
        ]
    config = spool.blob(document.config)
    return [_Found(config, [spool.blob(layer) for layer in document.layers], names, data)]


def _names_of(descriptor: Descriptor) -> list[Reference]:
    annotations = descriptor.annotations or {}
    text = annotations.get(NAME_ANNOTATION) or annotations.get(TAG_ANNOTATION, "")
    # A tag alone (`latest`, as buildx and skopeo write it) names no repository.
    if not text or (NAME_ANNOTATION not in annotations and not {":", "/"} & set(text)):
        return []
    reference = parse_reference(text)
    return [] if reference.digest else [reference]


def _root_index(spool: Spool) -> Index:
    document = decode_manifest(spool.read(spool.find("index.json"), DOCUMENT_LIMIT))
    if not isinstance(document, Index):
        raise InvalidArgument("index.json is no index")
    return document


def _document(spool: Spool, descriptor: Descriptor) -> tuple[bytes, Manifest | Index]:
    data = spool.read(spool.blob(descriptor), DOCUMENT_LIMIT)
    return data, decode_manifest(data, descriptor.media_type)
