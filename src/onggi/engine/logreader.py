"""The files of a log as one stream of whole lines, oldest first, across rotation and compression.

Files are held open by descriptor, so that no other can have their inode: a rotated file is read to its end before the next
(R-21). One that was compressed meanwhile says which file it was made of.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections import deque
from typing import Final

from onggi.runtime import rotation

BLOCK_BYTES: Final = 256 * 1024
INLINE_BYTES: Final = 64 * 1024
"""A read of no more than this is done on the loop: a thread costs as much."""


class Plain:
    """A file as it was written, perhaps still growing. `limit` is where reading ends, None for its end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.inode = os.fstat(fd).st_ino
        self.limit: int | None = None
        self._offset = 0

    def is_same(self, other: File) -> bool:
        """Whether `other`, open too, has the same content."""
        if isinstance(other, Plain):
            return other.inode == self.inode
        return other.origin == rotation.identity(self._fd)

    async def block(self) -> bytes:
        """What comes next, b"" at the end for now."""
        size = os.fstat(self._fd).st_size
        if size < self._offset:
            # Cut from outside (copytruncate): from the start again.
            self._offset = 0
        wanted = BLOCK_BYTES if self.limit is None else min(BLOCK_BYTES, max(0, self.limit - self._offset))
        if min(wanted, size - self._offset) <= INLINE_BYTES:
            found = os.pread(self._fd, min(wanted, INLINE_BYTES), self._offset)
        else:
            found = await asyncio.to_thread(os.pread, self._fd, wanted, self._offset)
        self._offset += len(found)
        return found

    def go_to_tail(self, count: int) -> int:
        """Begin at the last `count` lines; how many of them there are."""
        found, self._offset = tail_offset(self._fd, count, self.limit)
        return found

    def close(self) -> None:
        os.close(self._fd)


class Packed:
    """A rotated file that was compressed: it has ended."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.origin = rotation.origin(fd)
        self.limit: int | None = None
        self._skip = 0
        self._begin()

    def is_same(self, other: File) -> bool:
        return other.origin == self.origin if isinstance(other, Packed) else other.is_same(self)

    def _begin(self) -> None:
        self._offset = 0
        self._unpacker = zlib.decompressobj(31)

    async def block(self) -> bytes:
        return await asyncio.to_thread(self._next)

    def _next(self) -> bytes:
        while data := self._unpacked():
            while self._skip and data:
                end = data.find(b"\n") + 1
                self._skip -= bool(end)
                data = data[end:] if end else b""
            if data:
                return data
        return b""

    def _unpacked(self) -> bytes:
        """b"" at the end, and where a file is damaged."""
        try:
            while not self._unpacker.eof:
                packed = self._unpacker.unconsumed_tail or os.pread(self._fd, INLINE_BYTES, self._offset)
                if not packed:
                    return self._unpacker.flush()
                if not self._unpacker.unconsumed_tail:
                    self._offset += len(packed)
                data = self._unpacker.decompress(packed, BLOCK_BYTES)
                if data:
                    return data
        except zlib.error:
            pass
        return b""

    def go_to_tail(self, count: int) -> int:
        """Reads all of it, and begins anew."""
        lines = 0
        while data := self._unpacked():
            lines += data.count(b"\n")
        self._begin()
        self._skip = max(0, lines - count)
        return min(lines, count)

    def close(self) -> None:
        os.close(self._fd)


File = Plain | Packed


class Reader:
    """Whole lines of all files of a log. Made by `open`; `close` it."""

    def __init__(self, path: str, end: tuple[int, int] | None) -> None:
        self._path = path
        self._end = end
        self._files: deque[File] = deque()
        self._extend(None)
        self._rest = b""

    @classmethod
    async def open(cls, path: str, tail: int | None, end: tuple[int, int] | None = None) -> Reader:
        """From the last `tail` lines on. `end` is inode and offset where reading ends. Cancelled: nothing is left."""
        reader = cls(path, end)
        try:
            if tail is not None:
                await asyncio.to_thread(reader._go_to_tail, tail)
        except BaseException:
            reader.close()
            raise
        return reader

    def _extend(self, than: File | None) -> bool:
        newer = open_newer(self._path, than)
        for file in newer:
            if self._end is not None and isinstance(file, Plain) and file.inode == self._end[0]:
                file.limit = self._end[1]
        self._files.extend(newer)
        return bool(newer)

    async def lines(self) -> bytes:
        """The next lines, b"" at the end for now."""
        while True:
            if not self._files and not self._extend(None):
                return b""
            block = await self._files[0].block()
            if block:
                end = block.rfind(b"\n") + 1
                if not end:
                    self._rest += block
                    continue
                lines = self._rest + block[:end]
                self._rest = block[end:]
                return lines
            if self._files[0].limit is not None:
                return b""
            if len(self._files) == 1:
                if not self._extend(self._files[0]):
                    return b""
                # Between the last read and the look at its successor the file may have grown: once more.
                continue
            self._files.popleft().close()
            # A file that was rotated away ends with a whole line, or with one that is torn for good.
            self._rest = b""

    def _go_to_tail(self, count: int) -> None:
        for index in range(len(self._files) - 1, -1, -1):
            count -= self._files[index].go_to_tail(count)
            if count == 0:
                for _ in range(index):
                    self._files.popleft().close()
                return

    def close(self) -> None:
        while self._files:
            self._files.popleft().close()


def tail_offset(fd: int, count: int, limit: int | None = None) -> tuple[int, int]:
    """How many of the last `count` lines are in this file (before `limit`), and where the first of them begins."""
    end = os.fstat(fd).st_size if limit is None else limit
    position = end
    newlines = 0
    while position > 0:
        begin = max(0, position - BLOCK_BYTES // 4)
        block = os.pread(fd, position - begin, begin)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            # One more than asked for: it ends the line before the first of them.
            if newlines == count:
                return count, begin + at + 1
            newlines += 1
        position = begin
    return newlines, 0


def open_newer(path: str, than: File | None) -> list[File]:
    """The files of a log that come after `than` (None: all), opened, oldest first.

    Opened from the newest on: a rotation meanwhile makes one appear twice, and none be missed.
    """
    found: deque[File] = deque()
    number = 0
    while True:
        file = _open(f"{path}.{number}" if number else path)
        if file is None:
            if number == 0:
                # Amid a rotation: the next file isn't there yet.
                number = 1
                continue
            break
        if than is not None and file.is_same(than):
            file.close()
            break
        number += 1
        if any(file.is_same(other) for other in found):
            file.close()
            continue
        found.appendleft(file)
    return list(found)


def _open(path: str) -> File | None:
    """Compressed if it is no longer there as it was: the new file is in place before the old one goes."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return Plain(os.open(path, flags))
    except FileNotFoundError:
        pass
    try:
        return Packed(os.open(path + rotation.SUFFIX, flags))
    except FileNotFoundError:
        return None
