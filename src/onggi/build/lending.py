"""Steps that others have made: which key made which layer, as a document beside the layers' blobs. Pure.

A cache is an image whose config is this document (or an image's own config with the same in it): BuildKit's media type, so that
registries know it, and our field, because keys of steps are a builder's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from onggi.oci.digest import Digest, DigestField
from onggi.oci.manifest import Descriptor

CONFIG_TYPE: Final = "application/vnd.buildkit.cacheconfig.v0"
FIELD: Final = "onggi.build.cache.v1"
DOCUMENT_LIMIT: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Lent:
    """What a step made, and when."""

    layer: Digest
    created: str


class Lender(Protocol):
    """A cache from elsewhere."""

    async def lend(self, key: str) -> Lent | None:
        """What the step of this key made; its layer is in the store then. None: not known, or its bytes can't be had."""


class LentStep(msgspec.Struct, frozen=True):
    """One step in the document."""

    key: str
    diff_id: DigestField
    created: str
    blob: Descriptor


class _Steps(msgspec.Struct, frozen=True):
    steps: list[LentStep] = []


class CacheConfig(msgspec.Struct, frozen=True):
    """`layers` and `records` are BuildKit's, empty: to it this is a cache that knows nothing."""

    ours: _Steps = msgspec.field(name=FIELD, default=_Steps())
    layers: list[dict[str, str]] = []
    records: list[dict[str, str]] = []


def encoded(steps: Mapping[str, Lent], blobs: Mapping[Digest, Descriptor]) -> bytes:
    """The document of the steps whose layers have blobs, in the order of their keys: the same steps give the same bytes."""
    found = [
        LentStep(key, lent.layer, lent.created, blobs[lent.layer])
        for key, lent in sorted(steps.items())
        if lent.layer in blobs
    ]
    return msgspec.json.encode(CacheConfig(_Steps(found)))


def decoded(data: bytes) -> Sequence[LentStep]:
    """Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=CacheConfig).ours.steps
