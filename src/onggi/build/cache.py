"""What earlier builds have found out: a step's key → when it was made, and the layer that it made.

Rows are small and all in memory. A layer that a row names is held (`Images.lease`), so that removing an image leaves it; `prune`
lets go. Row after layer: a crash between the two costs a step, nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from onggi.images import Images
from onggi.oci.digest import Digest
from onggi.store.database import Database, Delete, Put, Table
from onggi.store.layers import Layers

_ROWS_LIMIT: Final = 50_000
_TOUCH_S: Final = 3600
"""A row's last use is written down at most this often: a cached build then commits nothing."""


class CacheRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """`kind` is BuildKit's record type: regular, or source.local for a directory of the client."""

    created: str
    description: str
    made_ns: int
    used_ns: int
    diff_id: str = ""
    size: int = 0
    uses: int = 0
    kind: str = "regular"


class CacheRecord(msgspec.Struct, frozen=True):
    """A row as `system df` and `prune` name it."""

    key: str
    row: CacheRow
    shared: bool
    in_use: bool = False


TABLE: Final = Table("build_cache", CacheRow)


class BuildCache:
    """One for an engine."""

    def __init__(self, images: Images, layers: Layers, database: Database) -> None:
        self._images, self._layers, self._database = images, layers, database
        self._rows: dict[str, CacheRow] = {}
        self._held: dict[str, Callable[[], None]] = {}
        self._writes: set[asyncio.Future[None]] = set()

    def restore(self) -> None:
        """Reads the rows; those whose layer has gone are worth nothing."""
        self._rows = {
            key: row
            for key, row in self._database.load(TABLE).items()
            if not row.diff_id or self._layers.has(Digest(row.diff_id))
        }
        for row in self._rows.values():
            self._hold(row)

    def has(self, key: str) -> bool:
        """Whether `key` is known, and its layer is here."""
        row = self._rows.get(key)
        return row is not None and (not row.diff_id or self._layers.has(Digest(row.diff_id)))

    def find(self, key: str) -> CacheRow | None:
        """The row, which counts as used now; None when it isn't known."""
        if not self.has(key):
            return None
        row = self._rows[key]
        now = time.time_ns()
        touched = msgspec.structs.replace(row, used_ns=now, uses=row.uses + 1)
        self._rows[key] = touched
        if now - row.used_ns > _TOUCH_S * 1_000_000_000:
            self._write(Put(TABLE, key, touched))
        return row

    def add(self, key: str, created: str, description: str, diff_id: str, size: int, *, kind: str = "regular") -> None:
        """Holds: the layer is in the store. The row is durable when `settled` returns."""
        now = time.time_ns()
        row = CacheRow(created, description[:500], now, now, diff_id, size, kind=kind)
        self._rows[key] = row
        self._hold(row)
        self._write(Put(TABLE, key, row))
        if len(self._rows) > _ROWS_LIMIT:
            for old in sorted(self._rows, key=lambda each: self._rows[each].used_ns)[: _ROWS_LIMIT // 10]:
                self._forget(old)
                self._write(Delete(TABLE, old))

    async def settled(self) -> None:
        """All rows that were added are durable, or their commits have failed: the cache is then poorer, no more."""
        if self._writes:
            await asyncio.wait(set(self._writes))

    def records(self) -> list[CacheRecord]:
        needed = self._images.needed_layers()
        return [CacheRecord(key, row, row.diff_id in needed) for key, row in self._rows.items()]

    async def remove(self, keys: Sequence[str]) -> int:
        """Forgets steps, and removes layers that nobody else needs; bytes that are free then."""
        needed = self._images.needed_layers()
        freed = 0
        for key in keys:
            row = self._rows[key]
            self._forget(key)
            if row.diff_id and row.diff_id not in self._held and row.diff_id not in needed:
                freed += row.size
                if not self._images.is_leased(Digest(row.diff_id)):
                    await self._layers.remove(Digest(row.diff_id))
        if keys:
            await self._database.commit(*[Delete(TABLE, key) for key in keys])
        return freed

    def _hold(self, row: CacheRow) -> None:
        if row.diff_id and row.diff_id not in self._held:
            self._held[row.diff_id] = self._images.lease([Digest(row.diff_id)])

    def _forget(self, key: str) -> None:
        row = self._rows.pop(key)
        if row.diff_id and not any(other.diff_id == row.diff_id for other in self._rows.values()):
            self._held.pop(row.diff_id)()

    def _write(self, change: Put | Delete) -> None:
        future = self._database.submit(change)
        self._writes.add(future)
        future.add_done_callback(self._written)

    def _written(self, future: asyncio.Future[None]) -> None:
        self._writes.discard(future)
        if not future.cancelled():
            # Read, so that nobody complains: a full disk costs the next build time.
            future.exception()
