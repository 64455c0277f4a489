"""Attached clients: frames, input, and what happens to a slow one."""

from __future__ import annotations

import os
import select
import socket
import struct

import pytest

from onggi.runtime.protocol import AttachPlan
from onggi.runtime.streams import STDERR, STDOUT, WAITING_LIMIT, Client, Input


def pair(*, tty: bool = False, **plan: object) -> tuple[socket.socket, Client]:
    ours, theirs = socket.socketpair()
    return ours, Client(theirs, AttachPlan(**plan), tty=tty)  # type: ignore[arg-type]


def frames(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        stream, size = struct.unpack(">BxxxI", data[:8])
        assert len(data) >= 8 + size, "a torn frame"
        found.append((stream, data[8 : 8 + size]))
        data = data[8 + size :]
    return found


def read_all(sock: socket.socket, client: Client) -> bytes:
    data = bytearray()
    sock.setblocking(False)
    while not client.closed or select.select([sock], [], [], 0)[0]:
        client.flush(0)
        try:
            piece = sock.recv(1 << 20)
        except BlockingIOError:
            break
        if not piece:
            break
        data += piece
    return bytes(data)


def test_output_comes_in_frames_of_its_stream() -> None:
    ours, client = pair()
    client.output(STDOUT, b"out", 0)
    client.output(STDERR, b"err", 0)
    client.end(0)
    assert frames(read_all(ours, client)) == [(STDOUT, b"out"), (STDERR, b"err")]
    ours.close()


def test_a_terminal_has_no_frames() -> None:
    ours, client = pair(tty=True)
    client.output(STDOUT, b"raw", 0)
    client.end(0)
    assert read_all(ours, client) == b"raw"
    ours.close()


def test_a_client_gets_only_the_streams_it_asked_for() -> None:
    ours, client = pair(stdout=False, stderr=True)
    client.output(STDOUT, b"out", 0)
    client.output(STDERR, b"err", 0)
    client.end(0)
    assert frames(read_all(ours, client)) == [(STDERR, b"err")]
    ours.close()


def fill(client: Client) -> int:
    pieces = 0
    while not client.full:
        client.output(STDOUT, b"z" * 65536, 100.0)
        pieces += 1
    return pieces


def test_a_slow_reader_that_reads_at_last_gets_everything() -> None:
    ours, client = pair()
    pieces = fill(client)
    got = bytearray()
    while client.waiting:
        got += ours.recv(1 << 20)
        client.flush(101.0)
    assert client.deadline() is None
    client.end(102.0)
    while piece := ours.recv(1 << 20):
        got += piece
    assert frames(bytes(got)) == [(STDOUT, b"z" * 65536)] * pieces
    ours.close()


@pytest.mark.row("R-20")
def test_a_reader_that_takes_nothing_is_cut_at_a_frame_and_told() -> None:
    ours, client = pair(patience_s=5.0)
    fill(client)
    assert client.deadline() == 105.0
    client.cut()
    assert not client.full
    client.output(STDOUT, b"later", 106.0)
    got = frames(read_all(ours, client))
    assert got[-1][0] == STDERR
    assert b"too slowly" in got[-1][1]
    assert client.closed
    ours.close()


@pytest.mark.row("R-20")
def test_what_waits_for_one_client_is_bounded() -> None:
    ours, client = pair()
    fill(client)
    assert client._waiting_bytes <= WAITING_LIMIT + 65536 + 8
    client.close()
    ours.close()


def test_progress_renews_the_patience_with_a_reader() -> None:
    ours, client = pair(patience_s=5.0)
    fill(client)
    ours.recv(400_000)
    client.flush(104.0)
    while not client.full:
        client.output(STDOUT, b"z" * 65536, 104.5)
    assert client.deadline() == 109.0
    client.close()
    ours.close()


def test_a_client_that_went_away_is_noticed_at_the_next_output() -> None:
    ours, client = pair()
    ours.close()
    client.output(STDOUT, b"x", 0)
    assert client.closed


def test_input_waits_when_the_container_does_not_read() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    source = Input(writer, tty=False)
    source.write(b"i" * 200_000)
    assert source.waiting
    source.end()
    got = bytearray()
    while source.waiting:
        got += os.read(reader, 65536)
        source.flush()
    while piece := os.read(reader, 65536):
        got += piece
    assert bytes(got) == b"i" * 200_000
    assert not source.open
    os.close(reader)


def test_input_to_a_closed_stdin_is_dropped() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.close(reader)
    source = Input(writer, tty=False)
    source.write(b"nobody")
    assert not source.open
    source.write(b"nobody")
