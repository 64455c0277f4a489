"""Results that clients hand on from one build to the next (bake's `contexts = {x = "target:y"}`), as graphs of one operation.

A client asks for a result's definition, and gives it back as an input of another build. It never looks inside; what it gets here is
a source that only this engine understands. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError

from onggi.build.buildkit.pb import ops_pb2
from onggi.oci.digest import sha256_of

SCHEME: Final = "onggi-result://"


def definition_of(identifier: str) -> ops_pb2.Definition:
    """A graph that means the result `identifier`: its source, and the end that points at it, as BuildKit's clients expect."""
    source = ops_pb2.Op(source=ops_pb2.SourceOp(identifier=SCHEME + identifier)).SerializeToString()
    end = ops_pb2.Op(inputs=[ops_pb2.Input(digest=sha256_of(source))]).SerializeToString()
    made = ops_pb2.Definition()
    operations(made).extend([source, end])
    made.metadata[sha256_of(source)].ignore_cache = False  # clients take a graph without metadata for none
    return made


def operations(definition: ops_pb2.Definition) -> list[bytes]:
    """The field `def`, whose name is a keyword of Python."""
    found: list[bytes] = getattr(definition, "def")
    return found


def result_in(definition: ops_pb2.Definition) -> str:
    """The result that a graph of ours means; "" for any other graph, also for one that goes on from such a result."""
    parts = _decoded(operations(definition))
    if len(parts) == 2 and parts[0].source.identifier.startswith(SCHEME):
        return parts[0].source.identifier.removeprefix(SCHEME)
    return ""


def _decoded(parts: Sequence[bytes]) -> list[ops_pb2.Op]:
    try:
        return [ops_pb2.Op.FromString(part) for part in parts]
    except DecodeError:
        return []
