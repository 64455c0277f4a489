"""Blocking work on a thread, for coroutines that lend it something of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def blocking(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`function` on a thread. Cancelled: it has ended all the same before CancelledError goes on.

    asyncio.to_thread leaves the thread at work when the task is cancelled, with a descriptor that the task then closes and
    the next open() gets.
    """
    task = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
