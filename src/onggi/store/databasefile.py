"""The database's file: opened, checked, brought to this release's format, copied."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence

from onggi.errors import Corrupt
from onggi.store import durable

Migration = Callable[[sqlite3.Connection], None]


def prepare(connection: sqlite3.Connection, path: str, migrations: Sequence[Migration]) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # 4 MiB of WAL before it is folded in: a checkpoint has two fsyncs.
    connection.execute("PRAGMA wal_autocheckpoint = 1000")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(" ".join(str(verdict).split()))
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    target = len(migrations)
    if version > target:
        raise Corrupt(
            f"{path} was written by a newer release (format {version}, this one knows {target}){copy_hint(path)}"
        )
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    if version < target and not empty:
        copy_to(connection, f"{path}.v{version}")
    for number in range(version, target):
        connection.execute("BEGIN IMMEDIATE")
        try:
            migrations[number](connection)
            connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def copy_to(connection: sqlite3.Connection, path: str) -> None:
    """The database as it is now under `path`, whole or not at all."""
    partial = path + ".partial"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(partial)
    with contextlib.closing(sqlite3.connect(partial)) as copy:
        connection.backup(copy)
    os.chmod(partial, 0o600)
    fd = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
    try:
        durable.sync_file(fd, partial)
    finally:
        os.close(fd)
    os.replace(partial, path)


def copy_hint(path: str) -> str:
    copy = path + ".backup"
    age = age_s(copy)
    if age == float("inf"):
        return ""
    return f" (a copy {age / 3600:.0f} hours old is {copy}: put it in its place, or move both away to begin anew)"


def age_s(path: str) -> float:
    try:
        # Wall time: the file may be of an earlier boot.
        return time.time() - os.stat(path).st_mtime
    except FileNotFoundError:
        return float("inf")
