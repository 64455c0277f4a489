"""The launcher's accounts of the processes of one kind that wait for work: how many there are, and what each is at.

Each process holds one end of a pipe, its slot. It writes a line when it is busy ("+", and the parent of the container's
cgroup) and one when it is free again ("-"); the end of the pipe says that it is one of these no more.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from onggi.runtime import waiting, zygote
from onggi.runtime.handover import send_order

PATIENCE_S: Final = 0.25
"""A start that takes longer (a hanging file system) has its place taken by another process, or it would hold up all others."""

_BUSY_S: Final = 30.0
"""After this long without work few are kept: they are some MB each."""

_FEW_S: Final = 600.0
"""And after this long none, as in an engine that has had no work yet: then the first start waits for three forks, 10 ms."""

RETRY_S: Final = 0.05
"""How long after a fork that failed another is tried."""


@dataclass(slots=True)
class Slot:
    fd: int
    busy_since: float | None = None

    @property
    def patient(self) -> bool:
        """Free, or not busy for long."""
        return self.busy_since is None or time.monotonic() - self.busy_since < PATIENCE_S


class Line:
    """Processes of one kind. `idle` of them are kept while there is no work."""

    def __init__(self, kind: bytes, orders: socket.socket, ask: int, *, idle: int, most: int) -> None:
        self.slots: list[Slot] = []
        self.refused = 0
        """The errno of a fork that has failed; 0 after the next try."""
        self.cgroup_parent = ""
        """Where the last container belongs, and the next one most likely."""
        self.orders = orders
        self._kind, self._ask, self._idle, self._most = kind, ask, idle, most
        self._last_busy: float | None = None
        self._retry_at = 0.0

    @property
    def wanted(self) -> int:
        past_s = self._past_s()
        if past_s is None or past_s >= _FEW_S:
            return 0
        return self._most if past_s < _BUSY_S else self._idle

    @property
    def hung(self) -> int:
        return sum(not slot.patient for slot in self.slots)

    @property
    def free(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.busy_since is None]

    def work(self) -> None:
        """There is some, or has been just now."""
        self._last_busy = time.monotonic()

    def fill(self, wanted: int) -> None:
        """Have as many forked as are missing."""
        if time.monotonic() < self._retry_at:
            return
        self.refused = 0
        while sum(slot.patient for slot in self.slots) < wanted:
            ours, slot = os.pipe2(os.O_CLOEXEC)
            try:
                send_order(self.orders, self.cgroup_parent, slot)
                os.write(self._ask, self._kind)
            finally:
                os.close(slot)
            self.slots.append(Slot(ours))

    def dismiss(self, wanted: int) -> None:
        """Those that are free and too many see the end of their pipe."""
        for slot in self.free[wanted:]:
            os.close(slot.fd)
            self.slots.remove(slot)

    def watch(self, poll: select.poll) -> Iterator[float]:
        """Register what says that something has changed; yields the times, in seconds from now, when something will."""
        poll.register(self.orders, 0)
        now = time.monotonic()
        for slot in self.slots:
            poll.register(slot.fd, select.POLLIN)
            if slot.busy_since is not None and slot.patient:
                yield max(0.0, slot.busy_since + PATIENCE_S - now) + 0.001
        past_s = self._past_s()
        if past_s is not None and past_s < _FEW_S:
            yield (_BUSY_S if past_s < _BUSY_S else _FEW_S) - past_s + 0.001
        if self._retry_at > now:
            yield self._retry_at - now + 0.001

    def notice(self, ready: dict[int, int]) -> int:
        """Read what the slots say; returns how many have ended."""
        ended = [slot for slot in self.slots if slot.fd in ready and not self._read(slot)]
        for slot in ended:
            os.close(slot.fd)
            self.slots.remove(slot)
        return len(ended)

    def _read(self, slot: Slot) -> bool:
        told = os.read(slot.fd, 65536)
        if told.startswith(zygote.FORK_FAILED):
            self.refused = int(told.removeprefix(zygote.FORK_FAILED))
            self._retry_at = time.monotonic() + RETRY_S
            return False
        for line in told.splitlines():
            if line.startswith(waiting.BUSY):
                self.work()
                slot.busy_since = self._last_busy
                self.cgroup_parent = line[1:].decode()
            else:
                slot.busy_since = None
        return bool(told)

    def _past_s(self) -> float | None:
        """Seconds since there was work; None when there has been none."""
        return None if self._last_busy is None else time.monotonic() - self._last_busy
