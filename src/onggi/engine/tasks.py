"""Work that outlives the request that began it: each piece is a task with a name, joined when the engine closes.

A client that hangs up cancels its request's handler; what the engine has begun for it goes on here (R-24).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from onggi.errors import OnggiError

T = TypeVar("T")
log = logging.getLogger("onggi.engine")
_MOMENT_S = 0.05


def note_failure(done: asyncio.Future[None]) -> None:
    """A commit that nobody waits for has failed: the row lags behind until the next one (R-39)."""
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("a container's state could not be written: %s", error)


@contextlib.contextmanager
def logged(what: str) -> Iterator[None]:
    """What fails in the block is said in the log as "`what` failed", and the rest goes on without it (R-39)."""
    try:
        yield
    except (OnggiError, OSError) as error:
        log.warning("%s failed: %s", what, error)


class Tasks:
    """Owner of the engine's tasks."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._watching: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Runs `work` to its end. An error that it lets out is a bug or a broken machine: it is logged with the name."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def watch(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """The same for work that waits for something of a container: it may last as long as that, and longer than the engine."""
        task = self.begin(work, name)
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return task

    async def finish(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """`work`'s result. When the caller is cancelled the work goes on, and nobody hears of its result."""
        task = self.begin(work, name)
        result: T = await asyncio.shield(task)
        return result

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, OnggiError):
            log.error("%s failed", task.get_name(), exc_info=error)

    async def close(self, patience_s: float = 5.0) -> None:
        """Waits for what is under way, then cancels the rest. Watchers get a moment: what they tell of may just happen."""
        current = asyncio.current_task()
        others = {task for task in self._running if task is not current and task not in self._watching}
        if others:
            await asyncio.wait(others, timeout=patience_s)
        if self._watching:
            await asyncio.wait(self._watching, timeout=_MOMENT_S)
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
