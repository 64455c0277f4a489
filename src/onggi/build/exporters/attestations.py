"""What is attached to an image: statements about it, as a manifest of their own beside it in one index.

Source: moby buildkit docs/attestations/attestation-storage.md; in-toto attestation framework v0.1 (Statement).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from onggi.oci.digest import Digest, hex_of, sha256_of
from onggi.oci.manifest import OCI_CONFIG, OCI_MANIFEST, Descriptor, Manifest, encode_document
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.store.blocking import blocking

if TYPE_CHECKING:
    from onggi.images import Images

STATEMENT_TYPE: Final = "application/vnd.in-toto+json"
PREDICATE_ANNOTATION: Final = "in-toto.io/predicate-type"
_NOWHERE: Final = Platform("unknown", "unknown")


@dataclass(frozen=True, slots=True)
class Predicate:
    """Something that is said of an image: `type` is a URL, `document` its value."""

    type: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Attested:
    """A manifest of statements: its bytes, and how an index names it. Its blobs are in the store."""

    data: bytes
    descriptor: Descriptor
    blobs: tuple[Descriptor, ...]


def statement(predicate: Predicate, subject: Digest, names: Sequence[Reference], platform: Platform) -> bytes:
    """About the image whose manifest is `subject`, under each of its names."""
    digest = {"sha256": hex_of(subject)}
    known = [{"name": package_url(name, platform), "digest": digest} for name in names]
    document = {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": predicate.type,
        "subject": known or [{"name": "_", "digest": digest}],
        "predicate": predicate.document,
    }
    return msgspec.json.encode(document)


def package_url(name: Reference, platform: Platform) -> str:
    """`pkg:docker/team/app@1?platform=linux%2Famd64` (package-url/purl-spec, type docker)."""
    path = name.familiar_name
    return f"pkg:docker/{path}@{name.tag or 'latest'}?platform={quote(str(platform), safe='')}"


async def attested(
    images: Images, subject: Descriptor, platform: Platform, names: Sequence[Reference], predicates: Sequence[Predicate]
) -> Attested:
    """All statements about one image."""
    layers = []
    for predicate in predicates:
        data = statement(predicate, subject.digest, names, platform)
        digest = await blocking(images.content.put, data)
        layers.append(Descriptor(STATEMENT_TYPE, digest, len(data), annotations={PREDICATE_ANNOTATION: predicate.type}))
    config = msgspec.json.encode(
        {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }
    )
    head = Descriptor(OCI_CONFIG, await blocking(images.content.put, config), len(config))
    data = encode_document(Manifest(2, head, layers, OCI_MANIFEST))
    annotations = {
        "vnd.docker.reference.digest": subject.digest,
        "vnd.docker.reference.type": "attestation-manifest",
    }
    descriptor = Descriptor(OCI_MANIFEST, sha256_of(data), len(data), annotations=annotations, platform=_NOWHERE)
    return Attested(data, descriptor, (head, *layers))
