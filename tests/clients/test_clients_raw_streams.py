"""Attach and exec as bytes on the socket: each expectation is what dockerd 28 sent to the same script."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.daemon import Daemon, running
from tests.clients.rawapi import RawApi, frame, half_close

RAW = "application/vnd.docker.raw-stream"
FRAMED = "application/vnd.docker.multiplexed-stream"
UPGRADED = "HTTP/1.1 101 UPGRADED"
TAKEN = "HTTP/1.1 200 OK"
SPEAK = ("sh", "-c", "echo out; sleep 0.1; echo err >&2; sleep 0.1; printf end")
SAID = frame(1, b"out\n") + frame(2, b"err\n") + frame(1, b"end")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture
def api(daemon: Daemon) -> RawApi:
    return RawApi(daemon.socket)


def state(api: RawApi, name: str) -> str:
    return str(api.json("GET", f"/containers/{name}/json")["State"]["Status"])


HEADS = [
    (True, "1.51", UPGRADED, FRAMED),
    (True, "1.41", UPGRADED, RAW),
    (False, "1.51", TAKEN, RAW),
    (False, "1.41", TAKEN, RAW),
]


@pytest.mark.parametrize(("upgrade", "version", "line", "kind"), HEADS)
@pytest.mark.row("E-018", "E-236", "E-237", "E-238", "E-242")
def test_an_attach_before_the_start_gets_the_first_byte(
    api: RawApi, upgrade: bool, version: str, line: str, kind: str
) -> None:
    api.make("ca", *SPEAK)
    query = "/containers/ca/attach?stream=1&stdout=1&stderr=1"
    found = api.hijack(query, 0.2, lambda _: api.start("ca"), upgrade=upgrade, version=version)
    assert found == (line, kind, SAID)


@pytest.mark.parametrize(("upgrade", "version", "line", "kind"), HEADS)
@pytest.mark.row("E-050", "E-236", "E-237")
def test_an_execs_output_is_framed_and_its_type_told_by_version(
    api: RawApi, upgrade: bool, version: str, line: str, kind: str
) -> None:
    api.run("ce", "sleep", "600")
    made = api.exec("ce", *SPEAK)
    assert api.hijack(f"/exec/{made}/start", body=b"{}", upgrade=upgrade, version=version) == (line, kind, SAID)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("logs=1&stdout=1&stderr=1", SAID),
        ("logs=1&stdout=1", frame(1, b"out\n") + frame(1, b"end")),
        ("logs=1&stderr=1", frame(2, b"err\n")),
        ("stdout=1", b""),
        ("logs=1", b""),
    ],
)
@pytest.mark.row("E-018")
def test_logs_of_an_attach_are_the_streams_that_are_asked_for(api: RawApi, query: str, said: bytes) -> None:
    api.run("cl", *SPEAK)
    api.call("POST", "/containers/cl/wait")
    assert api.hijack(f"/containers/cl/attach?{query}") == (UPGRADED, FRAMED, said)


@pytest.mark.row("E-203", "E-239")
def test_the_end_of_a_clients_input_is_the_end_of_the_containers_if_it_takes_one(api: RawApi) -> None:
    api.make("cc", "cat", OpenStdin=True, StdinOnce=True)
    query = "/containers/cc/attach?stream=1&stdin=1&stdout=1"
    found = api.hijack(query, 0.2, lambda _: api.start("cc"), 0.2, b"hello\n", half_close)
    assert found[2] == frame(1, b"hello\n")
    assert api.json("POST", "/containers/cc/wait")["StatusCode"] == 0


@pytest.mark.row("E-018", "E-203", "E-239")
def test_without_stdin_once_the_next_client_goes_on(api: RawApi) -> None:
    api.run("cc", "cat", OpenStdin=True)
    query = "/containers/cc/attach?stream=1&stdin=1&stdout=1"
    assert api.hijack(query, 0.2, b"one\n", 0.3, half_close)[2] == frame(1, b"one\n")
    assert state(api, "cc") == "running"
    # With logs=1 what was said before comes first, once.
    assert api.hijack(f"{query}&logs=1", 0.3, b"two\n", 0.3, half_close)[2] == frame(1, b"one\n") + frame(1, b"two\n")


@pytest.mark.row("E-240", "E-243")
def test_a_terminals_client_leaves_with_its_keys(api: RawApi) -> None:
    api.run("ct", "cat", OpenStdin=True, Tty=True)
    query = "/containers/ct/attach?stream=1&stdin=1&stdout=1"
    assert api.hijack(query, 0.2, b"ab", 0.2, b"\x10", 0.2, b"\x11")[1:] == (RAW, b"ab")
    assert api.hijack(f"{query}&detachKeys=x,ctrl-y", 0.2, b"\r", 0.2, b"xa", 0.2, b"x\x19")[2] == b"\r\nab\r\nxa"
    assert state(api, "ct") == "running"


@pytest.mark.row("E-240")
def test_without_a_terminal_the_keys_are_input(api: RawApi) -> None:
    api.run("cc", "cat", OpenStdin=True)
    found = api.hijack("/containers/cc/attach?stream=1&stdin=1&stdout=1", 0.2, b"x\x10\x11\n", 0.3, ends=False)
    assert found[2] == frame(1, b"x\x10\x11\n")


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/containers/cr/attach?stream=1&detachKeys=ctrl-", None, 400, "Invalid detach keys (ctrl-) provided"),
        ("/containers/cr/exec", {"Cmd": ["x"], "DetachKeys": "bad"}, 400, "Invalid escape keys (bad) provided"),
        ("/containers/cr/exec", {"Cmd": []}, 400, "No exec command specified"),
        ("/containers/cr/exec", b"{", 400, "invalid JSON: unexpected EOF"),
        ("/exec/nope/start", {}, 404, "No such exec instance: nope"),
        ("/exec/nope/resize?h=1&w=2", None, 404, "No such exec instance: nope"),
        ("/containers/nope/attach?stream=1", None, 404, "No such container: nope"),
        ("/containers/cr/resize?h=a&w=1", None, 400, 'invalid resize height "a": invalid syntax'),
        ("/containers/cr/resize?h=-1&w=1", None, 400, 'invalid resize height "-1": value out of range'),
        ("/containers/cr/resize?h=1", None, 400, 'invalid resize width "": invalid syntax'),
    ],
)
@pytest.mark.row("E-009", "E-049", "E-051", "E-240")
def test_a_stream_that_cannot_be_is_refused_in_dockers_words(
    api: RawApi, path: str, body: Any, status: int, text: str
) -> None:
    api.run("cr", "sleep", "600")
    found = api.call("POST", path, body)
    assert (found[0], json.loads(found[1])["message"]) == (status, text)


@pytest.mark.row("E-009", "E-051", "E-243")
def test_a_terminal_has_its_size_before_the_program_reads_it_and_changes_it(api: RawApi) -> None:
    api.make("ct", "sh", "-c", "stty size; read x; stty size", OpenStdin=True, Tty=True, host={"ConsoleSize": [33, 99]})
    query = "/containers/ct/attach?stream=1&stdin=1&stdout=1"
    found = api.hijack(
        query, 0.2, lambda _: api.start("ct"), 0.5, lambda _: api.call("POST", "/containers/ct/resize?h=20&w=70"), b"\r"
    )
    assert found[2] == b"33 99\r\n\r\n20 70\r\n"
    api.run("ce", "sleep", "600")
    made = api.exec("ce", "stty", "size", Tty=True)
    assert api.hijack(f"/exec/{made}/start", body=b'{"Tty":true,"ConsoleSize":[41,87]}')[2] == b"41 87\r\n"


@pytest.mark.row("E-050", "E-261")
def test_a_program_that_is_not_there_is_told_in_the_stream_and_by_its_code(api: RawApi) -> None:
    api.run("ce", "sleep", "600")
    for command, code, text in (
        (("nosuch",), 127, "executable file not found in $PATH"),
        (("/etc",), 126, "is a directory"),
    ):
        made = api.exec("ce", *command)
        line, _, said = api.hijack(f"/exec/{made}/start", body=b"{}")
        assert line == UPGRADED
        assert said[0] == 1
        assert text in said[8:].decode()
        assert said.endswith(b"\r\n")
        assert api.json("GET", f"/exec/{made}/json")["ExitCode"] == code
        detached = api.exec("ce", *command)
        status, answer = api.call("POST", f"/exec/{detached}/start", {"Detach": True})
        assert status == 400
        assert text in answer


@pytest.mark.row("E-050")
def test_streams_that_are_not_attached_are_not_sent(api: RawApi) -> None:
    api.run("ce", "sleep", "600")
    made = api.exec("ce", *SPEAK, AttachStdout=False)
    assert api.hijack(f"/exec/{made}/start", body=b"{}")[2] == frame(2, b"err\n")
    made = api.exec("ce", *SPEAK, AttachStdout=False, AttachStderr=False)
    assert api.hijack(f"/exec/{made}/start", body=b"{}")[2] == b""
    assert api.json("GET", f"/exec/{made}/json")["ExitCode"] == 0


@pytest.mark.row("E-050", "E-052", "E-239")
def test_the_end_of_an_execs_input_reaches_it(api: RawApi) -> None:
    api.run("ce", "sleep", "600")
    made = api.exec("ce", "cat", AttachStdin=True)
    assert api.hijack(f"/exec/{made}/start", 0.2, b"hi\n", half_close, body=b"{}")[2] == frame(1, b"hi\n")
    found = api.json("GET", f"/exec/{made}/json")
    assert (found["ExitCode"], found["Running"], found["OpenStdin"], found["CanRemove"]) == (0, False, True, False)


@pytest.mark.row("E-241", "R-20", "S-67", "K-40")
def test_a_client_that_does_not_read_loses_itself_and_no_line(api: RawApi) -> None:
    """512 KiB fit into the buffers of socket and shim; ten times that don't, and the container ends all the same."""
    import socket

    api.make("slow", "sh", "-c", "seq 1 800000")
    with socket.socket(socket.AF_UNIX) as sleeper:
        sleeper.connect(api.path)
        sleeper.sendall(
            b"POST /v1.51/containers/slow/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\n"
            b"Upgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        )
        time.sleep(0.2)
        began = time.monotonic()
        api.start("slow")
        assert api.json("POST", "/containers/slow/wait")["StatusCode"] == 0
        assert time.monotonic() - began < 25
    found = api.hijack("/containers/slow/attach?logs=1&stdout=1")[2]
    assert found.count(b"\n") == 800_000
    assert found.endswith(b"800000\n")


@pytest.mark.row("E-050")
def test_an_exec_goes_on_when_its_client_goes_away(api: RawApi) -> None:
    api.run("ce", "sleep", "600")
    made = api.exec("ce", "sh", "-c", "sleep 0.5; echo done > /tmp/done")
    api.hijack(f"/exec/{made}/start", 0.1, body=b"{}", ends=False)
    for _ in range(100):
        found = api.json("GET", f"/exec/{made}/json")
        if not found["Running"]:
            break
        time.sleep(0.05)
    assert found["ExitCode"] == 0
    assert api.call("HEAD", "/containers/ce/archive?path=/tmp/done")[0] == 200
