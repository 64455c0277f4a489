"""What pull, push and load say while they work: docker's messages, at most ten a second for each layer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

_EVERY_S: Final = 0.1
_BAR: Final = 50
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")

Output = Callable[[Any], None]
"""Takes one message, which becomes a line of JSON."""


class Detail(msgspec.Struct, frozen=True, omit_defaults=True):
    current: int = 0
    total: int = 0


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """moby's jsonmessage; `progress` is the bar that old clients print as it comes."""

    status: str
    progress_detail: Detail | None = msgspec.field(default=None, name="progressDetail")
    progress: str = ""
    id: str = ""


class PushedAux(msgspec.Struct, frozen=True, rename="pascal"):
    tag: str
    digest: str
    size: int


class Aux(msgspec.Struct, frozen=True):
    """docker-py reads the digest here."""

    progress_detail: Detail = msgspec.field(name="progressDetail")
    aux: PushedAux


class Line:
    """The messages of one layer (or tag): `id` stands before each."""

    def __init__(self, output: Output, identifier: str) -> None:
        self._output, self._id = output, identifier
        self._last = 0.0
        self._status = ""

    def say(self, status: str) -> None:
        if status != self._status:
            self._status, self._last = status, 0.0
            self._output(Message(status, Detail(), id=self._id))

    def count(self, status: str, current: int, total: int) -> None:
        """How far it is. What comes too soon after the last one is left out, unless it is the end."""
        now = time.monotonic()
        if status == self._status and current < total and now - self._last < _EVERY_S:
            return
        self._status, self._last = status, now
        self._output(Message(status, Detail(current, total), bar(current, total), self._id))


def bar(current: int, total: int) -> str:
    """`[=====>     ]  1.2MB/2.4MB`, as docker's client draws it."""
    if current <= 0 and total <= 0:
        return ""
    if total <= 0 or current > total:
        return f"{human_size(current):>8}"
    done = min(_BAR, int(current / total * 100) // 2)
    return f"[{'=' * done}>{' ' * (_BAR - done)}] {human_size(current):>8}/{human_size(total)}"


def human_size(size: float) -> str:
    """go-units' HumanSize: four digits, decimal units."""
    unit = 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size /= 1000
        unit += 1
    return f"{size:.4g}{_UNITS[unit]}"
