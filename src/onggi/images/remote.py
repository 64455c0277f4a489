"""What stands under a name in a registry: the manifest, its variant for a platform, the config. Checked, not stored."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from onggi.errors import Corrupt, Forbidden, InvalidArgument, NotFound, Unauthorized
from onggi.images.connection import RegistryClient
from onggi.images.downloads import pull_scope
from onggi.images.guard import LedAstray
from onggi.oci.digest import Digest, algorithm_of, digest_by, is_digest, sha256_of
from onggi.oci.image import CONFIG_LIMIT, ImageConfig, decode_image_config
from onggi.oci.manifest import (
    CONFIG_TYPES,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    DOCUMENT_LIMIT,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    decode_manifest,
)
from onggi.oci.platform import Platform, host_platform
from onggi.oci.reference import Reference

ACCEPTED: Final = f"{DOCKER_MANIFEST}, {DOCKER_INDEX}, {OCI_INDEX}, {OCI_MANIFEST}"


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index with the bytes whose digest it has."""

    digest: Digest
    data: bytes
    value: Manifest | Index

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.value.media_type, self.digest, len(self.data))


Kept = Callable[[Digest], Document | None]
"""A document that is here already."""


async def fetch_document(client: RegistryClient, reference: Reference, target: str = "") -> Document:
    """Under the reference's tag or digest, or under `target`. Raises NotFound in docker's words, Corrupt, InvalidArgument."""
    wanted = target or reference.digest or reference.tag or ""
    path = f"/v2/{reference.path}/manifests/{wanted}"
    try:
        data, headers = await client.fetch(path, pull_scope(reference.path), DOCUMENT_LIMIT, accept=ACCEPTED)
    except NotFound as error:
        raise NotFound(f"manifest for {reference.familiar()} not found: {error}") from error
    except LedAstray:
        raise
    except (Unauthorized, Forbidden) as error:
        raise denied(reference, error) from error
    claimed = wanted if is_digest(wanted) else headers.get("Docker-Content-Digest", "")
    digest = digest_by(algorithm_of(Digest(claimed)), data) if is_digest(claimed) else sha256_of(data)
    if claimed and claimed != digest:
        raise Corrupt(f"manifest verification failed for digest {claimed}: the bytes have {digest}")
    return Document(digest, data, decode_manifest(data, headers.get("Content-Type", "")))


async def newest_digest(client: RegistryClient, reference: Reference) -> str:
    """What the tag leads to now, "" when the registry doesn't say. A HEAD isn't counted by registries that limit pulls."""
    path = f"/v2/{reference.path}/manifests/{reference.tag}"
    _, headers = await client.fetch(path, pull_scope(reference.path), 0, accept=ACCEPTED, method="HEAD")
    return headers.get("Docker-Content-Digest", "")


async def choose_manifest(
    client: RegistryClient,
    reference: Reference,
    document: Document,
    platform: Platform | None,
    kept: Kept = lambda _: None,
) -> Document:
    """The one of `document` that runs here, or on `platform`; not asked for if it is `kept`. Raises NotFound in docker's words."""
    if isinstance(document.value, Manifest):
        return document
    wanted = platform or host_platform()
    entry = document.value.choose(wanted)
    if entry is None:
        raise NotFound(f"no matching manifest for {wanted} in the manifest list entries")
    child = kept(entry.digest) or await fetch_document(client, reference, entry.digest)
    if isinstance(child.value, Index):
        raise InvalidArgument("manifest invalid: an index within an index")
    if entry.size != len(child.data) or (entry.media_type != child.value.media_type):
        raise Corrupt(f"manifest {entry.digest} isn't what the index says it is")
    return child


async def fetch_config(client: RegistryClient, reference: Reference, manifest: Manifest) -> tuple[bytes, ImageConfig]:
    """Raises InvalidArgument when it is no image, Corrupt when bytes and digest differ."""
    blob = manifest.config
    if blob.media_type not in CONFIG_TYPES:
        raise InvalidArgument(
            f"{reference.familiar()} is no image but an artifact of type {manifest.artifact_type or blob.media_type}"
        )
    data = await fetch_small(client, reference, blob, CONFIG_LIMIT)
    config = decode_image_config(data)
    if len(config.rootfs.diff_ids) != len(manifest.layers):
        raise Corrupt(
            f"layers from manifest don't match image configuration: {len(manifest.layers)} layers, "
            f"{len(config.rootfs.diff_ids)} diff ids"
        )
    return data, config


async def fetch_small(client: RegistryClient, reference: Reference, blob: Descriptor, limit: int) -> bytes:
    """A blob of at most `limit` bytes. Raises InvalidArgument when it has more, Corrupt when bytes and digest differ."""
    if blob.size > limit:
        raise InvalidArgument(f"image config is larger than {limit} bytes")
    data = inline_data(blob)
    if data is None:
        path = f"/v2/{reference.path}/blobs/{blob.digest}"
        data, _ = await client.fetch(path, pull_scope(reference.path), blob.size)
    if len(data) != blob.size or digest_by(algorithm_of(blob.digest), data) != blob.digest:
        raise Corrupt(f"image config verification failed for digest {blob.digest}")
    return data


def inline_data(blob: Descriptor) -> bytes | None:
    """What a descriptor carries itself; the digest is checked like any blob's."""
    if not blob.data:
        return None
    try:
        return base64.b64decode(blob.data, validate=True)
    except binascii.Error:
        raise InvalidArgument(f"descriptor of {blob.digest} has damaged data") from None


def denied(reference: Reference, error: Exception) -> NotFound:
    """A repository that isn't there and one that is hidden look alike, and docker answers 404."""
    return NotFound(
        f"pull access denied for {reference.familiar_name}, repository does not exist or may require 'docker login': {error}"
    )
