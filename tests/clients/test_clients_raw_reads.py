"""Logs, top, stats and the WebSocket of attach: what dockerd 28 answered to the same requests."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.daemon import Daemon, running
from tests.clients.rawapi import RawApi

RAW = "application/vnd.docker.raw-stream"
FRAMED = "application/vnd.docker.multiplexed-stream"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture(scope="module")
def api(daemon: Daemon) -> RawApi:
    found = RawApi(daemon.socket)
    logging = {"LogConfig": {"Type": "json-file", "Config": {"labels": "a", "env": "X"}}}
    command = "for i in 1 2 3; do echo out$i; echo err$i >&2; usleep 50000; done"
    found.run("said", "sh", "-c", command, host=logging, Labels={"a": "1"}, Env=["X=y"])
    found.call("POST", "/containers/said/wait")
    return found


def get(api: RawApi, path: str, version: str = "1.51") -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("d", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(api.path)
    try:
        connection.request("GET", f"/v{version}{path}")
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type") or "", answer.read()
    finally:
        connection.close()


def logs(api: RawApi, query: str) -> list[tuple[int, str]]:
    status, _, data = get(api, f"/containers/said/logs?{query}")
    assert status == 200, data
    found = []
    while data:
        size = int.from_bytes(data[4:8], "big")
        found.append((data[0], data[8 : 8 + size].decode().removesuffix("\n")))
        data = data[8 + size :]
    return found


OUT = [(1, f"out{number}") for number in (1, 2, 3)]
ERR = [(2, f"err{number}") for number in (1, 2, 3)]
READS: list[tuple[str, list[tuple[int, str]]]] = [
    ("stdout=1&stderr=1", OUT + ERR),
    ("stdout=1", OUT),
    ("stderr=true", ERR),
    # Lines of both streams count, whichever are shown.
    ("stdout=1&tail=2", OUT[2:]),
    ("stdout=1&stderr=1&tail=0", []),
    ("stdout=1&tail=all", OUT),
    ("stdout=1&tail=abc", OUT),
    ("stdout=1&tail=-1", OUT),
    ("stdout=1&follow=1", OUT),
    ("stderr=1&details=1&tail=1", [(2, "X=y,a=1 err3")]),
    ("stdout=1&since=0&until=0", OUT),
    ("stdout=1&since=5.123456789", OUT),
    ("stdout=1&since=1h", OUT),
    ("stdout=1&since=2020-01-01", OUT),
    ("stdout=1&until=2020-01-01T00:00:00Z", []),
    ("stdout=1&until=1577836800", []),
    ("stdout=1&since=4102444800", []),
]


@pytest.mark.parametrize(("query", "expected"), READS)
@pytest.mark.row("E-005")
def test_logs_are_what_the_query_asks_for(api: RawApi, query: str, expected: list[tuple[int, str]]) -> None:
    assert sorted(logs(api, query)) == expected


@pytest.mark.row("E-005")
def test_times_of_lines_cut_the_log_to_the_nanosecond(api: RawApi) -> None:
    lines = logs(api, "stdout=1&timestamps=1")
    assert all(re.fullmatch(TIME + r" out\d", text) for _, text in lines)
    moments = [text.split()[0] for _, text in lines]
    assert [text.split()[1] for _, text in logs(api, f"stdout=1&timestamps=1&since={moments[1]}")] == ["out2", "out3"]
    assert [text for _, text in logs(api, f"stdout=1&until={moments[1]}")] == ["out1", "out2"]
    [(_, both)] = logs(api, "stderr=1&timestamps=1&details=1&tail=1")
    assert re.fullmatch(TIME + r" X=y,a=1 err3", both)


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/containers/said/logs", 400, "Bad parameters: You must choose at least one stream"),
        ("/containers/said/logs?stdout=0&stderr=0", 400, "Bad parameters: You must choose at least one stream"),
        ("/containers/nope/logs?stdout=1", 404, "No such container: nope"),
        ("/containers/nope/top", 404, "No such container: nope"),
        ("/containers/nope/stats", 404, "No such container: nope"),
        ("/containers/said/stats?stream=1&one-shot=1", 400, "cannot have stream=true and one-shot=true"),
        ("/containers/live/top?ps_args=-o%20comm", 500, "Couldn't find PID field in ps output"),
        ("/containers/live/top?ps_args=bogus-arg", 500, "ps: error: unsupported option (BSD syntax)"),
        ("/containers/live/top?ps_args=-o%20tty=PID,pid", 400, 'specifying "tty=PID,pid" is not allowed'),
    ],
)
@pytest.mark.row("E-004", "E-005", "E-008")
def test_reads_that_cannot_be_are_refused_in_dockers_words(api: RawApi, path: str, status: int, text: str) -> None:
    if "/live/" in path:
        api.run("live", "sleep", "600")
    found = get(api, path)
    assert (found[0], json.loads(found[2])["message"]) == (status, text)


@pytest.mark.row("E-005", "E-237")
def test_the_type_of_logs_tells_whether_there_are_frames(api: RawApi) -> None:
    assert get(api, "/containers/said/logs?stdout=1")[1] == FRAMED
    assert get(api, "/containers/said/logs?stdout=1", "1.41")[1] == RAW
    api.run("term", "echo", "plain", Tty=True)
    api.call("POST", "/containers/term/wait")
    assert get(api, "/containers/term/logs?stdout=1") == (200, RAW, b"plain\r\n")


@pytest.mark.row("E-004")
def test_top_shows_the_containers_processes_as_the_hosts_ps_has_them(api: RawApi) -> None:
    api.run("live", "sh", "-c", "sleep 600; true")
    while "sleep 600" not in [row[-1] for row in api.json("GET", "/containers/live/top")["Processes"]]:
        time.sleep(0.02)
    for arguments, titles in (
        ("", ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]),
        ("aux", ["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"]),
        ("-eo pid,args", ["PID", "COMMAND"]),
    ):
        found = api.json("GET", f"/containers/live/top?ps_args={urllib.parse.quote(arguments)}")
        assert found["Titles"] == titles
        assert sorted(row[-1] for row in found["Processes"]) == ["sh -c sleep 600; true", "sleep 600"]


@pytest.mark.row("E-008", "E-294", "E-295", "E-296", "E-297", "E-299")
def test_stats_have_dockers_shape_with_limits_and_a_filled_precpu(api: RawApi) -> None:
    host = {"Memory": 100 << 20, "PidsLimit": 50, "NanoCpus": 500_000_000}
    identifier = api.run("live", "sh", "-c", "while true; do :; done", host=host)
    began = time.monotonic()
    found: dict[str, Any] = api.json("GET", "/containers/live/stats?stream=0")
    assert 0.8 < time.monotonic() - began < 10
    assert (found["name"], found["id"], found["num_procs"], found["storage_stats"]) == ("/live", identifier, 0, {})
    assert "networks" not in found
    assert found["memory_stats"]["limit"] == 100 << 20
    assert found["pids_stats"] == {"current": 1, "limit": 50}
    now, before = found["cpu_stats"], found["precpu_stats"]
    spent = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    share = spent / (now["system_cpu_usage"] - before["system_cpu_usage"]) * now["online_cpus"]
    assert 0 < share < 1
    assert now["online_cpus"] == os.cpu_count()
    assert set(now["throttling_data"]) == {"periods", "throttled_periods", "throttled_time"}
    lists = set(found["blkio_stats"])
    assert len(lists) == 8
    assert all(name.endswith("_recursive") for name in lists)


@pytest.mark.row("E-008", "E-298")
def test_a_first_look_has_no_precpu_and_a_stopped_container_zeros(api: RawApi) -> None:
    api.run("live", "sleep", "600")
    first = api.json("GET", "/containers/live/stats?stream=0&one-shot=1")
    assert (first["preread"], first["precpu_stats"]["cpu_usage"]["total_usage"]) == ("0001-01-01T00:00:00Z", 0)
    stopped = api.json("GET", "/containers/said/stats?stream=0")
    assert (stopped["memory_stats"], stopped["pids_stats"]) == ({}, {})
    assert set(stopped["blkio_stats"].values()) == {None}
    assert stopped["cpu_stats"]["cpu_usage"]["total_usage"] == 0


def web(api: RawApi, query: str, *messages: bytes, version: str = "1.51") -> tuple[bytes, list[tuple[int, bytes]]]:
    """Status line, and the messages that came back: (opcode, content)."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(api.path)
        sock.sendall(
            f"GET /v{version}/containers/web/attach/ws?{query} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        data = b""
        for message in (b"", *messages):
            if message:
                sock.sendall(bytes((0x82, 0x80 | len(message), 0, 0, 0, 0)) + message)
            sock.settimeout(0.4)
            try:
                while piece := sock.recv(65536):
                    data += piece
            except TimeoutError:
                pass
    head, _, rest = data.partition(b"\r\n\r\n")
    found = []
    while rest:
        found.append((rest[0] & 0x0F, rest[2 : 2 + rest[1]]))
        rest = rest[2 + rest[1] :]
    return head.partition(b"\r\n")[0], found


@pytest.mark.row("E-019")
def test_a_websocket_carries_bytes_without_frames(api: RawApi) -> None:
    api.run("web", "cat", OpenStdin=True)
    switched = b"HTTP/1.1 101 Switching Protocols"
    assert web(api, "stream=1&stdin=1&stdout=1", b"one\n", b"two\n") == (switched, [(2, b"one\n"), (2, b"two\n")])
    # Who doesn't ask for output gets none; before 1.42 everybody got everything, before 1.28 as text.
    assert web(api, "stream=1&stdin=1", b"x\n") == (switched, [])
    assert web(api, "stream=1", b"x\n", version="1.41") == (switched, [(2, b"x\n")])
    assert web(api, "stream=1", b"x\n", version="1.27") == (switched, [(1, b"x\n")])
