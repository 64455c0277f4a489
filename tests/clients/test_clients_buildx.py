"""docker's command line with buildx builds on onggid, through `/grpc` and `/session`."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.buildx import Buildx
from tests.clients.daemon import DOCKER, Daemon, running

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture
def buildx(daemon: Daemon, tmp_path: Path) -> Buildx:
    return Buildx(daemon, tmp_path)


@pytest.mark.row("F-312")
@pytest.mark.row("F-258")
@pytest.mark.row("F-264")
def test_docker_build_with_buildx_makes_an_image_that_runs(buildx: Buildx) -> None:
    buildx.context("FROM busybox\nCOPY f /f\nRUN echo more >> /f\nCMD cat /f\n", f="text\n")
    said = buildx.build("-t", "made")
    assert "naming to docker.io/library/made" in said
    assert buildx.ok("run", "--rm", "--network=none", "made").stdout == "text\nmore\n"


@pytest.mark.row("F-266")
@pytest.mark.row("F-265")
def test_progress_names_the_steps_as_buildkit_does(buildx: Buildx) -> None:
    buildx.context("FROM busybox\nRUN echo to-the-log\n", f="x")
    said = buildx.build()
    for wanted in (
        "[internal] load build definition from Dockerfile",
        "transferring dockerfile:",
        "[internal] load .dockerignore",
        "RUN echo to-the-log",
        " to-the-log",
        "exporting to image",
    ):
        assert wanted in said


@pytest.mark.row("F-176")
@pytest.mark.row("F-305")
def test_a_second_build_is_sent_what_has_changed(buildx: Buildx) -> None:
    place = buildx.context("FROM busybox\nCOPY . /d\n", big="x" * 300_000, small="1")
    first = transferred(buildx.build())
    assert first > 300
    (place / "small").write_text("2")
    assert transferred(buildx.build("-t", "changed")) < 1
    said = buildx.ok("run", "--rm", "--network=none", "changed", "sh", "-c", "wc -c < /d/big; cat /d/small").stdout
    assert said.split() == ["300000", "2"]


def transferred(said: str) -> float:
    """Kilobytes of the build context, as the progress tells them."""
    line = [line for line in said.splitlines() if "transferring context:" in line and line.endswith("done")][-1]
    number = line.split()[-2]
    for unit, factor in (("MB", 1000.0), ("kB", 1.0), ("B", 0.001)):
        if number.endswith(unit):
            return float(number.removesuffix(unit)) * factor
    raise AssertionError(line)


@pytest.mark.row("F-308")
@pytest.mark.row("F-079")
def test_a_client_that_is_interrupted_ends_its_build_at_once(buildx: Buildx) -> None:
    buildx.context("FROM busybox\nRUN echo begun && sleep 987654\n")
    process = subprocess.Popen(
        [DOCKER, "build", "c"], cwd=buildx.directory, env=buildx.environment(), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.rstrip().endswith("begun"):
            break
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode != 0
    while b"sleep\x00987654" in b"".join(commands()):
        assert time.monotonic() - started < 5
        time.sleep(0.05)


def commands() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue


@pytest.mark.row("F-258")
def test_an_upgrade_to_anything_but_h2c_is_refused(daemon: Daemon) -> None:
    import socket

    for path in ("/grpc", "/session", "/v1.47/grpc"):
        for upgrade, words in (
            ("", b"no upgrade proto in request"),
            ("Upgrade: tcp\r\n", b"protocol tcp not supported"),
        ):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(5)
                sock.connect(str(daemon.socket))
                head = f"POST {path} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\n{upgrade}\r\n"
                sock.sendall(head.encode())
                answer = sock.recv(4096)
            assert answer.startswith(b"HTTP/1.1 400")
            assert words in answer
