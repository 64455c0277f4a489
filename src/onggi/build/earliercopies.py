"""What a COPY took the last time it made a layer: files that are the same now are links to those, not copies.

Layers never change once they are made, and overlayfs copies a file before anybody writes to it, whatever its links: two layers may
share a file. Kept in memory: forgetting costs a copy.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from onggi.build.copyjob import InTree, Spooled
from onggi.build.entries import DIRECTORY, FILE
from onggi.oci.digest import Digest

_FILES_LIMIT: Final = 200_000


@dataclass(frozen=True, slots=True)
class EarlierCopy:
    """`digests` of the files that went into `layer`, by their paths in the source."""

    layer: Digest
    digests: dict[str, bytes] = field(default_factory=dict)


class EarlierCopies:
    """By the place of the step (explaining.place_of), those used last."""

    def __init__(self) -> None:
        self._copies: OrderedDict[str, EarlierCopy] = OrderedDict()
        self._files = 0

    def find(self, place: str) -> EarlierCopy | None:
        return self._copies.get(place)

    def put(self, place: str, layer: Digest, items: Sequence[Spooled | InTree]) -> None:
        """Only of the contents of one directory of a context: others are seldom many files."""
        if len(items) != 1 or not isinstance(item := items[0], Spooled) or item.entries[0].kind != DIRECTORY:
            return
        # A file with links or attributes of its own is more than its bytes, mode and time.
        digests = {
            each.path: each.digest
            for each in item.entries
            if each.kind == FILE and each.digest and not each.inode and not each.xattrs
        }
        self._drop(place)
        self._copies[place] = EarlierCopy(layer, digests)
        self._files += len(digests)
        while self._files > _FILES_LIMIT:
            self._drop(next(iter(self._copies)))

    def _drop(self, place: str) -> None:
        copy = self._copies.pop(place, None)
        self._files -= len(copy.digests) if copy else 0
