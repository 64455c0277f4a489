"""What a client may send on BuildKit's connections: frames, files of a directory. Whatever it is, the engine lives."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onggi.build.buildkit.filesync import Receiver
from onggi.build.buildkit.frames import PREFACE, frame
from onggi.build.buildkit.http2 import Connection
from onggi.build.buildkit.llb.reading import read_graph
from onggi.build.buildkit.mirrors import Mirrors
from onggi.build.buildkit.pb import fsutil_pb2, ops_pb2
from onggi.build.buildkit.rpc import RpcError
from onggi.build.context import Context
from onggi.errors import Corrupt
from onggi.oci.digest import sha256_of

Packet, Stat = fsutil_pb2.Packet, fsutil_pb2.Stat
NAMES = st.sampled_from(
    ["a", "b", "a/b", "a/b/c", "..", "a/../../x", "/etc/passwd", "", ".", "a//b", "ü", "a/" * 600 + "x"]
)
MODES = st.sampled_from([0o644, 0o4755, 1 << 31 | 0o755, 1 << 27 | 0o777, 1 << 25, 1 << 26, 1 << 24])


class Sink(asyncio.Transport):
    """Takes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def operation(inputs: list[int], index: int, kind: int, data: bytes) -> tuple[list[int], ops_pb2.Op]:
    """Inputs by how far back they are."""
    ops = [
        ops_pb2.Op(),
        ops_pb2.Op(source=ops_pb2.SourceOp(identifier=data.decode("latin-1"))),
        ops_pb2.Op(merge=ops_pb2.MergeOp(inputs=[ops_pb2.MergeInput(input=index)])),
        ops_pb2.Op(file=ops_pb2.FileOp(actions=[ops_pb2.FileAction(input=index, output=index)])),
        ops_pb2.Op(diff=ops_pb2.DiffOp(lower=ops_pb2.LowerDiffInput(input=index))),
        ops_pb2.Op(build=ops_pb2.BuildOp(builder=index)),
    ]
    return inputs, ops[kind]


@pytest.mark.row("F-7", "F-284")
@given(
    st.lists(
        st.builds(
            operation,
            st.lists(st.integers(1, 3), max_size=3),
            st.integers(-2, 3),
            st.integers(0, 5),
            st.binary(max_size=20),
        ),
        max_size=6,
    ),
    st.binary(max_size=30),
)
@settings(max_examples=300, deadline=None)
def test_any_graph_is_read_or_refused(operations: list[tuple[list[int], ops_pb2.Op]], garbage: bytes) -> None:
    definition = ops_pb2.Definition()
    parts: list[bytes] = [garbage] if garbage else []
    for inputs, op in operations:
        for back in inputs:
            known = parts[-back] if back <= len(parts) else b"unknown"
            op.inputs.add(digest=sha256_of(known))
        parts.append(op.SerializeToString())
    getattr(definition, "def").extend(parts)
    try:
        graph = read_graph(definition)
    except RpcError:
        return
    seen: set[str] = set()
    for digest in graph.order:
        assert {each.digest for each in graph.nodes[digest].op.inputs} <= seen
        seen.add(digest)


@pytest.mark.row("F-7")
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(frame, st.integers(0, 12), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=40)),
        ),
        max_size=12,
    )
)
@settings(max_examples=300, deadline=None)
def test_any_frames_leave_a_connection_that_is_open_or_closed(pieces: list[bytes]) -> None:
    async def feed() -> None:
        connection, sink = Connection(lambda stream: None), Sink()
        connection.adopt(sink)
        for piece in [PREFACE, *pieces]:
            if not sink.closed:
                connection.data_received(piece)
        connection.connection_lost(None)
        assert connection.lost.done()

    asyncio.run(feed())


class Told:
    """A call that a client answers with these packets."""

    def __init__(self, packets: Sequence[bytes]) -> None:
        self.stream = self
        self._packets = list(packets)
        self.sent: list[bytes] = []

    async def batch(self) -> list[bytes]:
        batch, self._packets = self._packets[:3], self._packets[3:]
        return batch

    async def send(self, message: fsutil_pb2.Packet) -> None:
        self.sent.append(message.SerializeToString())

    def end(self) -> None:
        pass

    async def check(self) -> None:
        pass


STATS = st.builds(
    Stat, path=NAMES, mode=MODES, size=st.integers(-1, 1 << 50), modTime=st.integers(0, 9), linkname=NAMES
)
PACKETS = st.one_of(
    st.builds(lambda stat: Packet(type=0, stat=stat).SerializeToString(), STATS),
    st.builds(
        lambda number, data: Packet(type=2, ID=number, data=data).SerializeToString(),
        st.integers(0, 4),
        st.binary(max_size=9),
    ),
    st.sampled_from(
        [Packet(type=0).SerializeToString(), Packet(type=3).SerializeToString(), Packet(type=4).SerializeToString()]
    ),
    st.binary(max_size=20),
)


@pytest.mark.row("F-7")
@pytest.mark.row("F-178")
@given(st.lists(PACKETS, max_size=20))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_files_are_a_context_without_ways_out_or_a_refusal(tmp_path: Path, packets: list[bytes]) -> None:
    mirrors = Mirrors(str(tmp_path / "sync"))
    mirror = mirrors.take("key", "context")

    async def receive() -> None:
        try:
            entries = await Receiver(Told(packets), mirror, lambda size: None).run()  # type: ignore[arg-type]
            for entry in entries:
                parts = entry.path.split("/")
                assert ".." not in parts
                assert not entry.path.startswith("/")
            Context(entries, -1)
        except (Corrupt, RpcError):
            pass

    asyncio.run(receive())
    mirror.close()
    mirrors.close()
    assert mirror.spool == -1
