"""Files that clients have sent, kept so that the next build of the same directory sends what has changed.

A mirror belongs to a client's directory (its shared key and the directory's name): one nameless file with all bodies, and what is
known of each path. It goes with the engine, or when others were used more lately; what it held is sent again then.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from onggi.build.entries import Entry

_MIRRORS_LIMIT: Final = 32
_UNUSED_S: Final = 48 * 3600
"""As BuildKit's default rule for local sources."""

_WASTE_BYTES: Final = 256 * 1024 * 1024
_SMALL: Final = 1 << 18
"""Bodies up to this many bytes are written with their neighbours."""


@dataclass(slots=True)
class Known:
    """A regular file that has come: `entry` has its place and digest, `signature` what the client said of it."""

    signature: tuple[int, int, int, int, int]
    entry: Entry


class Mirror:
    """One directory of one client."""

    def __init__(self, directory: str, name: str) -> None:
        self.name = name
        self.spool = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self.files: dict[str, Known] = {}
        self.told: dict[bytes, Entry] = {}
        """What the client said of paths the last time, word for word, and what it came to: most of it is said again."""
        self.used_ns = self.made_ns = time.time_ns()
        self.uses = 0
        self.end = 0
        self._holders = 1
        """Who may write into it: the table of mirrors, and transfers under way."""

    @property
    def live_bytes(self) -> int:
        return sum(known.entry.size for known in self.files.values())

    @property
    def is_wasteful(self) -> bool:
        """Mostly bodies of files that have changed since."""
        return self.end > _WASTE_BYTES and self.end > 2 * self.live_bytes

    def claim(self, size: int) -> int:
        """The place of `size` bytes."""
        offset = self.end
        self.end += size
        return offset

    def hold(self) -> None:
        self._holders += 1

    def close(self) -> None:
        """One holder less. With the last one the file goes; contexts have descriptors of their own."""
        self._holders -= 1
        if not self._holders:
            os.close(self.spool)
            self.spool = -1


class Body:
    """A file's bytes on their way into a mirror. `expected` is what the client said; it may turn out otherwise."""

    def __init__(self, mirror: Mirror, expected: int) -> None:
        self._mirror = mirror
        self._hasher = hashlib.sha256()
        self._room = expected
        self._offset = -1
        self._held: list[bytes] = []
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Raises OSError."""
        self._hasher.update(piece)
        if self._offset < 0 and self.size + len(piece) <= _SMALL:
            self._held.append(piece)
            self.size += len(piece)
            return
        if self._offset < 0 or self.size + len(piece) > self._room:
            self._move(max(self._room, 2 * (self.size + len(piece))))
        os.pwrite(self._mirror.spool, piece, self._offset + self.size)
        self.size += len(piece)

    def finish(self) -> tuple[int, bytes]:
        """Where the body begins, and its digest."""
        if self._offset < 0:
            self._offset = self._mirror.claim(self.size)
            if self._held:
                os.pwrite(self._mirror.spool, b"".join(self._held), self._offset)
                self._held = []
        return self._offset, self._hasher.digest()

    def _move(self, room: int) -> None:
        """To a place with `room` bytes."""
        old, self._offset, self._room = self._offset, self._mirror.claim(room), room
        if old < 0:
            os.pwrite(self._mirror.spool, b"".join(self._held), self._offset)
            self._held = []
            return
        copied = 0
        while copied < self.size:
            copied += os.copy_file_range(
                self._mirror.spool, self._mirror.spool, self.size - copied, old + copied, self._offset + copied
            )


class Mirrors:
    """Of one engine, below `directory`."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._mirrors: OrderedDict[tuple[str, str], Mirror] = OrderedDict()

    def take(self, shared_key: str, name: str) -> Mirror:
        """The mirror of a directory, which counts as used now, for the caller to close. Without a shared key it is nobody else's."""
        if not shared_key:
            return Mirror(self.directory, name)
        key = (shared_key, name)
        found = self._mirrors.get(key)
        if found is not None and found.is_wasteful:
            self._drop(key)
            found = None
        if found is None:
            found = self._mirrors[key] = Mirror(self.directory, name)
        found.hold()
        found.used_ns, found.uses = time.time_ns(), found.uses + 1
        self._mirrors.move_to_end(key)
        self._forget_old()
        return found

    def scratch(self) -> int:
        """A descriptor of a nameless file, for the caller to close."""
        return os.open(self.directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)

    def records(self) -> list[tuple[str, Mirror]]:
        """Each with an id."""
        return [(_identifier(key), mirror) for key, mirror in self._mirrors.items()]

    def forget(self, identifier: str) -> None:
        """One of them; builds that run keep their own descriptors."""
        for key in list(self._mirrors):
            if _identifier(key) == identifier:
                self._drop(key)

    def close(self) -> None:
        for key in list(self._mirrors):
            self._drop(key)

    def _forget_old(self) -> None:
        oldest = time.time_ns() - _UNUSED_S * 1_000_000_000
        for key, mirror in list(self._mirrors.items())[:-1]:
            if len(self._mirrors) > _MIRRORS_LIMIT or mirror.used_ns < oldest:
                self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        self._mirrors.pop(key).close()


def _identifier(key: tuple[str, str]) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:25]
