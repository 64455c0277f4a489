"""Directories that outlive builds: `RUN --mount=type=cache`. Who may use one at a time, when it was used, what it holds.

A directory is below `buildmounts/<digest of its id>/`: `tree` is mounted, `id` and `used` tell of it. With `private` sharing a
second user gets another directory of the same id, with `locked` it waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

_ROOM: Final = "buildmounts"
_PRIVATE_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True)
class CacheMount:
    """One directory as `system df` tells of it; times in nanoseconds, size in bytes of the disk."""

    key: str
    identifier: str
    created_ns: int
    used_ns: int
    size: int
    in_use: bool


class CacheMounts:
    """All of one engine."""

    def __init__(self, root: str) -> None:
        self._root = os.path.join(root, _ROOM)
        self._locks: dict[str, asyncio.Lock] = {}
        self._making = threading.Lock()
        self._users: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def use(self, identifier: str, sharing: str, make: Callable[[str], None]) -> AsyncIterator[str]:
        """The directory to mount, for as long as the block lasts. `make` fills a new one.

        Cancelled while it waits for a locked one: nothing happens.
        """
        key = _key(identifier)
        if sharing == "private":
            key = self._free(key)
        lock = self._locks.setdefault(key, asyncio.Lock()) if sharing == "locked" else None
        async with lock or contextlib.nullcontext():
            self._users[key] = self._users.get(key, 0) + 1
            try:
                yield await asyncio.to_thread(self._made, key, identifier, make)
            finally:
                self._users[key] -= 1

    def records(self) -> list[CacheMount]:
        """Blocking: walks what they hold."""
        try:
            keys = sorted(os.listdir(self._root))
        except FileNotFoundError:
            return []
        return [found for key in keys if (found := self._record(key)) is not None]

    def remove(self, key: str) -> None:
        """Blocking. One that is in use stays; one that isn't there is fine."""
        if not self._users.get(key):
            # The name goes at once: a build that begins now gets an empty one.
            gone = os.path.join(self._root, f".{key}.{time.time_ns():x}")
            with contextlib.suppress(FileNotFoundError):
                os.rename(os.path.join(self._root, key), gone)
                shutil.rmtree(gone, ignore_errors=True)

    def clean(self) -> None:
        """Takes up removals that an ended engine has left. Blocking."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._root):
                if name.startswith("."):
                    shutil.rmtree(os.path.join(self._root, name), ignore_errors=True)

    def _free(self, key: str) -> str:
        names = (key if not number else f"{key}-{number}" for number in range(_PRIVATE_LIMIT))
        return next((name for name in names if not self._users.get(name)), f"{key}-{_PRIVATE_LIMIT}")

    def _made(self, key: str, identifier: str, make: Callable[[str], None]) -> str:
        directory = os.path.join(self._root, key)
        tree = os.path.join(directory, "tree")
        # Steps that share one begin side by side, each in a thread, and the first of them makes it.
        with self._making:
            if not os.path.isdir(tree):
                os.makedirs(directory, mode=0o700, exist_ok=True)
                fresh = os.path.join(directory, "fresh")
                shutil.rmtree(fresh, ignore_errors=True)
                os.mkdir(fresh, 0o755)
                make(fresh)
                with open(os.path.join(directory, "id"), "w", encoding="utf-8", errors="surrogateescape") as file:
                    file.write(identifier)
                os.rename(fresh, tree)
        used = os.path.join(directory, "used")
        with open(used, "a", encoding="ascii"):
            os.utime(used)
        return tree

    def _record(self, key: str) -> CacheMount | None:
        directory = os.path.join(self._root, key)
        try:
            with open(os.path.join(directory, "id"), encoding="utf-8", errors="surrogateescape") as file:
                identifier = file.read()
            created = os.stat(file.name).st_mtime_ns
            used = os.stat(os.path.join(directory, "used")).st_mtime_ns
        except OSError:
            return None
        size = _size_of(os.path.join(directory, "tree"))
        return CacheMount(key, identifier, created, used, size, bool(self._users.get(key)))


def _key(identifier: str) -> str:
    return hashlib.sha256(identifier.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _size_of(tree: str) -> int:
    total = 0
    for directory, _, files in os.walk(tree):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return total
