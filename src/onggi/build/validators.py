"""What servers said of files that builds have fetched: the next build asks whether a file has changed, and gets its body only then.

Bodies aren't kept: the layers that were made of them are, by content.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Final

import msgspec

from onggi.store.database import Database, Delete, Put, Table

_ROWS_LIMIT: Final = 2000


class UrlRow(msgspec.Struct, frozen=True):
    """`etag` and `modified` are the headers as they came; one of them is there. `digest` is sha256 in hexadecimal."""

    etag: str
    modified: str
    digest: str
    size: int
    mtime_ns: int
    used_ns: int

    @property
    def conditions(self) -> dict[str, str]:
        """Headers of a GET that wants a body only when it is another (RFC 9110, 13.1: the tag counts before the time)."""
        return {"If-None-Match": self.etag} if self.etag else {"If-Modified-Since": self.modified}


TABLE: Final = Table("build_urls", UrlRow)


class Validators:
    """One for an engine."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: dict[str, UrlRow] = {}

    def restore(self) -> None:
        self._rows = self._database.load(TABLE)

    def find(self, url: str) -> UrlRow | None:
        return self._rows.get(_key(url))

    def add(self, url: str, headers: Mapping[str, str], digest: str, size: int, mtime_ns: int) -> None:
        """Of a body that came whole. Without a tag or a time of the server's nothing is kept."""
        etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
        if not (etag or modified):
            return
        row = UrlRow(etag, modified, digest, size, mtime_ns, time.time_ns())
        self._rows[_key(url)] = row
        self._write(Put(TABLE, _key(url), row))
        if len(self._rows) > _ROWS_LIMIT:
            oldest = min(self._rows, key=lambda each: self._rows[each].used_ns)
            del self._rows[oldest]
            self._write(Delete(TABLE, oldest))

    def _write(self, change: Put | Delete) -> None:
        # A full disk costs the next build a download, no more.
        self._database.submit(change).add_done_callback(lambda done: done.exception())


def _key(url: str) -> str:
    """An address may have a password in it."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
