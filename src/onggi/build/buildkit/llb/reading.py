"""A client's graph: its operations by their digests, with the names and places that people are told. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from onggi.build.buildkit.definitions import operations
from onggi.build.buildkit.llb.capabilities import SUPPORTED
from onggi.build.buildkit.pb import ops_pb2
from onggi.build.buildkit.rpc import Code, RpcError
from onggi.build.vertices import Location, SourceFile
from onggi.oci.digest import Digest, sha256_of

_OPERATIONS_LIMIT: Final = 100_000
_CUSTOM_NAME: Final = "llb.customname"


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. `key` is its bytes without its inputs, which differ from graph to graph for the same work."""

    digest: Digest
    op: ops_pb2.Op
    key: bytes
    metadata: ops_pb2.OpMetadata
    name: str
    location: Location | None

    @property
    def kind(self) -> str:
        return self.op.WhichOneof("op") or ""


@dataclass(frozen=True, slots=True)
class Graph:
    """`order` has inputs before what reads them; `target` is the result, None for an empty one."""

    nodes: Mapping[str, Node]
    order: tuple[str, ...]
    target: ops_pb2.Input | None


def read_graph(definition: ops_pb2.Definition) -> Graph:
    """Raises RpcError: for what is no graph, or asks for what can't be done here."""
    parts = operations(definition)
    if len(parts) > _OPERATIONS_LIMIT:
        raise RpcError(Code.INVALID_ARGUMENT, f"the graph has more than {_OPERATIONS_LIMIT} operations")
    if not parts:
        return Graph({}, (), None)
    ops: dict[str, ops_pb2.Op] = {}
    last = ""
    for part in parts:
        last = sha256_of(part)
        ops[last] = _decoded(part)
    end = ops.pop(last)
    if end.WhichOneof("op") or len(end.inputs) > 1:
        raise RpcError(Code.INVALID_ARGUMENT, "invalid LLB definition: its last operation must point at the result")
    order = _order(ops, [each.digest for each in end.inputs])
    nodes: dict[str, Node] = {}
    for digest in order:
        nodes[digest] = _node(digest, ops[digest], definition, nodes)
    return Graph(nodes, order, end.inputs[0] if end.inputs else None)


def _decoded(part: bytes) -> ops_pb2.Op:
    try:
        return ops_pb2.Op.FromString(part)
    except DecodeError as error:
        raise RpcError(Code.INVALID_ARGUMENT, f"failed to parse llb proto op: {error}") from error


def _order(ops: Mapping[str, ops_pb2.Op], wanted: list[str]) -> tuple[str, ...]:
    """What is needed, inputs first. A digest can't be part of what it is the digest of: there are no circles."""
    found: dict[str, None] = {}
    waiting = [(digest, False) for digest in reversed(wanted)]
    while waiting:
        digest, is_done = waiting.pop()
        if digest in found:
            continue
        op = ops.get(digest)
        if op is None:
            raise RpcError(Code.INVALID_ARGUMENT, f"invalid missing input digest {digest}")
        if is_done:
            found[digest] = None
            continue
        waiting.append((digest, True))
        waiting += [(each.digest, False) for each in op.inputs if each.digest not in found]
    return tuple(found)


def _node(digest: str, op: ops_pb2.Op, definition: ops_pb2.Definition, nodes: Mapping[str, Node]) -> Node:
    metadata = definition.metadata.get(digest, ops_pb2.OpMetadata())
    for capability, is_needed in metadata.caps.items():
        if is_needed and capability not in SUPPORTED:
            raise RpcError(Code.UNIMPLEMENTED, f"unknown API capability {capability}")
    if not op.WhichOneof("op"):
        raise RpcError(Code.UNIMPLEMENTED, f"operation {digest} is of a kind that is not known here")
    bare = ops_pb2.Op()
    bare.CopyFrom(op)
    bare.ClearField("inputs")
    bare.ClearField("constraints")
    if op.HasField("exec"):
        # Of the machine or the moment, not of the step.
        bare.exec.meta.ClearField("proxy_env")
    key = bare.SerializeToString(deterministic=True)
    name = metadata.description.get(_CUSTOM_NAME) or _name(op, nodes)
    return Node(Digest(digest), op, key, metadata, name, _location(digest, definition.Source))


def _name(op: ops_pb2.Op, nodes: Mapping[str, Node]) -> str:
    """As BuildKit names them (solver/llbsolver/vertex.go): people look for these words in logs."""
    match op.WhichOneof("op"):
        case "source":
            return op.source.identifier
        case "exec":
            return " ".join(op.exec.meta.args)
        case "file":
            return ", ".join(_action_name(each) for each in op.file.actions)
        case "merge":
            return f"merge ({', '.join(nodes[each.digest].name for each in op.inputs)})"
        case "diff":
            return f"diff {_side(op, op.diff.lower.input, nodes)} -> {_side(op, op.diff.upper.input, nodes)}"
        case "passthrough":
            return f"passthrough {op.passthrough.id}"
        case kind:
            return str(kind)


def _side(op: ops_pb2.Op, number: int, nodes: Mapping[str, Node]) -> str:
    return f"({nodes[op.inputs[number].digest].name})" if 0 <= number < len(op.inputs) else "scratch"


def _action_name(action: ops_pb2.FileAction) -> str:
    match action.WhichOneof("action"):
        case "copy":
            return f"copy {action.copy.src} {action.copy.dest}"
        case "symlink":
            return f"symlink {action.symlink.newpath} -> {action.symlink.oldpath}"
        case "mkfile":
            return f"mkfile {action.mkfile.path}"
        case "mkdir":
            return f"mkdir {action.mkdir.path}"
        case "rm":
            return f"rm {action.rm.path}"
    raise RpcError(Code.UNIMPLEMENTED, "a file action of a kind that is not known here")


def _location(digest: str, source: ops_pb2.Source) -> Location | None:
    for place in source.locations[digest].locations if digest in source.locations else ():
        if place.ranges and 0 <= place.sourceIndex < len(source.infos):
            info, first = source.infos[place.sourceIndex], place.ranges[0]
            file = SourceFile(info.filename, info.data, info.language)
            return Location(file, first.start.line, max(first.start.line, first.end.line))
    return None
