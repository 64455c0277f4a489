"""What is written in an image archive: docker's manifest.json and OCI's layout. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from onggi.oci.digest import Digest, hex_of
from onggi.oci.manifest import OCI_INDEX, Descriptor, Manifest
from onggi.oci.reference import Reference

LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
NAME_ANNOTATION: Final = "io.containerd.image.name"
TAG_ANNOTATION: Final = "org.opencontainers.image.ref.name"


class ArchivedImage(msgspec.Struct, rename="pascal"):
    """An entry of manifest.json; paths are names in the archive."""

    config: str
    repo_tags: list[str] | None = None
    layers: list[str] = []


def blob_name(digest: Digest) -> str:
    return f"blobs/{digest[: digest.index(':')]}/{hex_of(digest)}"


def docker_manifest(entries: Sequence[tuple[Manifest, Sequence[Reference]]]) -> bytes:
    """manifest.json"""
    return msgspec.json.encode(
        [
            ArchivedImage(
                blob_name(manifest.config.digest),
                [name.familiar() for name in names] or None,
                [blob_name(layer.digest) for layer in manifest.layers],
            )
            for manifest, names in entries
        ]
    )


def repositories(entries: Sequence[tuple[Manifest, Sequence[Reference]]]) -> bytes:
    """What docker before 1.10 reads: repository → tag → topmost layer."""
    found: dict[str, dict[str, str]] = {}
    for manifest, names in entries:
        for name in names:
            if name.tag and manifest.layers:
                found.setdefault(name.familiar_name, {})[name.tag] = hex_of(manifest.layers[-1].digest)
    return msgspec.json.encode(found)


def oci_index(entries: Sequence[tuple[Descriptor, Sequence[Reference]]]) -> bytes:
    """index.json: a manifest once for each of its names."""
    manifests = []
    for descriptor, names in entries:
        for name in names:
            annotations = {**(descriptor.annotations or {}), NAME_ANNOTATION: str(name)}
            annotations |= {TAG_ANNOTATION: name.tag} if name.tag else {}
            manifests.append(msgspec.structs.replace(descriptor, annotations=annotations))
        if not names:
            manifests.append(descriptor)
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})
