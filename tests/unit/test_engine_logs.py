"""Reading json-file logs: what `docker logs` gives, from torn and rotated files too."""

from __future__ import annotations

import asyncio
import json
import os
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.engine.logfiles import LogWatch, read_log
from onggi.engine.logreader import tail_offset
from onggi.engine.logs import LogOptions, Renderer, full_time, time_text
from onggi.runtime.logfile import STDERR, STDOUT, LogFile
from onggi.runtime.protocol import LogPlan


def line(text: str, stream: str = "stdout", time: str = "2026-01-02T03:04:05.000000006Z", **more: object) -> bytes:
    return json.dumps({"log": text, "stream": stream, "time": time, **more}, separators=(",", ":")).encode() + b"\n"


def frames(data: bytes) -> list[tuple[int, str]]:
    found = []
    while data:
        stream, size = struct.unpack(">BxxxI", data[:8])
        found.append((stream, data[8 : 8 + size].decode()))
        data = data[8 + size :]
    return found


def read(path: Path, options: LogOptions, *, tty: bool = True) -> str:
    async def whole() -> bytes:
        watch = LogWatch()
        try:
            pieces = [piece async for piece in read_log(str(path), options, tty=tty, watch=watch, stopped=None)]
        finally:
            watch.close()
        return b"".join(pieces)

    return asyncio.run(whole()).decode()


def test_each_entry_is_a_frame_of_its_stream() -> None:
    lines = line("out\n") + line("err\n", "stderr")
    assert frames(Renderer(LogOptions(), tty=False).render(lines)) == [(1, "out\n"), (2, "err\n")]


def test_a_stream_that_is_not_asked_for_is_left_out() -> None:
    lines = line("out\n") + line("err\n", "stderr")
    assert frames(Renderer(LogOptions(stdout=False), tty=False).render(lines)) == [(2, "err\n")]
    assert Renderer(LogOptions(stderr=False), tty=True).render(lines) == b"out\n"


def test_times_have_nine_digits_whatever_the_writer_did() -> None:
    renderer = Renderer(LogOptions(timestamps=True), tty=True)
    assert renderer.render(line("x\n", time="2026-01-02T03:04:05.12Z")) == b"2026-01-02T03:04:05.120000000Z x\n"
    assert full_time("2026-01-02T03:04:05Z") == "2026-01-02T03:04:05.000000000Z"
    assert full_time("2026-01-02T05:04:05.5+02:00") == "2026-01-02T03:04:05.500000000Z"


def test_details_come_between_time_and_text() -> None:
    renderer = Renderer(LogOptions(details=True, timestamps=True), tty=True)
    lines = line("x\n", attrs={"tag": "a b", "com.x": "1"})
    assert renderer.render(lines) == b"2026-01-02T03:04:05.000000006Z com.x=1,tag=a+b x\n"


def test_since_and_until_are_kept_to_the_nanosecond() -> None:
    lines = b"".join(line(f"{n}\n", time=time_text(1_700_000_000_000_000_000 + n)) for n in range(5))
    options = LogOptions(since_ns=1_700_000_000_000_000_001, until_ns=1_700_000_000_000_000_003)
    assert Renderer(options, tty=True).render(lines) == b"1\n2\n3\n"


@pytest.mark.row("R-22")
def test_a_line_torn_at_any_byte_costs_only_itself() -> None:
    whole, torn = line("first\n"), line('tor"n\n')
    for cut in range(len(torn)):
        for gap in (b"", b"\n", b"\x00\x00\n"):
            text = Renderer(LogOptions(), tty=True).render(whole + torn[:cut] + gap + line("last\n")).decode()
            assert text.startswith("first\n")
            assert text.endswith("last\n")


@given(st.binary(max_size=400))
@pytest.mark.row("F-10")
def test_any_bytes_are_read_without_an_error(content: bytes) -> None:
    assert Renderer(LogOptions(), tty=True).render(line("a\n") + content + b"\n" + line("b\n")).endswith(b"b\n")


@pytest.mark.parametrize("tail", [0, 1, 7, 999, 1000, 1001, 5000])
def test_tail_gives_the_last_lines_of_all_files(tmp_path: Path, tail: int) -> None:
    path = tmp_path / "log"
    log = LogFile(LogPlan(path=str(path), max_size=30_000, max_file=10))
    for number in range(1000):
        log.write(STDOUT if number % 3 else STDERR, b"%d\n" % number)
    log.close()
    assert (tmp_path / "log.1").exists()
    expected = "".join(f"{number}\n" for number in range(1000)[max(0, 1000 - tail) :] if tail)
    assert read(path, LogOptions(tail=tail)) == expected


def test_tail_reads_no_more_than_it_must(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 50_000_000 + b"\n" + line("last\n"))
    fd = os.open(path, os.O_RDONLY)
    before = Path("/proc/self/io").read_text().split()[1]
    assert tail_offset(fd, 1) == (1, 50_000_001)
    assert int(Path("/proc/self/io").read_text().split()[1]) - int(before) < 1_000_000
    os.close(fd)


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "none", LogOptions()) == ""


Writer = Callable[[LogFile], Coroutine[None, None, None]]


def follow(path: Path, plan: LogPlan, write: Writer, options: LogOptions | None = None) -> str:
    async def whole() -> bytes:
        watch = LogWatch()
        stopped: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        log = LogFile(plan)
        got = bytearray()

        async def reader() -> None:
            wanted = options or LogOptions(follow=True)
            async for piece in read_log(str(path), wanted, tty=True, watch=watch, stopped=stopped):
                got.extend(piece)

        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(reader())
            await write(log)
            log.close()
            stopped.set_result(None)
        watch.close()
        return bytes(got)

    return asyncio.run(whole()).decode()


@pytest.mark.row("R-21")
@pytest.mark.parametrize("max_file", [1, 2, 5])
def test_who_follows_gets_each_line_once_across_rotations(tmp_path: Path, max_file: int) -> None:
    path = tmp_path / "log"

    async def write(log: LogFile) -> None:
        for number in range(600):
            log.write(STDOUT, b"%d\n" % number)
            await asyncio.sleep(0)

    # Files of some 10 lines: with max_file=1 the reader must keep up with each, which the loop's turns give it.
    plan = LogPlan(path=str(path), max_size=4000, max_file=max_file)
    assert follow(path, plan, write) == "".join(f"{number}\n" for number in range(600))


def test_what_is_written_right_before_the_stop_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "log"

    async def write(log: LogFile) -> None:
        await asyncio.sleep(0.05)
        log.write(STDOUT, b"last words")

    assert follow(path, LogPlan(path=str(path)), write) == "last words"


@pytest.mark.row("R-21")
def test_who_follows_goes_on_after_the_file_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"

    async def write(log: LogFile) -> None:
        log.write(STDOUT, b"a long line before\n")
        await asyncio.sleep(0.05)
        os.truncate(path, 0)
        await asyncio.sleep(0.05)
        log.write(STDOUT, b"after\n")
        await asyncio.sleep(0.05)

    assert follow(path, LogPlan(path=str(path)), write) == "a long line before\nafter\n"


def test_follow_with_tail_begins_at_the_tail(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(line("1\n") + line("2\n"))

    async def write(log: LogFile) -> None:
        await asyncio.sleep(0.02)
        log.write(STDOUT, b"3\n")

    assert follow(path, LogPlan(path=str(path)), write, LogOptions(follow=True, tail=1)) == "2\n3\n"
