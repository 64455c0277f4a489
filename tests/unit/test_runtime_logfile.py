"""The json-file writer: what docker writes, byte for byte, at the speed of a disk."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path

import pytest

from onggi.runtime.logfile import PIECE_BYTES, STDERR, STDOUT, Clock, LogFile, escape, split
from onggi.runtime.protocol import LogPlan

TIME = re.compile(rb'"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"')


def logged(path: Path, *pieces: tuple[int, bytes], **options: object) -> bytes:
    log = LogFile(LogPlan(path=str(path), **options))  # type: ignore[arg-type]
    for stream, piece in pieces:
        log.write(stream, piece)
    log.close()
    return TIME.sub(b'"time":"T"', path.read_bytes())


def test_a_line_is_written_as_docker_writes_it(tmp_path: Path) -> None:
    assert logged(tmp_path / "log", (STDOUT, b"hello\n"), (STDERR, b"oops\n")) == (
        b'{"log":"hello\\n","stream":"stdout","time":"T"}\n{"log":"oops\\n","stream":"stderr","time":"T"}\n'
    )


def test_several_lines_of_one_read_become_an_entry_each(tmp_path: Path) -> None:
    lines = logged(tmp_path / "log", (STDOUT, b"a\n\nb\nc")).splitlines()
    assert [json.loads(line)["log"] for line in lines] == ["a\n", "\n", "b\n", "c"]


def test_a_line_waits_for_its_end_over_several_reads(tmp_path: Path) -> None:
    lines = logged(tmp_path / "log", (STDOUT, b"he"), (STDERR, b"x\n"), (STDOUT, b"llo\nend")).splitlines()
    assert [(e["stream"], e["log"]) for e in map(json.loads, lines)] == [
        ("stderr", "x\n"),
        ("stdout", "hello\n"),
        ("stdout", "end"),
    ]


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (b'say "hi"', b'say \\"hi\\"'),
        (b"a\\nb", b"a\\\\nb"),
        (b"tab\tbell\x07\r", b"tab\\u0009bell\\u0007\\r"),
        (b"<a href=x&y>", b"\\u003ca href=x\\u0026y\\u003e"),
        ("옹기 é".encode(), "옹기 é".encode()),
        (b"\xff\xfe", b"\\ufffd\\ufffd"),
        (b"\xed\x95", b"\\ufffd\\ufffd"),
        (b"\xe2\x80\xa8", b"\\u2028"),
        (b"\x7f", b"\x7f"),
        (b"\x00", b"\\u0000"),
    ],
)
def test_characters_are_escaped_as_docker_escapes_them(output: bytes, text: bytes) -> None:
    assert escape(output) == text


def test_any_bytes_come_back_from_json_as_their_text() -> None:
    chance = random.Random(7)
    for _ in range(300):
        output = chance.randbytes(chance.randrange(80)).replace(b"\n", b"")
        decoded = json.loads(b'"' + escape(output) + b'"')
        # Go writes one replacement for each byte that is no character, Python one for each broken sequence.
        assert decoded.replace("\ufffd", "") == output.decode("utf-8", "replace").replace("\ufffd", "")


@pytest.mark.row("K-41")
def test_a_line_of_a_megabyte_is_cut_into_pieces_of_16_kib(tmp_path: Path) -> None:
    lines = logged(tmp_path / "log", *[(STDOUT, b"x" * 65536)] * 16, (STDOUT, b"\nnext\n")).splitlines()
    texts = [json.loads(line)["log"] for line in lines]
    assert [len(text) for text in texts[:64]] == [PIECE_BYTES] * 64
    assert texts[64:] == ["\n", "next\n"]


def test_long_and_short_lines_in_one_read_keep_every_byte() -> None:
    chance = random.Random(3)
    for _ in range(200):
        sizes = [chance.choice((0, 5, 100, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 40000)) for _ in range(4)]
        output = b"".join(b"y" * size + b"\n" for size in sizes)
        blocks = list(split(output))
        assert b"".join(block for block, _ in blocks) == output
        for block, lines in blocks:
            assert lines or len(block) == PIECE_BYTES
            assert all(len(line) <= PIECE_BYTES for line in block.split(b"\n"))


def test_attributes_stand_between_stream_and_time(tmp_path: Path) -> None:
    assert logged(tmp_path / "log", (STDOUT, b"a\n"), attrs={"tag": "web"}) == (
        b'{"log":"a\\n","stream":"stdout","attrs":{"tag":"web"},"time":"T"}\n'
    )


def test_the_time_has_nine_digits_also_when_they_are_zeros() -> None:
    assert Clock().text(1_700_000_000_000_000_000) == b"2023-11-14T22:13:20.000000000Z"


@pytest.mark.row("R-21")
@pytest.mark.parametrize("max_file", [1, 3])
def test_rotation_keeps_whole_entries_in_their_order(tmp_path: Path, max_file: int) -> None:
    path = tmp_path / "log"
    pieces = [(STDOUT, b"".join(b"%06d\n" % n for n in range(begin, begin + 50))) for begin in range(0, 1000, 50)]
    logged(path, *pieces, max_size=4096, max_file=max_file)
    files = [path, *(tmp_path / f"log.{n}" for n in range(1, max_file))]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    numbers = [int(json.loads(line)["log"]) for file in reversed(files) for line in file.read_bytes().splitlines()]
    assert numbers == list(range(1000 - len(numbers), 1000))
    # The entry that passes the limit is a file's last one.
    assert all(4096 <= file.stat().st_size < 4096 + 80 for file in files[1:])


@pytest.mark.row("R-21")
def test_who_holds_the_rotated_file_reads_it_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(LogPlan(path=str(path), max_size=300, max_file=1))
    with path.open("rb") as reader:
        for number in range(20):
            log.write(STDOUT, b"%d\n" % number)
        assert [json.loads(line)["log"] for line in reader] == ["0\n", "1\n", "2\n", "3\n", "4\n"]
    log.close()


def test_a_full_disk_tears_no_entry_and_stops_nobody(tmp_path: Path) -> None:
    log = LogFile(LogPlan(path="/dev/full"))
    log.write(STDOUT, b"lost\n")
    assert log.lost_bytes > 0
    log.close()


def test_a_log_goes_on_after_it_was_cut_from_outside(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(LogPlan(path=str(path)))
    log.write(STDOUT, b"before\n")
    os.truncate(path, 0)
    log.write(STDOUT, b"after\n")
    log.close()
    assert [json.loads(line)["log"] for line in path.read_bytes().splitlines()] == ["after\n"]


@pytest.mark.row("R-14")
def test_a_full_disk_loses_lines_that_are_counted_and_announced_when_there_is_room(tmp_path: Path) -> None:
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = LogFile(LogPlan(path=str(tmp_path / "log")))
    log.write(STDOUT, b"before\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(tmp_path / "log"), limits[1]))
    try:
        log.write(STDOUT, b"one\ntwo\n")
        log.write(STDOUT, b"three\n")
        log.write(STDOUT, b"four\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert log.lost_bytes > 0
    log.write(STDOUT, b"after\n")
    log.close()
    entries = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [entry["log"] for entry in entries] == [
        "before\n",
        "onggi: 4 lines of output could not be written here: File too large\n",
        "after\n",
    ]
    assert entries[1]["stream"] == "stderr"
