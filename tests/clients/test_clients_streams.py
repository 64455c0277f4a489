"""Streams between a client and a container when one side has more to say than the other hears: docker's client and onggi."""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.daemon import DOCKER, Daemon, running

pytestmark = pytest.mark.root
ONGGI = str(Path(sys.executable).parent / "onggi")
BOTH = pytest.mark.parametrize("program", [DOCKER, ONGGI], ids=["docker", "onggi"])
LONG = bytes(8_000_000)
"""More than all buffers between a client and a container hold."""

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


def pipe(daemon: Daemon, program: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [program, "-H", daemon.host, *words], input=LONG, capture_output=True, check=False, timeout=60, env=os.environ | {"DOCKER_CONFIG": str(daemon.root / "config")}
    )  # fmt: skip


@pytest.mark.row("CL-032", "E-239")
@BOTH
def test_a_container_that_does_not_read_its_stdin_ends_with_its_own_status(daemon: Daemon, program: str) -> None:
    done = pipe(daemon, program, "run", "--rm", "-i", "--network", "none", "busybox", "sh", "-c", "echo said; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"said\n", b"")


@pytest.mark.row("CL-020", "E-239")
@BOTH
def test_a_program_that_does_not_read_its_stdin_ends_with_its_own_status(daemon: Daemon, program: str) -> None:
    daemon.say("run", "-d", "--name", "deaf", "--network", "none", "busybox", "sleep", "1000")
    done = pipe(daemon, program, "exec", "-i", "deaf", "sh", "-c", "echo said; exit 3")
    daemon.docker("rm", "-f", "deaf")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"said\n", b"")


@pytest.mark.row("CL-032", "R-20")
@BOTH
def test_a_container_may_say_more_than_it_was_told(daemon: Daemon, program: str) -> None:
    done = pipe(daemon, program, "run", "--rm", "-i", "--network", "none", "busybox", "busybox", "tee", "/dev/stderr")
    assert (done.returncode, done.stdout == LONG, done.stderr == LONG) == (0, True, True)


@pytest.mark.row("CL-133")
def test_dial_stdio_ends_with_a_client_that_leaves_an_answer_unread(daemon: Daemon) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        child = subprocess.Popen([ONGGI, "-H", daemon.host, "system", "dial-stdio"], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)  # fmt: skip
    with ours:
        ours.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        assert select.select([ours], [], [], 20)[0]
    _, said = child.communicate(timeout=20)
    assert said == b""


@pytest.mark.row("E-238", "E-239")
def test_output_comes_after_the_head_has_been_read(daemon: Daemon) -> None:
    """docker-py loses what it reads together with the head, and on a busy machine it reads late."""
    daemon.say("run", "-d", "--name", "early", "--network", "none", "busybox", "sleep", "1000")
    address = daemon.host.removeprefix("unix://")
    asked = http.client.HTTPConnection("d")
    asked.sock = socket.socket(socket.AF_UNIX)
    asked.sock.connect(address)
    asked.request("POST", "/containers/early/exec", '{"Cmd":["echo","x"],"AttachStdout":true}', JSON)
    made = json.loads(asked.getresponse().read())["Id"]
    asked.close()
    with socket.socket(socket.AF_UNIX) as late:
        late.connect(address)
        start = f"POST /exec/{made}/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        late.sendall(start.encode())
        time.sleep(0.3)
        head = late.recv(65536)
        assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
        assert head.endswith(b"\r\n\r\n")
        assert late.recv(65536) == b"\x01\0\0\0\0\0\0\x02x\n"
    daemon.docker("rm", "-f", "early")


@pytest.mark.row("CL-041")
def test_what_is_said_on_both_streams_is_read_in_the_order_it_was_said(daemon: Daemon, tmp_path: Path) -> None:
    words = ["context", "create", "here", "--docker", f"host={daemon.host}"]
    environment = os.environ | {"DOCKER_CONFIG": str(tmp_path)}
    said = subprocess.run(
        [ONGGI, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, env=environment
    )
    assert said.stdout == 'here\nSuccessfully created context "here"\n'
