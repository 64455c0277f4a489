"""A build told as buildx's `--progress=rawjson` does: one JSON object an event, which any client can draw from.

Shape: BuildKit client/graph.go (SolveStatus); bytes are base64, times RFC 3339.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import msgspec

from onggi.build.state import now_text
from onggi.build.vertices import Location, SourceFile, Vertex, Warned


class _Vertex(msgspec.Struct, omit_defaults=True):
    digest: str
    name: str
    inputs: list[str] = []
    started: str | None = None
    completed: str | None = None
    cached: bool = False
    error: str = ""


class _Log(msgspec.Struct):
    vertex: str
    stream: int
    data: bytes
    timestamp: str


class _Status(msgspec.Struct, omit_defaults=True):
    id: str
    vertex: str
    current: int = 0
    total: int = 0
    timestamp: str = ""
    completed: str | None = None


class _Position(msgspec.Struct):
    line: int


class _Range(msgspec.Struct):
    start: _Position
    end: _Position


class _Source(msgspec.Struct):
    filename: str
    language: str
    data: bytes


class _Warning(msgspec.Struct, omit_defaults=True, rename="camel"):
    vertex: str
    level: int
    short: bytes
    detail: list[bytes] = []
    url: str = ""
    source_info: _Source | None = None
    range: list[_Range] = []


class Explanation(msgspec.Struct):
    """Why a step is made anew: ours, beside BuildKit's."""

    vertex: str
    text: str


class Failure(msgspec.Struct, rename="camel", omit_defaults=True):
    """Which step has ended the build, and where it stands in the Dockerfile: ours, beside BuildKit's."""

    vertex: str = ""
    source_info: _Source | None = None
    range: list[_Range] = []


class Status(msgspec.Struct, omit_defaults=True):
    """One event."""

    vertexes: list[_Vertex] = []
    logs: list[_Log] = []
    statuses: list[_Status] = []
    warnings: list[_Warning] = []
    explanations: list[Explanation] = []
    failure: Failure | None = None


class RawProgress:
    """The Progress whose events are given to `output`."""

    def __init__(self, output: Callable[[msgspec.Struct], None]) -> None:
        self._output = output
        self._vertices: dict[str, _Told] = {}

    def vertex(self, name: str, *, inputs: Sequence[Vertex] = (), key: str = "", group: str = "") -> Vertex:
        del group
        digest = f"sha256:{hashlib.sha256((key or name).encode('utf-8', 'surrogatepass')).hexdigest()}"
        known = self._vertices.get(digest)
        if known is None:
            row = _Vertex(digest, name, [each.digest for each in inputs])
            known = self._vertices[digest] = _Told(self._output, row)
            known.tell()
        return known

    def warn(self, warning: Warned) -> None:
        location = warning.location
        file: SourceFile | None = location.file if location else None
        self._output(
            Status(
                warnings=[
                    _Warning(
                        warning.vertex.digest if warning.vertex else "",
                        warning.level,
                        warning.message.encode(),
                        [line.encode() for line in warning.detail],
                        warning.url,
                        _Source(file.name, file.language, file.data) if file else None,
                        [_Range(_Position(location.first), _Position(location.last))] if location else [],
                    )
                ]
            )
        )


def failure_of(location: Location | None, vertex: Vertex | None) -> Status:
    """The event that tells of a build's end."""
    if location is None:
        return Status(failure=Failure(vertex.digest if vertex else ""))
    file = location.file
    ranges = [_Range(_Position(location.first), _Position(location.last))]
    source = _Source(file.name, file.language, file.data)
    return Status(failure=Failure(vertex.digest if vertex else "", source, ranges))


class _Told:
    def __init__(self, output: Callable[[msgspec.Struct], None], row: _Vertex) -> None:
        self._output, self._row = output, row

    @property
    def digest(self) -> str:
        return self._row.digest

    def tell(self) -> None:
        self._output(Status(vertexes=[msgspec.structs.replace(self._row)]))

    def start(self) -> None:
        if self._row.started is None:
            self._row.started = now_text()
            self.tell()

    def cached(self) -> None:
        self._row.cached = True
        self._row.started = self._row.started or now_text()
        self._row.completed = now_text()
        self.tell()

    def log(self, stream: int, data: bytes) -> None:
        self._output(Status(logs=[_Log(self.digest, stream, data, now_text())]))

    def status(self, identifier: str, *, current: int = 0, total: int = 0, done: bool = False) -> None:
        now = now_text()
        row = _Status(identifier, self.digest, current, total, now, now if done else None)
        self._output(Status(statuses=[row]))

    def done(self, error: str = "") -> None:
        if self._row.completed is None:
            self._row.started = self._row.started or now_text()
            self._row.completed, self._row.error = now_text(), error
            self.tell()
