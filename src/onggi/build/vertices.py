"""How a build tells of itself: steps with digests, their logs and states, warnings with places in the Dockerfile.

The words are BuildKit's: a vertex is a step of the graph. Types only; who listens implements `Progress`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A Dockerfile as it was read."""

    name: str
    data: bytes
    language: str = "Dockerfile"


@dataclass(frozen=True, slots=True)
class Location:
    """Lines `first` to `last` of a file, counted from 1."""

    file: SourceFile
    first: int
    last: int


class Vertex(Protocol):
    """One step. `start`, then any of `log` and `status`, then `done`; or `cached` alone."""

    @property
    def digest(self) -> str:
        """`sha256:…`, the same for the same step of another build."""

    def start(self) -> None: ...

    def cached(self) -> None:
        """Began and ended now: its result was there."""

    def log(self, stream: int, data: bytes) -> None:
        """`data` came on `stream`: 1 stdout, 2 stderr."""

    def status(self, identifier: str, *, current: int = 0, total: int = 0, done: bool = False) -> None:
        """How far a part of the step is (a layer of a pull, a transfer), in bytes; 0 where it isn't known."""

    def done(self, error: str = "") -> None:
        """Ended, with `error` if it has failed. A second time means nothing."""


@dataclass(frozen=True, slots=True)
class Warned:
    """A rule of the build checks that was broken. `message` begins with the rule's name."""

    rule: str
    message: str
    detail: tuple[str, ...] = ()
    url: str = ""
    location: Location | None = None
    level: int = 1
    vertex: Vertex | None = None


class Progress(Protocol):
    """Who listens to one build."""

    def vertex(self, name: str, *, inputs: Sequence[Vertex] = (), key: str = "", group: str = "") -> Vertex:
        """Announces a step, which hasn't begun. Its digest is made of `key`, or of `name` when that is empty; the same
        digest twice is the same step.
        """

    def warn(self, warning: Warned) -> None: ...
