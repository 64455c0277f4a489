"""What a build said, from buildx's rawjson or from a Progress: steps, which of them were cached, warnings, the error."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from onggi.build.vertices import Vertex, Warned


@dataclass
class Told:
    """`steps`: name → whether it was found in the cache."""

    steps: dict[str, bool] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def cached(self) -> list[str]:
        return [name for name, cached in self.steps.items() if cached and _is_step(name)]

    @property
    def names(self) -> list[str]:
        """In the order of their names: who runs beside whom is nobody's business."""
        return sorted(name for name in self.steps if _is_step(name) or name.startswith("[internal] load metadata"))


def _is_step(name: str) -> bool:
    return (
        not name.startswith(("[internal]", "exporting", "[context"))
        and "FROM " not in name.rsplit("] ", maxsplit=1)[-1][:5]
    )


def from_rawjson(text: str) -> Told:
    told = Told()
    for line in text.splitlines():
        if not line.startswith("{"):
            if line.startswith("ERROR: "):
                told.error = line.removeprefix("ERROR: ")
            continue
        message = json.loads(line)
        for vertex in message.get("vertexes") or ():
            known = told.steps.get(vertex["name"], False)
            told.steps[vertex["name"]] = known or bool(vertex.get("cached"))
        for warning in message.get("warnings") or ():
            told.warnings.append(base64.b64decode(warning["short"]).decode())
    told.warnings = sorted(set(told.warnings))
    return told


class Listening:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.told = Told()
        self._vertices: dict[str, _Vertex] = {}

    def vertex(self, name: str, *, inputs: Sequence[Vertex] = (), key: str = "", group: str = "") -> Vertex:
        del inputs, group
        digest = hashlib.sha256((key or name).encode("utf-8", "surrogatepass")).hexdigest()
        self.told.steps.setdefault(name, False)
        return self._vertices.setdefault(digest, _Vertex(self.told, name, f"sha256:{digest}"))

    def warn(self, warning: Warned) -> None:
        self.told.warnings = sorted({*self.told.warnings, warning.message})


class _Vertex:
    def __init__(self, told: Told, name: str, digest: str) -> None:
        self._told, self._name, self.digest = told, name, digest

    def start(self) -> None:
        pass

    def cached(self) -> None:
        self._told.steps[self._name] = True

    def log(self, stream: int, data: bytes) -> None:
        pass

    def status(self, identifier: str, *, current: int = 0, total: int = 0, done: bool = False) -> None:
        pass

    def done(self, error: str = "") -> None:
        pass
