"""Events: what has happened, to whoever listens now or asks later.

The last 1,024 are kept for `since`. A subscriber gets each event once, in order, without a gap at the seam between replay
and what is live; one who reads too slowly is told so and cut, never waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec

KEPT = 1024
BEHIND = 4096
"""Events that a subscriber may be behind."""
GAP = "events-lost"
"""Action of the event that stands for those which are not kept any more; `until` is the time of the last of them, in ns."""

Filters = Mapping[str, list[str]]


class Actor(msgspec.Struct, frozen=True):
    ID: str
    Attributes: dict[str, str]


class Event(msgspec.Struct, frozen=True):
    """Docker's message; api/ leaves `status`, `id` and `from` to old versions alone."""

    Type: str
    Action: str
    Actor: Actor
    scope: str
    time: int
    timeNano: int  # noqa: N815 - docker's name


class Events:
    """The engine's one stream of events."""

    def __init__(self) -> None:
        self._ring: deque[Event] = deque(maxlen=KEPT)
        self._subscribers: dict[asyncio.Queue[Event | None], Callable[[Event], bool]] = {}
        self._last_ns = 0
        self._forgotten_ns = 0
        """Time of the last event that the ring has let go of."""

    @property
    def listeners(self) -> int:
        return len(self._subscribers)

    def emit(self, kind: str, action: str, identifier: str, attributes: dict[str, str] | None = None) -> None:
        """Tells everybody now. Never waits."""
        # Two events never share a time: `since` with the last one's time then misses and repeats nothing.
        now = max(time.time_ns(), self._last_ns + 1)
        self._last_ns = now
        event = Event(kind, action, Actor(identifier, attributes or {}), "local", now // 10**9, now)
        if len(self._ring) == KEPT:
            self._forgotten_ns = self._ring[0].timeNano
        self._ring.append(event)
        for queue, wanted in list(self._subscribers.items()):
            if wanted(event):
                try:
                    queue.put_nowait(event)
                except asyncio.QueueFull:
                    self._subscribers.pop(queue, None)
                    queue.get_nowait()
                    queue.put_nowait(None)

    async def subscribe(
        self, *, since_ns: int | None = None, until_ns: int | None = None, filters: Filters | None = None
    ) -> AsyncIterator[Event]:
        """Events from `since_ns` on that are kept, then live ones, until `until_ns`. Cancelled: the subscription is gone.

        When some since then aren't kept any more, an event of the daemon says so first (R-30).
        """
        wanted = matcher(filters or {})
        queue: asyncio.Queue[Event | None] = asyncio.Queue(BEHIND)
        if since_ns is not None and 0 < since_ns <= self._forgotten_ns:
            gap = Event(
                "daemon", GAP, Actor("", {"until": str(self._forgotten_ns)}), "local", since_ns // 10**9, since_ns
            )
            if wanted(gap):
                queue.put_nowait(gap)
        for event in self._ring:
            if since_ns is not None and event.timeNano >= since_ns and wanted(event):
                queue.put_nowait(event)
        self._subscribers[queue] = wanted
        try:
            while True:
                found = await self._next(queue, until_ns)
                if found is None or (until_ns is not None and found.timeNano > until_ns):
                    return
                yield found
        finally:
            self._subscribers.pop(queue, None)

    @staticmethod
    async def _next(queue: asyncio.Queue[Event | None], until_ns: int | None) -> Event | None:
        if until_ns is None:
            return await queue.get()
        left = (until_ns - time.time_ns()) / 1e9
        if left <= 0:
            return queue.get_nowait() if not queue.empty() else None
        try:
            async with asyncio.timeout(left):
                return await queue.get()
        except TimeoutError:
            return None


def matcher(filters: Filters) -> Callable[[Event], bool]:
    """Whether an event passes: different keys all, values of one key any; labels all (E-257)."""
    tests: list[Callable[[Event], bool]] = [_test(key, values) for key, values in filters.items() if values]
    return lambda event: all(test(event) for test in tests)


def _test(key: str, values: list[str]) -> Callable[[Event], bool]:
    match key:
        case "event":
            # Actions with a detail (`exec_create: sh`, `health_status: healthy`) are found by their beginning too.
            return lambda e: any(e.Action == v or e.Action.startswith(f"{v}:") for v in values)
        case "type":
            return lambda e: e.Type in values
        case "scope":
            return lambda e: e.scope in values
        case "label":
            return lambda e: all(_label(e, v) for v in values)
        case "image":
            return lambda e: any(_image(e, v) for v in values)
        case "container":
            return lambda e: any(e.Type == "container" and _named(e, v) for v in values)
        case _:
            return lambda e: any(e.Type == key and _named(e, v) for v in values)


def _named(event: Event, value: str) -> bool:
    name = event.Actor.Attributes.get("name", "")
    return (
        value == event.Actor.ID or name == value.lstrip("/") or (len(value) >= 4 and event.Actor.ID.startswith(value))
    )


def _label(event: Event, value: str) -> bool:
    key, separator, wanted = value.partition("=")
    found = event.Actor.Attributes.get(key)
    return found is not None and (not separator or found == wanted)


def _image(event: Event, value: str) -> bool:
    if event.Type == "image":
        candidates = [event.Actor.ID, event.Actor.Attributes.get("name", "")]
    else:
        candidates = [event.Actor.Attributes.get("image", "")]
    return any(
        found == value or (":" not in value.rpartition("/")[2] and found.rpartition(":")[0] == value)
        for found in candidates
        if found
    )
