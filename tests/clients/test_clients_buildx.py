"""docker's command line with buildx builds on onggid, through `/grpc` and `/session`."""

from __future__ import annotations

import json
import os
import re
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
    number, unit = re.findall(r"transferring context: ([\d.]+)(MB|kB|B)", said)[-1]
    return float(number) * {"MB": 1000.0, "kB": 1.0, "B": 0.001}[unit]


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


@pytest.mark.row("F-258", "E-108", "E-111")
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


@pytest.mark.row("F-308")
def test_a_client_that_is_killed_leaves_no_process_and_no_lock_on_its_directory(buildx: Buildx, daemon: Daemon) -> None:
    buildx.context("FROM busybox\nRUN echo begun && sleep 987655\n")
    process = subprocess.Popen(
        [DOCKER, "build", "c"],
        cwd=buildx.directory,
        env=buildx.environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.rstrip().endswith("begun"):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    deadline = time.monotonic() + 10
    while b"sleep\x00987655" in b"".join(commands()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    buildx.context("FROM busybox\nRUN true\n")
    buildx.build()
    assert "Traceback" not in daemon.log.read_text()


@pytest.mark.row("F-346")
@pytest.mark.row("F-152")
def test_a_dockerfile_is_checked_and_asked_without_a_build(buildx: Buildx) -> None:
    buildx.context("FROM busybox AS first\nRUN exit 9\nFROM first AS second\nARG WORD=1\nRUN echo $WORD\nCMD echo hi\n")
    checked = buildx.run("build", "--check", "c")
    assert checked.returncode == 1
    assert "Check complete, 1 warning has been found!" in checked.stdout
    assert "JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/" in checked.stdout
    assert ">>> CMD echo hi" in checked.stdout
    assert "second" in buildx.ok("build", "--call=targets", "c").stdout
    assert "WORD" in buildx.ok("build", "--call=outline", "c").stdout
    described = buildx.ok("build", "--call=subrequests.describe,format=json", "c").stdout
    assert {"frontend.lint", "frontend.outline"} <= {each["name"] for each in json.loads(described)}
    buildx.context('FROM busybox\nCMD ["echo"]\n')
    assert "Check complete, no warnings found." in buildx.ok("build", "--check", "c").stdout


@pytest.mark.row("F-309")
@pytest.mark.row("F-014")
@pytest.mark.row("F-074")
def test_a_step_that_fails_is_shown_where_it_stands(buildx: Buildx) -> None:
    buildx.context("FROM busybox\nRUN true\nRUN echo last-words && \\\n  false\n")
    done = buildx.run("build", "c")
    assert done.returncode == 1
    assert "   3 | >>> RUN echo last-words && \\" in done.stderr
    assert "   4 | >>>   false" in done.stderr
    assert "last-words" in done.stderr
    assert 'process "/bin/sh -c echo last-words &&   false" did not complete successfully: exit code: 1' in done.stderr


@pytest.mark.row("F-283")
@pytest.mark.row("F-006")
def test_a_frontend_image_is_the_built_in_one_or_pulled(buildx: Buildx) -> None:
    buildx.context("# syntax=docker/dockerfile:1\nFROM busybox\n")
    buildx.build()
    buildx.build("--build-arg", "BUILDKIT_SYNTAX=docker/dockerfile:1.7")
    refused = buildx.run("build", "--build-arg", "BUILDKIT_SYNTAX=example.org/other", "c")
    assert refused.returncode == 1
    assert "example.org/v2/" in refused.stderr


@pytest.mark.row("F-161")
@pytest.mark.row("F-079")
def test_an_engine_that_is_told_to_go_ends_its_builds_and_finds_their_cache_again(
    buildx: Buildx, daemon: Daemon
) -> None:
    buildx.context("FROM busybox\nRUN echo kept > /kept\nRUN echo begun && sleep 987656\n")
    process = subprocess.Popen(
        [DOCKER, "build", "c"], cwd=buildx.directory, env=buildx.environment(), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.rstrip().endswith("begun"):
            break
    told = daemon.log.stat().st_size
    daemon.stop()
    process.communicate(timeout=20)
    assert process.returncode != 0
    assert b"sleep\x00987656" not in b"".join(commands())
    assert "level=error" not in daemon.log.read_text()[told:]
    daemon.start()
    buildx.context("FROM busybox\nRUN echo kept > /kept\nRUN true\n")
    assert "RUN echo kept > /kept\n#5 CACHED" in buildx.build()
