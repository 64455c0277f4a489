"""Reading a container's log as it grows: the files' part is logreader.py's, the entries' logs.py's.

One inotify instance serves all followers, as a user may have only 128 of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from typing import Final

from onggi.engine.logreader import Reader
from onggi.engine.logs import LogOptions, Renderer
from onggi.kernel.inotify import Inotify, Watch

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
    reader = await Reader.open(path, options.tail, end)
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
