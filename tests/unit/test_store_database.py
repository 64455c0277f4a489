"""The database: durable commits, shared ones, rows that can't be read, formats of other releases."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import msgspec
import pytest

from onggi.errors import Corrupt
from onggi.store.database import Database, Delete, Put, Table


class Note(msgspec.Struct):
    text: str
    count: int = 0


class OlderNote(msgspec.Struct):
    text: str


NOTES = Table("notes", Note)


def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    async def run() -> None:
        database = Database.open(tmp_path / "state.db")
        await database.commit(Put(NOTES, "a", Note("one", 1)), Put(NOTES, "b", Note("two")))
        await database.commit(Delete(NOTES, "b"), Put(NOTES, "a", Note("three", 3)))
        await database.close()
        again = Database.open(tmp_path / "state.db")
        assert again.load(NOTES) == {"a": Note("three", 3)}
        await again.close()

    asyncio.run(run())


@pytest.mark.row("L-03")
def test_commits_that_wait_together_share_a_transaction(tmp_path: Path) -> None:
    async def run() -> None:
        database = Database.open(tmp_path / "state.db")
        database.load(NOTES)
        await asyncio.gather(*(database.commit(Put(NOTES, str(n), Note("x"))) for n in range(200)))
        assert database.commits < 50
        await database.close()

    asyncio.run(run())


def test_a_cancelled_commit_leaves_its_changes_together(tmp_path: Path) -> None:
    async def run() -> None:
        database = Database.open(tmp_path / "state.db")
        future = database.submit(Put(NOTES, "a", Note("x")), Put(NOTES, "b", Note("y")))
        future.cancel()
        await database.commit(Put(NOTES, "c", Note("z")))
        assert database.load(NOTES).keys() == {"a", "b", "c"}
        await database.close()

    asyncio.run(run())


def test_one_bad_row_does_not_hide_the_others(tmp_path: Path) -> None:
    async def run() -> None:
        database = Database.open(tmp_path / "state.db")
        await database.commit(Put(NOTES, "good", Note("x")), Put(NOTES, "bad", Note("y")))
        await database.close()
        with sqlite3.connect(tmp_path / "state.db") as raw:
            raw.execute("UPDATE notes SET value = '{\"text\": 1}' WHERE key = 'bad'")
        raw.close()
        again = Database.open(tmp_path / "state.db")
        assert again.load(NOTES) == {"good": Note("x")}
        assert [row.key for row in again.broken_rows] == ["bad"]
        await again.close()

    asyncio.run(run())


@pytest.mark.row("R-09")
def test_the_previous_release_reads_documents_with_newer_fields(tmp_path: Path) -> None:
    async def run() -> None:
        database = Database.open(tmp_path / "state.db")
        await database.commit(Put(NOTES, "a", Note("x", 5)))
        assert database.load(Table("notes", OlderNote)) == {"a": OlderNote("x")}
        await database.close()

    asyncio.run(run())


@pytest.mark.row("R-09")
def test_a_migration_runs_once_and_leaves_a_copy_of_what_was(tmp_path: Path) -> None:
    def rename(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE notes RENAME TO remarks")

    async def run() -> None:
        database = Database.open(tmp_path / "state.db")
        await database.commit(Put(NOTES, "a", Note("x")))
        await database.close()
        for _ in range(2):
            again = Database.open(tmp_path / "state.db", migrations=[rename])
            assert again.load(Table("remarks", Note)) == {"a": Note("x")}
            await again.close()
        assert (tmp_path / "state.db.v0").exists()
        with pytest.raises(Corrupt, match="newer release"):
            Database.open(tmp_path / "state.db")

    asyncio.run(run())


@pytest.mark.row("R-09")
def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    def half(connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE notes")
        raise RuntimeError("no")

    async def run() -> None:
        database = Database.open(tmp_path / "state.db")
        await database.commit(Put(NOTES, "a", Note("x")))
        await database.close()
        with pytest.raises(RuntimeError):
            Database.open(tmp_path / "state.db", migrations=[half])
        again = Database.open(tmp_path / "state.db")
        assert again.load(NOTES) == {"a": Note("x")}
        await again.close()

    asyncio.run(run())


@pytest.mark.row("K-22")
def test_a_damaged_or_missing_file_is_never_an_empty_start(tmp_path: Path) -> None:
    path = tmp_path / "state.db"

    async def run() -> None:
        for _ in range(2):  # the second start makes the copy
            database = Database.open(path)
            await database.commit(*(Put(NOTES, str(n), Note("x" * 2000)) for n in range(50)))
            await database.close()

    asyncio.run(run())
    whole = path.read_bytes()
    for offset in (0, 100, 4096 * 3 + 1):
        path.write_bytes(whole[:offset] + os.urandom(64) + whole[offset + 64 :])
        with pytest.raises(Corrupt, match=r"is damaged.*a copy .* is .*\.backup"):
            Database.open(path)
    path.unlink()
    with pytest.raises(Corrupt, match=r"is gone.*a copy"):
        Database.open(path, create=False)
