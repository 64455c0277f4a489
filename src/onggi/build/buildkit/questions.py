"""Questions about a Dockerfile instead of a build of it: `--check`, `--call=outline`, `--call=targets`.

Source: moby buildkit frontend/subrequests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from onggi.build.buildkit.rpc import Code, Detail, RpcError

if TYPE_CHECKING:
    from onggi.build.builder import Builder
    from onggi.build.request import Request
    from onggi.build.vertices import Progress, Vertex, Warned

_VERSION: Final = "1.0.0"
_SUBREQUEST: Final = "github.com/moby/buildkit/errdefs.Subrequest+json"
_DESCRIBE: Final = "frontend.subrequests.describe"
_QUESTIONS: Final = {"frontend.lint": "lint", "frontend.outline": "outline", "frontend.targets": "targets"}
_DESCRIPTIONS: Final = {
    "frontend.lint": "Lint a Dockerfile",
    "frontend.outline": "List all parameters current build target supports",
    "frontend.targets": "List all targets current build supports",
    _DESCRIBE: "List available subrequest types",
}


class _Lint(msgspec.Struct):
    warnings: list[Any] | None = None
    error: Any = msgspec.field(name="buildError", default=None)


async def answer(builder: Builder, request: Request, identifier: str, progress: Progress) -> Mapping[str, bytes]:
    """The metadata that is the answer: `result.json`, which clients lay out themselves, and its version.

    Raises RpcError for a question that isn't known, and what `Builder.examine` raises.
    """
    if identifier == _DESCRIBE:
        return {"result.json": msgspec.json.encode(_described()), "version": _VERSION.encode()}
    what = _QUESTIONS.get(identifier)
    if what is None:
        detail = Detail(_SUBREQUEST, msgspec.json.encode({"name": identifier}))
        raise RpcError(Code.UNIMPLEMENTED, f"unsupported request {identifier}", [detail])
    document = await builder.examine(request, what, _Unwarned(progress))
    found = {"result.json": document, "version": _VERSION.encode()}
    if what == "lint":
        lint = msgspec.json.decode(document, type=_Lint)
        found["result.statuscode"] = b"1" if lint.warnings or lint.error else b"0"
    return found


class _Unwarned:
    """A `Progress` that keeps warnings to itself: they are the answer."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def vertex(self, name: str, *, inputs: Sequence[Vertex] = (), key: str = "", group: str = "") -> Vertex:
        return self._progress.vertex(name, inputs=inputs, key=key, group=group)

    def warn(self, warning: Warned) -> None:
        """Said in the answer."""


def _described() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "version": _VERSION,
            "type": "rpc",
            "description": description,
            "opts": [{"name": "target", "description": "Target build stage"}] if name == "frontend.outline" else [],
            "metadata": [{"name": "result.json"}],
        }
        for name, description in _DESCRIPTIONS.items()
    ]
