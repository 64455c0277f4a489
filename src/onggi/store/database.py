"""What the engine was told and what it promised, in one SQLite file.

Tables of documents: key → JSON of a msgspec Struct. Everybody reads memory; the file is read at start only, so there are no
queries, no indexes and no joins here. What is hard is done once: a commit is durable when it returns (WAL with
synchronous=FULL: one fdatasync, about 0.8 ms), and all who wait in the same moment share it.

One thread owns the connection. The event loop hands it changes that are already encoded, and it answers through
call_soon_threadsafe; while it waits for the disk the loop goes on (list and inspect don't notice a slow fsync).

A document may gain fields (with defaults) and lose them without a migration: unknown ones are ignored, so that the previous
release reads what this one wrote. Anything else is an entry in `migrations`, in one transaction with `user_version`, after a
copy of the file was put beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future as ThreadFuture
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from onggi.errors import Corrupt, NoSpace, OnggiError, Unavailable
from onggi.kernel.faults import point
from onggi.store import databasefile, durable
from onggi.store.databasefile import Migration

log = logging.getLogger(__name__)

T = TypeVar("T", bound=msgspec.Struct)

RESERVE_BYTES: Final = 16 * 1024 * 1024
"""Kept in a file of zeros, given up when the disk is full and something is to be deleted: removal needs a few pages of WAL
before it frees anything."""

_BACKUP_AGE_S: Final = 24 * 3600

_ENCODER: Final = msgspec.json.Encoder()


class Table(Generic[T]):
    """A table's name and what its documents are. Make one for each table, at module level."""

    def __init__(self, name: str, struct: type[T]) -> None:
        if not name.isidentifier():
            raise ValueError(f"table name {name!r}")
        self.name = name
        self.struct = struct
        self.decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(struct)

    def __repr__(self) -> str:
        return f"Table({self.name})"


@dataclass(frozen=True, slots=True)
class Put:
    """`value` under `key`, whether it was there or not. It is encoded when it is handed to `commit`."""

    table: Table[Any]
    key: str
    value: msgspec.Struct


@dataclass(frozen=True, slots=True)
class Delete:
    """Nothing under `key`, whether it was there or not."""

    table: Table[Any]
    key: str


Change = Put | Delete


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row that could not be decoded: it stays in the file, the rest is served."""

    table: str
    key: str
    reason: str


@dataclass(slots=True)
class _Commit:
    """Changes of one caller, encoded: None deletes. `future` belongs to `loop`."""

    rows: list[tuple[str, str, bytes | None]]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]

    @property
    def only_deletes(self) -> bool:
        return all(value is None for _, _, value in self.rows)


@dataclass(slots=True)
class _Call:
    """Something else for the writer thread."""

    function: Callable[[], object]
    done: ThreadFuture[object]


class Database:
    """See the module. `open` once, `load` each table at start, then `commit`.

    Holds: the data root's lock (locks.py). SQLite's own locks are POSIX ones, lost when any other descriptor of the file is
    closed in this process: nobody else opens the file.
    """

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self.path = path
        self.broken_rows: list[BrokenRow] = []
        self.commits = 0
        """Transactions so far, each with one fsync."""
        self._connection = connection
        self._tables: set[str] = set()
        self._queue: SimpleQueue[_Commit | _Call | None] = SimpleQueue()
        self._reserve = path + ".reserve"
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="database", daemon=True)

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, migrations: Sequence[Migration] = (), create: bool = True
    ) -> Database:
        """Opens or makes the file. Blocks: called before the loop runs.

        With `create=False` a missing file is an error: whoever has seen it before must not begin anew in silence.
        Raises Corrupt when the file is missing, damaged, or of a newer release; it says where the last copy is.
        """
        path = os.fspath(path)
        existed = os.path.exists(path)
        if not existed and not create:
            raise Corrupt(f"{path} is gone{databasefile.copy_hint(path)}")
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
        try:
            databasefile.prepare(connection, path, migrations)
        except sqlite3.DatabaseError as error:
            connection.close()
            raise Corrupt(f"{path} is damaged: {error}{databasefile.copy_hint(path)}") from error
        except BaseException:
            connection.close()
            raise
        os.chmod(path, 0o600)
        if not existed:
            durable.sync_directory_path(os.path.dirname(path) or ".")
        database = cls(path, connection)
        database._tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        with contextlib.suppress(OSError):
            database._keep_reserve()
        database._thread.start()
        if existed and databasefile.age_s(path + ".backup") > _BACKUP_AGE_S:
            database._call(database._back_up)
        return database

    def load(self, table: Table[T]) -> dict[str, T]:
        """All documents of a table. Blocks; for the start. Rows that can't be read are kept and named in `broken_rows`."""

        def read() -> list[tuple[str, bytes]]:
            self._ensure(table.name)
            return self._connection.execute(f'SELECT key, value FROM "{table.name}" ORDER BY key').fetchall()  # noqa: S608 - an identifier

        rows = cast("list[tuple[str, bytes]]", self._call(read).result())
        documents: dict[str, T] = {}
        for key, value in rows:
            try:
                documents[key] = table.decoder.decode(value)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                log.error("%s: row %s of %s can't be read: %s", self.path, key, table.name, error)
                self.broken_rows.append(BrokenRow(table.name, key, str(error)))
        return documents

    def submit(self, *changes: Change) -> asyncio.Future[None]:
        """Begins a commit: the future is done when all of `changes` are durable, or has failed and none is.

        Cancelling the future doesn't stop the commit. Commits become durable in the order of the calls.
        """
        if self._closed:
            raise Unavailable("the database is closed")
        durable.check_writable()
        loop = asyncio.get_running_loop()
        rows = [(c.table.name, c.key, _ENCODER.encode(c.value) if isinstance(c, Put) else None) for c in changes]
        future: asyncio.Future[None] = loop.create_future()
        self._queue.put(_Commit(rows, loop, future))
        return future

    async def commit(self, *changes: Change) -> None:
        """Returns when all of `changes` are durable, together. Cancelled: they will be, or not, together.

        Raises NoSpace when the disk is full (nothing of it was written), Unavailable when the store is read-only.
        """
        await self.submit(*changes)

    async def close(self) -> None:
        """Everything handed in before is durable, the WAL is folded into the file, the thread has ended."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _call(self, function: Callable[[], object]) -> ThreadFuture[object]:
        done: ThreadFuture[object] = ThreadFuture()
        self._queue.put(_Call(function, done))
        return done

    # Below: the writer thread.

    def _write(self) -> None:
        queue = self._queue
        going = True
        while going:
            batch: list[_Commit] = []
            item = queue.get()
            while True:
                if isinstance(item, _Commit):
                    batch.append(item)
                else:
                    self._finish(batch)
                    batch = []
                    if item is None:
                        going = False
                        break
                    _answer(item)
                if queue.empty():
                    break
                item = queue.get()
            self._finish(batch)
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def _finish(self, batch: list[_Commit]) -> None:
        """One transaction for all of `batch`; each caller is told."""
        if not batch:
            return
        error = self._transact(batch)
        if isinstance(error, NoSpace):
            # The reserve is for removals: whoever only deletes gets it, the others are told that the disk is full.
            batch = self._split_by_space(batch, error)
            if not batch:
                return
            self._give_up_reserve()
            error = self._transact(batch)
        for commit in batch:
            _tell(commit, error)
        if error is None and not os.path.exists(self._reserve):
            with contextlib.suppress(OSError):
                self._keep_reserve()

    def _split_by_space(self, batch: list[_Commit], error: OnggiError) -> list[_Commit]:
        removals = [commit for commit in batch if commit.only_deletes]
        for commit in batch:
            if not commit.only_deletes:
                _tell(commit, error)
        return removals

    def _transact(self, batch: Sequence[_Commit]) -> OnggiError | None:
        execute = self._connection.execute
        try:
            durable.check_writable()
            point("store.commit.before")
            execute("BEGIN IMMEDIATE")
            for commit in batch:
                for table, key, value in commit.rows:
                    if table not in self._tables:
                        self._ensure(table)
                    if value is None:
                        execute(f'DELETE FROM "{table}" WHERE key = ?', (key,))  # noqa: S608 - an identifier
                    else:
                        execute(f'REPLACE INTO "{table}" VALUES (?, ?)', (key, value))  # noqa: S608 - an identifier
            execute("COMMIT")
            point("store.commit.after")
        except (sqlite3.Error, OSError, OnggiError) as error:
            # A COMMIT that failed for want of space leaves the transaction open; others have rolled back already.
            with contextlib.suppress(sqlite3.Error):
                execute("ROLLBACK")
            self._tables = {row[0] for row in execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            return _translate(error, self.path)
        self.commits += 1
        return None

    def _ensure(self, table: str) -> None:
        if table not in self._tables:
            self._connection.execute(
                f'CREATE TABLE IF NOT EXISTS "{table}" (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID'
            )
            self._tables.add(table)

    def _keep_reserve(self) -> None:
        """Makes the reserve file when it isn't there and the disk has room for it and as much again."""
        if os.path.exists(self._reserve):
            return
        space = os.statvfs(os.path.dirname(self.path) or ".")
        if space.f_bavail * space.f_frsize < 4 * RESERVE_BYTES:
            return
        fd = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, RESERVE_BYTES)
        finally:
            os.close(fd)

    def _give_up_reserve(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._reserve)

    def _back_up(self) -> None:
        copy = self.path + ".backup"
        databasefile.copy_to(self._connection, copy)


def _answer(call: _Call) -> None:
    try:
        call.done.set_result(call.function())
    except Exception as error:  # noqa: BLE001 - it is handed to the caller, whatever it is
        call.done.set_exception(error)


def _tell(commit: _Commit, error: OnggiError | None) -> None:
    # The loop may be closed by now: then nobody waits.
    with contextlib.suppress(RuntimeError):
        commit.loop.call_soon_threadsafe(_settle, commit.future, error)


def _settle(future: asyncio.Future[None], error: OnggiError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _translate(error: Exception, path: str) -> OnggiError:
    if isinstance(error, OnggiError):
        return error
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return NoSpace(f"{path}: no space left on device (free some, for example with a prune, and try again)")
    if code in {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_READONLY,
    } or isinstance(error, OSError):
        durable.declare_broken(f"commit to {path}: {error}")
        return Unavailable(
            f"the store is read-only: commit to {path}: {error} (check the disk, then restart the engine)"
        )
    return Corrupt(f"commit to {path}: {error}")
