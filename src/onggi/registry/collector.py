"""What no manifest names any more is deleted, while pushes go on."""

from __future__ import annotations

from typing import Final

from onggi.errors import OnggiError
from onggi.oci.digest import Digest
from onggi.oci.manifest import Manifest, decode_manifest
from onggi.registry.repositories import Repositories
from onggi.registry.uploads import Uploads

DAY_S: Final = 86400.0


def collect(repositories: Repositories, uploads: Uploads, *, grace_s: float = DAY_S) -> tuple[list[Digest], int]:
    """Deleted blobs, and the number of uploads that were given up. Blocks.

    A blob that was uploaded, mounted, asked for by HEAD or named by a manifest within `grace_s` stays, so that a push that
    has begun finds what it counts on (R-35). A manifest that can't be read ends the collection: it may name anything.
    """
    keep: set[Digest] = set()
    for name in repositories.names():
        for digest in repositories.manifests(name):
            keep.add(digest)
            try:
                document = decode_manifest(repositories.content.read(digest))
            except OnggiError as error:
                raise type(error)(f"{name}@{digest} can't be read, nothing is collected: {error}") from error
            if isinstance(document, Manifest):
                keep.update(blob.digest for blob in (document.config, *document.layers))
    return repositories.collect(keep, grace_s), uploads.purge(max(grace_s, DAY_S))
