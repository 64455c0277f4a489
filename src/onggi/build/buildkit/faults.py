"""What goes wrong in a build, with what clients print of it: the Dockerfile's lines, the step."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from onggi.build.buildkit.rpc import Code, Detail, RpcError
from onggi.build.vertices import Location
from onggi.errors import OnggiError

_SOURCE: Final = "github.com/moby/buildkit/errdefs.Source+json"
_VERTEX: Final = "github.com/moby/buildkit/errdefs.Vertex+json"


@contextmanager
def told() -> Iterator[None]:
    """Errors of a build become errors of a call, with details in the types of BuildKit's solver/errdefs (as JSON)."""
    try:
        yield
    except RpcError:
        raise
    except OnggiError as error:
        details = []
        location = getattr(error, "location", None)
        if isinstance(location, Location):
            details.append(Detail(_SOURCE, _source(location)))
        digest = getattr(getattr(error, "vertex", None), "digest", "")
        if digest:
            details.append(Detail(_VERTEX, msgspec.json.encode({"digest": digest})))
        raise RpcError(Code.UNKNOWN, str(error), details) from error


def _source(location: Location) -> bytes:
    file = location.file
    position = {"start": {"line": location.first}, "end": {"line": max(location.first, location.last)}}
    info = {"filename": file.name, "data": base64.b64encode(file.data).decode(), "language": file.language}
    return msgspec.json.encode({"info": info, "ranges": [position]})
