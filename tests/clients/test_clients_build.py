"""`docker build` and docker-py's build against onggid, and what an engine that was killed in the middle of one leaves."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import BuildError

from tests.clients.daemon import DOCKER, Daemon, running

pytestmark = [
    pytest.mark.root,
    # docker-py leaves sockets to the collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SLEEP = 800_000 + os.getpid()
"""Nobody else's: other tests sleep on the same machine."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


def context(directory: Path, dockerfile: str, **files: str) -> str:
    directory.mkdir()
    (directory / "Dockerfile").write_text(dockerfile)
    for name, text in files.items():
        (directory / name).write_text(text)
    return str(directory)


@pytest.mark.row("F-312")
@pytest.mark.row("F-019")
def test_docker_build_makes_an_image_that_runs(daemon: Daemon, tmp_path: Path) -> None:
    place = context(tmp_path / "c", "FROM busybox\nCOPY f /f\nRUN echo more >> /f\nCMD cat /f\n", f="text\n")
    said = daemon.say("build", "-t", "made", place)
    assert "Successfully tagged made:latest" in said
    assert daemon.say("run", "--rm", "--network=none", "made") == "text\nmore"
    assert daemon.say("build", "-q", place) == daemon.say("inspect", "-f", "{{.Id}}", "made")
    outside = tmp_path / "other"
    outside.write_text("FROM made\nLABEL from=outside\n")
    daemon.say("build", "-t", "second", "-f", str(outside), place)
    assert daemon.say("inspect", "-f", "{{.Config.Labels.from}}", "second") == "outside"
    assert "Successfully built" in daemon.say("build", "-", text="FROM busybox\nENV A=1\n")


@pytest.mark.row("F-074")
def test_docker_build_ends_with_the_commands_status(daemon: Daemon, tmp_path: Path) -> None:
    done = daemon.docker("build", context(tmp_path / "c", "FROM busybox\nRUN exit 9\n"))
    assert done.returncode == 9
    assert "The command '/bin/sh -c exit 9' returned a non-zero code: 9" in done.stderr
    done = daemon.docker("build", context(tmp_path / "d", "FROM busybox\nNOPE\n"))
    assert done.returncode == 1
    assert "dockerfile parse error on line 2: unknown instruction: NOPE" in done.stderr


@pytest.mark.row("F-329")
@pytest.mark.row("E-249")
def test_docker_py_finds_the_image_and_the_error(daemon: Daemon, tmp_path: Path) -> None:
    client = docker.DockerClient(base_url=daemon.host)
    try:
        place = context(tmp_path / "c", "FROM busybox\nARG A\nRUN echo $A > /a\nCOPY f /f\n", f="text")
        image, log = client.images.build(path=place, tag="py", buildargs={"A": "1"}, labels={"l": "v"}, rm=True)
        assert image.tags == ["py:latest"]
        assert image.labels == {"l": "v"}
        assert any("Successfully built" in line.get("stream", "") for line in log)
        with pytest.raises(BuildError, match="returned a non-zero code: 3"):
            client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 3\n"))
    finally:
        client.close()


def sleeping() -> list[str]:
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and Path(f"/proc/{name}/cmdline").read_bytes() == f"sleep\0{SLEEP}\0".encode():
                found.append(name)
    return found


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 15
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(what)
        time.sleep(0.02)


def begin(daemon: Daemon, place: str) -> subprocess.Popen[bytes]:
    """A build that sleeps; returns when it does."""
    words = [DOCKER, "-H", daemon.host, "build", "-t", "never", place]
    build = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "DOCKER_BUILDKIT": "0"}
    )
    until(lambda: bool(sleeping()), "the step has not begun")
    return build


def left(daemon: Daemon) -> list[str]:
    """Files of builds in the data root."""
    return [f"{kind}/{name}" for kind in ("containers", "ingest") for name in os.listdir(daemon.root / "data" / kind)]


@pytest.mark.row("F-079")
@pytest.mark.row("R-32")
def test_a_client_that_goes_away_takes_its_build_with_it(daemon: Daemon, tmp_path: Path) -> None:
    build = begin(daemon, context(tmp_path / "c", f"FROM busybox\nCOPY f /f\nRUN sleep {SLEEP}\n", f="x"))
    build.send_signal(signal.SIGINT)
    build.wait(10)
    until(lambda: not sleeping() and not left(daemon), f"left: {sleeping()} {left(daemon)}")
    assert "never" not in daemon.say("images", "--format", "{{.Repository}}")


@pytest.mark.row("R-32")
def test_a_killed_engine_leaves_no_build_behind_when_it_is_back(daemon: Daemon, tmp_path: Path) -> None:
    place = context(tmp_path / "c", f"FROM busybox\nCOPY f /kept\nRUN sleep {SLEEP}\n", f="kept")
    build = begin(daemon, place)
    daemon.kill()
    build.wait(10)
    daemon.start()
    until(lambda: not sleeping() and not left(daemon), f"left: {sleeping()} {left(daemon)}")
    (tmp_path / "c" / "Dockerfile").write_text("FROM busybox\nCOPY f /kept\n")
    assert " ---> Using cache" in daemon.say("build", place)


@pytest.mark.row("E-028")
@pytest.mark.row("F-169")
def test_the_cache_is_shown_and_pruned(daemon: Daemon, tmp_path: Path) -> None:
    place = context(tmp_path / "c", "FROM busybox\nCOPY f /pruned\n", f="x" * 100_000)
    daemon.say("build", "-t", "gone", place)
    daemon.say("rmi", "gone")
    assert "Build Cache" in daemon.say("system", "df")
    assert "Total" in daemon.say("builder", "prune", "-af")
    assert " ---> Using cache" not in daemon.say("build", place)
