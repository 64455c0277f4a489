"""Messages between engine, launcher and shim: whole, with their descriptors, or refused without a leak."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.runtime import protocol
from onggi.runtime.example import example_spec
from onggi.runtime.plan import InitPlan, RootfsPlan
from onggi.runtime.protocol import ProtocolError, StartContainer

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield ours, theirs
    ours.close()
    theirs.close()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def start(seccomp: bytes = b"") -> StartContainer:
    plan = InitPlan(spec=example_spec(), rootfs=RootfsPlan(path="/"), seccomp=seccomp)
    return StartContainer("id", plan, "/onggi/id")


def test_a_request_arrives_as_it_was_sent(pair: Pair) -> None:
    protocol.send(pair[0], start())
    received = protocol.receive(pair[1])
    assert received is not None
    assert protocol.decode_launcher_request(received[0]) == start()


def test_descriptors_arrive_and_are_closed_at_exec(pair: Pair) -> None:
    reader, writer = os.pipe()
    protocol.send(pair[0], protocol.Forget(), [reader, writer])
    received = protocol.receive(pair[1])
    assert received is not None
    assert [os.get_inheritable(fd) for fd in received[1]] == [False, False]
    os.write(received[1][1], b"x")
    assert os.read(reader, 1) == b"x"
    protocol.close_all([reader, writer, *received[1]])


def test_a_long_message_goes_through_sealed_memory(pair: Pair) -> None:
    request = start(seccomp=os.urandom(300_000))
    before = open_descriptors()
    protocol.send(pair[0], request, [0])
    received = protocol.receive(pair[1])
    assert received is not None
    assert protocol.decode_launcher_request(received[0]) == request
    protocol.close_all(received[1])
    assert open_descriptors() == before


def test_the_end_is_told(pair: Pair) -> None:
    pair[0].close()
    assert protocol.receive(pair[1]) is None


def raw(sock: socket.socket, payload: bytes, fds: list[int]) -> None:
    sock.sendmsg([payload], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


@pytest.mark.row("F-8")
def test_memory_that_can_still_change_is_refused_and_nothing_stays_open(pair: Pair) -> None:
    memfd = os.memfd_create("unsealed")
    os.write(memfd, b"\x80")
    before = open_descriptors()
    raw(pair[0], b"\x00memfd", [memfd])
    with pytest.raises(ProtocolError, match="not sealed"):
        protocol.receive(pair[1])
    assert open_descriptors() == before
    os.close(memfd)


@pytest.mark.row("F-8")
@pytest.mark.parametrize("count", [protocol.DESCRIPTOR_LIMIT + 1, 200])
def test_more_descriptors_than_allowed_are_refused_and_nothing_stays_open(pair: Pair, count: int) -> None:
    before = open_descriptors()
    raw(pair[0], b"\x80", [0] * count)
    with pytest.raises(ProtocolError):
        protocol.receive(pair[1])
    assert open_descriptors() == before


@pytest.mark.row("F-8")
def test_a_message_that_is_too_long_is_refused(pair: Pair) -> None:
    pair[0].send(b"x" * (protocol.INLINE_BYTES + 2))
    with pytest.raises(ProtocolError):
        protocol.receive(pair[1])


@pytest.mark.row("F-8")
@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes_are_a_message_or_an_error_of_the_decoder(payload: bytes) -> None:
    for decode in (protocol.decode_launcher_request, protocol.decode_shim_request, protocol.decode_shim_report):
        try:
            decode(payload)
        except protocol.DecodeError:
            continue


@pytest.mark.row("R-09")
def test_fields_of_a_newer_version_are_passed_over() -> None:
    newer = msgspec.msgpack.encode({"t": 1, "type": "resize", "request": 3, "rows": 24, "cols": 80, "depth": 32})
    assert protocol.decode_shim_request(newer) == protocol.Resize(3, 24, 80)


@pytest.mark.row("R-09")
def test_the_words_of_the_protocol_stay_as_they_are() -> None:
    """Shims of older releases are still running: a change here must be an addition."""
    assert protocol.encode(protocol.Forget()) == b"\x81\xa4type\xa6forget"
    assert msgspec.msgpack.decode(protocol.encode(protocol.ExitRecord(3, 5, 9, True, "why"))) == {
        "type": "exited",
        "exit_code": 3,
        "finished_at_ns": 5,
        "signal": 9,
        "oom_killed": True,
        "reason": "why",
    }
