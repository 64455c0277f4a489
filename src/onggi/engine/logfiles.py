"""Reading a container's log files: from the end, across rotation, and on as they grow.

Files are held open by descriptor and known by inode: a rotated file is read to its end before the next (R-21). One inotify
instance serves all followers, as a user may have only 128 of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from onggi.engine.logs import LogOptions, Renderer
from onggi.kernel.inotify import Inotify, Watch

BLOCK_BYTES: Final = 256 * 1024
INLINE_BYTES: Final = 64 * 1024
"""A read of no more than this is done on the loop: a thread costs as much."""

_CHANGES: Final = Watch.MODIFY | Watch.CREATE | Watch.MOVED_FROM | Watch.MOVED_TO | Watch.DELETE


class LogWatch:
    """Tells followers that something happened in a directory. A service of the engine: `close` it."""

    def __init__(self) -> None:
        self._inotify = Inotify()
        self._waiting: dict[int, set[asyncio.Event]] = {}
        asyncio.get_running_loop().add_reader(self._inotify.fileno(), self._readable)

    def subscribe(self, directory: str) -> tuple[int, asyncio.Event]:
        """An event that is set at each change; clear it before looking. Give both to `unsubscribe`."""
        watch = self._inotify.add(directory, _CHANGES)
        changed = asyncio.Event()
        self._waiting.setdefault(watch, set()).add(changed)
        return watch, changed

    def unsubscribe(self, watch: int, changed: asyncio.Event) -> None:
        others = self._waiting.get(watch)
        if others is None:
            return
        others.discard(changed)
        if not others:
            del self._waiting[watch]
            with contextlib.suppress(OSError):
                # EINVAL: the directory is gone, and the watch with it.
                self._inotify.remove(watch)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._inotify.fileno())
        self._inotify.close()
        for changed in [event for events in self._waiting.values() for event in events]:
            changed.set()

    def _readable(self) -> None:
        for event in self._inotify.read():
            for changed in self._waiting.get(event.wd, ()):
                changed.set()


async def read_log(
    path: str,
    options: LogOptions,
    *,
    tty: bool,
    watch: LogWatch,
    stopped: asyncio.Future[object] | None,
    end: tuple[int, int] | None = None,
) -> AsyncIterator[bytes]:
    """The log at `path` as a client reads it, in pieces of about 256 KiB.

    With `follow`, goes on until `stopped` is done and the log is read to its end. `end` is inode and offset where reading
    ends: what comes later is told by somebody else. Cancelled or closed: nothing is left.
    """
    renderer = Renderer(options, tty=tty)
    reader = _Reader(path, options.tail, end)
    subscription: tuple[int, asyncio.Event] | None = None
    try:
        if options.follow and stopped is not None:
            subscription = watch.subscribe(os.path.dirname(path))
        while not renderer.past_until:
            # In this order: what is written before the stop is read after it.
            last = subscription is None or stopped is None or stopped.done()
            if subscription is not None:
                subscription[1].clear()
            while not renderer.past_until and (lines := await reader.lines()):
                piece = renderer.render(lines)
                if piece:
                    yield piece
            if last or subscription is None or stopped is None:
                return
            changed: asyncio.Future[object] = asyncio.ensure_future(subscription[1].wait())
            try:
                await asyncio.wait([changed, stopped], return_when=asyncio.FIRST_COMPLETED, timeout=_left(options))
            finally:
                changed.cancel()
            if _left(options) == 0:
                return
    finally:
        if subscription is not None:
            watch.unsubscribe(*subscription)
        reader.close()


def _left(options: LogOptions) -> float | None:
    """Seconds until `until`; None when there is no such limit."""
    if not options.until_ns:
        return None
    # `until` is wall time by its meaning: the only clock that the entries know.
    return max(0.0, options.until_ns / 1e9 - time.time())


class _Reader:
    """Whole lines of all files of a log, oldest first."""

    def __init__(self, path: str, tail: int | None, end: tuple[int, int] | None = None) -> None:
        self._path = path
        self._end = end
        self._files: deque[int] = deque(_open_newer(path, None))
        self._offset = 0
        self._rest = b""
        if tail is not None:
            self._go_to_tail(tail)

    async def lines(self) -> bytes:
        """The next lines, b"" at the end for now."""
        while True:
            if not self._files:
                self._files.extend(_open_newer(self._path, None))
                if not self._files:
                    return b""
            block = await self._read()
            if block:
                end = block.rfind(b"\n") + 1
                if not end:
                    self._rest += block
                    continue
                lines = self._rest + block[:end]
                self._rest = block[end:]
                return lines
            if self._is_last():
                return b""
            if len(self._files) == 1:
                newer = _open_newer(self._path, os.fstat(self._files[0]).st_ino)
                if not newer:
                    return b""
                self._files.extend(newer)
                # Between the last read and the look at its successor the file may have grown: once more.
                continue
            os.close(self._files.popleft())
            self._offset = 0
            # A file that was rotated away ends with a whole line, or with one that is torn for good.
            self._rest = b""

    def _is_last(self) -> bool:
        return self._end is not None and os.fstat(self._files[0]).st_ino == self._end[0]

    async def _read(self) -> bytes:
        fd = self._files[0]
        if self._end is not None and self._is_last():
            block = os.pread(fd, min(BLOCK_BYTES, max(0, self._end[1] - self._offset)), self._offset)
            self._offset += len(block)
            return block
        size = os.fstat(fd).st_size
        if size < self._offset:
            # Cut from outside (copytruncate): from the start again.
            self._offset, self._rest = 0, b""
        if size - self._offset <= INLINE_BYTES:
            block = os.pread(fd, INLINE_BYTES, self._offset)
        else:
            block = await asyncio.to_thread(os.pread, fd, BLOCK_BYTES, self._offset)
        self._offset += len(block)
        return block

    def _go_to_tail(self, count: int) -> None:
        for index in range(len(self._files) - 1, -1, -1):
            found, offset = _tail_offset(self._files[index], count)
            count -= found
            if count == 0:
                for _ in range(index):
                    os.close(self._files.popleft())
                self._offset = offset
                return

    def close(self) -> None:
        while self._files:
            os.close(self._files.popleft())


def _tail_offset(fd: int, count: int) -> tuple[int, int]:
    """How many of the last `count` lines are in this file, and where the first of them begins."""
    end = os.fstat(fd).st_size
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


def _open_newer(path: str, than_inode: int | None) -> list[int]:
    """The files of a log that come after the one of that inode (None: all), opened, oldest first.

    Opened from the newest on: a rotation meanwhile makes one appear twice, which the inode tells, and none be missed.
    """
    found: deque[int] = deque()
    inodes: set[int] = set()
    number = 0
    while True:
        try:
            fd = os.open(f"{path}.{number}" if number else path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            if number == 0:
                # Amid a rotation: the next file isn't there yet.
                number = 1
                continue
            break
        inode = os.fstat(fd).st_ino
        if inode == than_inode:
            os.close(fd)
            break
        number += 1
        if inode in inodes:
            os.close(fd)
            continue
        inodes.add(inode)
        found.appendleft(fd)
    return list(found)
