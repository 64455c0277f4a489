"""Manifests and indexes: what an image is made of, in docker's and OCI's words.

A document is kept as the bytes that came: its digest is over those. What is decoded here is for reading.
Source: image-spec 1.1 (manifest.md, image-index.md, descriptor.md), distribution's manifest v2 schema 2.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from onggi.errors import InvalidArgument
from onggi.oci import strictjson
from onggi.oci.digest import DigestField
from onggi.oci.platform import Platform, preference

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"

MANIFEST_TYPES: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEX_TYPES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
CONFIG_TYPES: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})

DOCUMENT_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of a manifest or index: what registries accept (distribution-spec, "Pushing Manifests")."""

_OLD_TYPES: Final = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
_NO_TYPE: Final = frozenset({"", "application/json", "application/octet-stream", "text/plain"})
"""Content types that say nothing: plain web servers send them. The document's own words decide then."""

_SHAPE_OF_MANIFEST: Final = frozenset({"config", "layers", "fsLayers", "blobs"})
_FIELDS: Final = frozenset(
    {
        "schemaVersion",
        "mediaType",
        "artifactType",
        "config",
        "layers",
        "manifests",
        "subject",
        "annotations",
        "fsLayers",
        "blobs",
    }
)
_LOWER_FIELDS: Final = {field.lower() for field in _FIELDS}

Size = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Points to a blob: what it is, its digest, its size in bytes."""

    media_type: str
    digest: DigestField
    size: Size
    urls: list[str] = []
    annotations: dict[str, str] | None = None
    platform: Platform | None = None
    artifact_type: str = ""
    data: str = ""


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One image for one platform, or an artifact. `media_type` is never empty after `decode_manifest`."""

    schema_version: int
    config: Descriptor
    layers: list[Descriptor]
    media_type: str = ""
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


class Index(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Several manifests under one name; docker's "manifest list"."""

    schema_version: int
    manifests: list[Descriptor]
    media_type: str = ""
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None

    def choose(self, wanted: Platform) -> Descriptor | None:
        """The manifest that serves `wanted` best; the earlier of two that serve alike.

        An entry without a platform is taken when nothing matches and it is the only one. Attestations say platform
        unknown/unknown and match nothing.
        """
        best: tuple[int, Descriptor] | None = None
        for entry in self.manifests:
            if entry.platform is None:
                continue
            rank = preference(wanted, entry.platform)
            if rank is not None and (best is None or rank < best[0]):
                best = (rank, entry)
        if best:
            return best[1]
        return self.manifests[0] if len(self.manifests) == 1 and self.manifests[0].platform is None else None


_FIELDS_DECODER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MANIFEST_DECODER: Final = msgspec.json.Decoder(Manifest)
_INDEX_DECODER: Final = msgspec.json.Decoder(Index)


def decode_manifest(data: bytes, content_type: str = "") -> Manifest | Index:
    """`data` as what it is. Raises InvalidArgument when header, `mediaType` and shape don't agree.

    One document that is a manifest to one reader and an index to another makes two different images of one digest
    (CVE-2021-41190), so whatever can be read both ways is refused, and so are field names in another case, which Go's
    decoder would take for the field and ours would not see.
    """
    if len(data) > DOCUMENT_LIMIT:
        raise InvalidArgument(f"manifest is larger than {DOCUMENT_LIMIT} bytes")
    content_type = content_type.partition(";")[0].strip().lower()
    try:
        fields = _FIELDS_DECODER.decode(data)
        strictjson.check(data, "manifest")
        media_type = _type_of(fields, "" if content_type in _NO_TYPE else content_type)
        decoder = _INDEX_DECODER if media_type in INDEX_TYPES else _MANIFEST_DECODER
        document = decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"manifest invalid: {error}") from error
    if document.schema_version != 2:
        raise InvalidArgument(f"manifest invalid: schemaVersion is {document.schema_version}, not 2")
    return msgspec.structs.replace(document, media_type=media_type)


def _type_of(fields: dict[str, msgspec.Raw], header: str) -> str:
    """The one media type that header, `mediaType` and the fields present agree on."""
    for name in fields:
        if name not in _FIELDS and name.lower() in _LOWER_FIELDS:
            raise InvalidArgument(f"manifest invalid: field {name!r} is spelled in another case")
    stated = msgspec.json.decode(fields["mediaType"], type=str) if "mediaType" in fields else ""
    if header in _OLD_TYPES or stated in _OLD_TYPES or "fsLayers" in fields:
        raise InvalidArgument(
            "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed: "
            "push the image again with a newer client"
        )
    is_index = "manifests" in fields
    if is_index and _SHAPE_OF_MANIFEST & fields.keys():
        raise InvalidArgument("manifest invalid: has both the fields of an index and those of a manifest")
    if header and stated and header != stated:
        raise InvalidArgument(f"manifest invalid: mediaType is {stated!r} but it was served as {header!r}")
    media_type = stated or header or (OCI_INDEX if is_index else OCI_MANIFEST)
    if media_type not in MANIFEST_TYPES | INDEX_TYPES:
        raise InvalidArgument(f"manifest invalid: unknown mediaType {media_type!r}")
    if is_index != (media_type in INDEX_TYPES):
        raise InvalidArgument(f"manifest invalid: mediaType {media_type!r} doesn't fit the fields")
    return media_type


def encode_document(document: Manifest | Index) -> bytes:
    """The bytes to store and to take the digest of; the same document gives the same bytes."""
    return msgspec.json.encode(document)
