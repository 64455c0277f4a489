"""Results as image archives: OCI's layout, and docker's, which has the same blobs and a manifest.json."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from onggi.build.exporters.annotations import Annotations
from onggi.build.exporters.attestations import Attested, Predicate, attested
from onggi.build.exporters.compressing import Packing, layer_as
from onggi.build.request import Built
from onggi.images import archives
from onggi.images.packing import PackedLayer, layer_type
from onggi.images.save import blob_pieces, end_of_archive, file_piece
from onggi.images.sidebyside import side_by_side
from onggi.oci.digest import sha256_of
from onggi.oci.image import encode_image_config
from onggi.oci.manifest import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    encode_document,
)
from onggi.oci.reference import Reference
from onggi.store.blocking import blocking
from onggi.store.compression import Compression

if TYPE_CHECKING:
    from onggi.images import Images


@dataclass(frozen=True, slots=True)
class PackedImage:
    """A manifest, whose blobs are in the engine's store, and its bytes."""

    built: Built
    manifest: Manifest
    data: bytes
    described: Mapping[str, str]
    """Annotations of its descriptor."""

    @property
    def descriptor(self) -> Descriptor:
        """With its platform, as an index has it."""
        return Descriptor(
            self.manifest.media_type,
            sha256_of(self.data),
            len(self.data),
            annotations=dict(self.described) or None,
            platform=self.built.platform,
        )


async def packed(
    images: Images, built: Built, *, is_oci: bool, annotations: Annotations, packing: Packing
) -> PackedImage:
    """One result as an image. Cancelled: blobs that are made already stay a while."""
    config = await blocking(images.content.put, encode_image_config(built.config))
    layers = await side_by_side(layer_as(images, layer, packing) for layer in built.layers)
    # docker's media types have none for zstd, and no annotations.
    is_oci = is_oci or any(layer.compression is Compression.ZSTD for layer in layers) or bool(annotations)
    manifest = Manifest(
        2,
        Descriptor(OCI_CONFIG if is_oci else DOCKER_CONFIG, config, images.content.size(config)),
        [_descriptor(layer, is_oci=is_oci) for layer in layers],
        OCI_MANIFEST if is_oci else DOCKER_MANIFEST,
        annotations=annotations.of("manifest", built.platform) or None,
    )
    return PackedImage(
        built, manifest, encode_document(manifest), annotations.of("manifest-descriptor", built.platform)
    )


def _descriptor(layer: PackedLayer, *, is_oci: bool) -> Descriptor:
    return Descriptor(layer_type(layer.compression, is_oci=is_oci), layer.digest, layer.size)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What goes out together: an image, or images of several platforms and what is said of them under one index.

    `top` is what a name leads to; `index` its bytes when it is one, else empty.
    """

    packs: tuple[PackedImage, ...]
    attested: tuple[Attested, ...]
    top: Descriptor
    index: bytes

    @property
    def blobs(self) -> list[Descriptor]:
        """All of them once: configs, layers, statements."""
        found = [blob for pack in self.packs for blob in (pack.manifest.config, *pack.manifest.layers)]
        found += [blob for each in self.attested for blob in each.blobs]
        return list({blob.digest: blob for blob in found}.values())

    @property
    def manifests(self) -> list[tuple[Descriptor, bytes]]:
        """Those below the index, or the one alone."""
        return [(pack.descriptor, pack.data) for pack in self.packs] + [
            (each.descriptor, each.data) for each in self.attested
        ]


async def bundled(
    images: Images,
    packs: Sequence[PackedImage],
    names: Sequence[Reference],
    said: Callable[[Built], Awaitable[Sequence[Predicate]]],
    annotations: Annotations,
) -> Bundle:
    """`said` gives what is attached to a result. Cancelled: blobs that are made already stay a while."""
    attested_ones = [
        await attested(images, pack.descriptor, pack.built.platform, names, predicates)
        for pack in packs
        if (predicates := await said(pack.built))
    ]
    if len(packs) == 1 and not attested_ones and not annotations.need_index:
        return Bundle(tuple(packs), (), msgspec.structs.replace(packs[0].descriptor, platform=None), b"")
    entries = [pack.descriptor for pack in packs] + [each.descriptor for each in attested_ones]
    data = encode_document(Index(2, entries, OCI_INDEX, annotations=annotations.of("index") or None))
    described = annotations.of("index-descriptor") or None
    top = Descriptor(OCI_INDEX, sha256_of(data), len(data), annotations=described)
    return Bundle(tuple(packs), tuple(attested_ones), top, data)


async def archive(
    images: Images, bundle: Bundle, names: Sequence[Reference], *, is_docker: bool
) -> AsyncIterator[bytes]:
    """The tar. docker's manifest.json is for one image."""
    for blob in bundle.blobs:
        async for piece in blob_pieces(images, blob.digest):
            yield piece
    for descriptor, data in bundle.manifests:
        yield file_piece(archives.blob_name(descriptor.digest), data)
    if bundle.index:
        yield file_piece(archives.blob_name(bundle.top.digest), bundle.index)
    yield file_piece("index.json", archives.oci_index([(bundle.top, names)]))
    if is_docker:
        yield file_piece("manifest.json", archives.docker_manifest([(bundle.packs[0].manifest, names)]))
    yield file_piece("oci-layout", archives.LAYOUT)
    yield end_of_archive()
