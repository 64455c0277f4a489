"""Where blobs are known to be: repositories that a push may mount them from instead of sending them."""

from __future__ import annotations

from typing import Final

import msgspec

from onggi.oci.digest import Digest
from onggi.oci.reference import Reference
from onggi.store.database import Database, Put, Table

_KEPT: Final = 8


class SourceRow(msgspec.Struct, frozen=True):
    """`repositories` are domain/path, the latest first."""

    repositories: list[str]


SOURCES: Final = Table("blob_sources", SourceRow)


class Sources:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: dict[str, SourceRow] = {}

    def restore(self) -> None:
        self._rows = self._database.load(SOURCES)

    async def add(self, reference: Reference, blobs: list[Digest]) -> None:
        """The repository has these blobs. A hint: what isn't true any more costs a question."""
        changes = []
        for blob in blobs:
            known = self._rows.get(blob, SourceRow([])).repositories
            if reference.name not in known:
                row = SourceRow([reference.name, *known][:_KEPT])
                self._rows[blob] = row
                changes.append(Put(SOURCES, blob, row))
        if changes:
            await self._database.commit(*changes)

    def elsewhere(self, reference: Reference, blob: Digest) -> list[str]:
        """Paths of other repositories at the same registry."""
        prefix = f"{reference.domain}/"
        names = self._rows.get(blob, SourceRow([])).repositories
        return [name.removeprefix(prefix) for name in names if name.startswith(prefix) and name != reference.name]
