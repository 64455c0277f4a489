"""What a build context is made of, as the worker that reads it and the one that copies from it tell each other."""

from __future__ import annotations

from typing import Final

import msgspec

FILE: Final = "f"
DIRECTORY: Final = "d"
SYMLINK: Final = "l"
FIFO: Final = "p"


class Entry(msgspec.Struct, array_like=True, gc=False):
    """One file, directory or link. `path` is clean and relative, "" for the root.

    `offset` is where the file's bytes begin in the spool. Hard links share their first one's `inode` (0: has none).
    Owners aren't here: what comes from a context belongs to root, as in docker.
    """

    path: str
    kind: str
    mode: int
    mtime_ns: int
    size: int = 0
    offset: int = 0
    digest: bytes = b""
    link: str = ""
    inode: int = 0
    xattrs: dict[bytes, bytes] = {}


class Received(msgspec.Struct):
    """The answer of receivejob: what came, in the order of the archive, later entries of a path after earlier ones."""

    entries: list[Entry]
    unpacked: int


def raw_name(text: str) -> bytes:
    """The bytes of a name as the archive had them: what isn't UTF-8 travels in a private range (receivejob.text)."""
    if text.isascii():
        return text.encode()
    if any(0xF780 <= ord(letter) <= 0xF7FF for letter in text):
        return bytes(ord(letter) - 0xF700 if ord(letter) >= 0xF780 else ord(letter) & 0xFF for letter in text)
    return text.encode()
