"""Work that several builds want at the same time is done once: the first one starts it, the others listen.

A piece of work belongs to those that wait for it: when the last of them has gone it is cancelled, so nothing outlives its builds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

Listener = Callable[[int, bytes], None]
"""Takes what the work writes: the stream (1, 2), and bytes."""

_HELD_LIMIT: Final = 1024 * 1024
"""Bytes of output kept for who comes later."""


class _Flight(Generic[T]):
    def __init__(self) -> None:
        self.task: asyncio.Task[T] | None = None
        self.listeners: list[Listener] = []
        self._said: list[tuple[int, bytes]] = []
        self._size = 0

    def say(self, stream: int, data: bytes) -> None:
        if self._size < _HELD_LIMIT:
            self._said.append((stream, data))
            self._size += len(data)
        for listener in list(self.listeners):
            listener(stream, data)

    def join(self, listener: Listener) -> None:
        for stream, data in self._said:
            listener(stream, data)
        self.listeners.append(listener)


class Flights(Generic[T]):
    """One for an engine."""

    def __init__(self) -> None:
        self._running: dict[str, _Flight[T]] = {}

    async def join(self, key: str, work: Callable[[Listener], Awaitable[T]], listener: Listener) -> T:
        """The result of `work`, which runs once for all that ask for `key` while it does.

        Raises what the work raises. Cancelled: the work goes on for the others, or is cancelled and has ended when this raises.
        """
        flight = self._running.get(key)
        if flight is None:
            flight = self._running[key] = _Flight()
            flight.task = asyncio.ensure_future(_awaited(work(flight.say)))
            flight.task.add_done_callback(lambda _task: self._running.pop(key, None))
        flight.join(listener)
        if flight.task is None:
            raise AssertionError("a flight has its task before anybody joins")
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.listeners.remove(listener)
            if not flight.listeners and not flight.task.done():
                # Nobody may join what is about to end.
                self._running.pop(key, None)
                flight.task.cancel()
                await asyncio.wait([flight.task])


async def _awaited(work: Awaitable[T]) -> T:
    return await work
