"""What a registry has under a name, for `docker manifest inspect` and its like."""

from __future__ import annotations

from typing import Any

import msgspec

from onggi.images.connection import RegistryClient
from onggi.images.remote import fetch_config, fetch_document
from onggi.oci.manifest import CONFIG_TYPES, Index
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference


class Found(msgspec.Struct, frozen=True, rename="pascal"):
    """moby's DistributionInspect. The descriptor is OCI's, so its fields keep their own names."""

    descriptor: dict[str, Any]
    platforms: list[Platform]


async def look_up(client: RegistryClient, reference: Reference) -> Found:
    """Raises NotFound, Unauthorized, InvalidArgument."""
    document = await fetch_document(client, reference)
    descriptor: dict[str, Any] = {
        "mediaType": document.value.media_type,
        "digest": document.digest,
        "size": len(document.data),
    }
    if isinstance(document.value, Index):
        return Found(descriptor, [entry.platform for entry in document.value.manifests if entry.platform])
    if document.value.config.media_type not in CONFIG_TYPES:
        return Found(descriptor, [])
    _, config = await fetch_config(client, reference, document.value)
    return Found(descriptor, [Platform(config.architecture, config.os, variant=config.variant)])
