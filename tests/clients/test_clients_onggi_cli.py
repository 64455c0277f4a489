"""`onggi` beside docker's own command line, on one onggid: what both print and end with must agree."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import onggi
from tests.clients.daemon import DOCKER, Daemon, running

pytestmark = pytest.mark.root
ONGGI = str(Path(sys.executable).parent / "onggi")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture(autouse=True)
def _clear(daemon: Daemon) -> Iterator[None]:
    yield
    daemon.clear()


def both(daemon: Daemon, *words: str, text: str = "") -> list[subprocess.CompletedProcess[str]]:
    environment = os.environ | {"DOCKER_HOST": daemon.host, "DOCKER_BUILDKIT": "0"}
    return [
        subprocess.run([program, *words], input=text, capture_output=True, text=True, check=False, timeout=60, env=environment)
        for program in (DOCKER, ONGGI)
    ]  # fmt: skip


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    """Status and texts, without what may differ: the program's name, names of new things, how many seconds ago."""

    def plain(text: str) -> str:
        text = re.sub(
            r" +(Less than a|\d+) seconds? ago +", " AGO ", re.sub(r"(?m)^(REPOSITORY.*CREATED) +", r"\1 ", text)
        )
        return re.sub(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", "ID", re.sub(r"\bonggi\b", "docker", text))

    return done.returncode, plain(done.stdout), plain(done.stderr)


@pytest.mark.row("CL-032")
@pytest.mark.row("CL-154")
@pytest.mark.parametrize(
    "line",
    [
        "ps -a", "images", "images -q --no-trunc", "network ls --format {{.Name}}", "volume ls -q", "run --rm busybox echo hi",
        "run --rm busybox sh -c 'echo out; echo err >&2; exit 7'", "run --rm busybox nope", "run --rm busybox /etc", "run --bogus x",
        "rm nope", "rm -f nope", "inspect nope", "inspect --type container nope", "stop", "run", "exec nope true", "logs nope", "start nope",
        "kill nope", "network rm nope", "network rm bridge", "volume rm nope", "rmi nope", "tag nope x", "history nope", "wait nope",
        "image inspect --format {{.Config.Cmd}} busybox", "inspect --format {{.Os}}/{{.Architecture}} busybox",
        "inspect --format {{.Nope}} busybox", "run --rm --memory 1m busybox true", "run --rm -p x:1 busybox true", "run --rm -v a busybox true",
        "run --rm --network nope busybox true", "run --rm --cap-add NOPE busybox true", "run --rm -u nobody-here busybox true",
        "run --rm -w relative busybox true", "run --restart sometimes busybox true", "run --rm --restart always busybox true",
        "system df --format {{.Type}}", "version --format {{.Server.Version}}", "info --format {{.OSType}}", "port nope", "bogus",
    ],
)  # fmt: skip
def test_onggi_says_and_ends_as_docker_does(daemon: Daemon, line: str) -> None:
    import shlex

    theirs, ours = both(daemon, *shlex.split(line))
    assert said(ours) == said(theirs)


@pytest.mark.row("CL-020")
@pytest.mark.row("CL-024")
@pytest.mark.row("CL-163")
def test_a_running_container_looks_the_same_through_both(daemon: Daemon) -> None:
    daemon.say(
        "run",
        "-d",
        "--name",
        "web",
        "-l",
        "a=b",
        "-p",
        "127.0.0.1::80",
        "busybox",
        "sh",
        "-c",
        "echo one; echo two >&2; sleep 100",
    )
    for line in (
        ["ps", "--format", "{{.Names}} {{.Image}} {{.Command}} {{.Ports}} {{.Labels}} {{.State}} {{.Networks}}"], ["logs", "web"],
        ["logs", "-n", "1", "web"], ["exec", "web", "sh", "-c", "echo $HOSTNAME; exit 3"], ["exec", "-i", "web", "cat"], ["port", "web"],
        ["inspect", "--format", "{{json .Config}}", "web"], ["inspect", "--format", "{{.State.Status}} {{.HostConfig.Memory}}", "web"],
        ["container", "inspect", "web"], ["diff", "web"], ["top", "web", "-o", "pid,args"], ["network", "inspect", "bridge"],
    ):  # fmt: skip
        theirs, ours = both(daemon, *line, text="typed\n")
        assert said(ours) == said(theirs), line


@pytest.mark.row("CL-017")
def test_files_go_in_and_come_out(daemon: Daemon, tmp_path: Path) -> None:
    daemon.say("run", "-d", "--name", "box", "busybox", "sleep", "100")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("hello")
    environment = os.environ | {"DOCKER_HOST": daemon.host}

    def cp(*words: str) -> None:
        subprocess.run([ONGGI, "cp", *words], check=True, capture_output=True, env=environment, timeout=30)

    cp(str(tmp_path / "in"), "box:/copied")
    cp(str(tmp_path / "in" / "file"), "box:/tmp")
    assert daemon.say("exec", "box", "cat", "/copied/file", "/tmp/file") == "hellohello"
    cp("box:/copied", str(tmp_path / "out"))
    cp("box:/tmp/file", str(tmp_path / "single"))
    assert (tmp_path / "out" / "file").read_text() == (tmp_path / "single").read_text() == "hello"


def test_the_typed_client_is_blocking_or_async_over_the_same_calls(daemon: Daemon) -> None:
    with onggi.Client(daemon.host) as engine:
        made = engine(onggi.containers.create({"Image": "busybox", "Cmd": ["sh", "-c", "echo said; exit 4"]}))
        with onggi.Client(daemon.host) as waiter:
            ended = waiter.stream(onggi.containers.wait(made["Id"], condition="next-exit"))
            engine(onggi.containers.start(made["Id"]))
            assert [status["StatusCode"] for status in ended] == [4]
        assert list(engine.stream(onggi.containers.logs(made["Id"], tty=False))) == [(1, b"said\n")]

    async def through_asyncio() -> None:
        engine = onggi.AsyncClient(daemon.host)
        listed = await engine(onggi.containers.listing(all=True))
        assert [one["Id"] for one in listed] == [made["Id"]]
        with pytest.raises(onggi.ApiError, match="No such container: nope"):
            await engine(onggi.containers.inspect("nope"))
        assert [piece async for piece in engine.stream(onggi.containers.logs(made["Id"], tty=False))] == [
            (1, b"said\n")
        ]

    asyncio.run(through_asyncio())


def test_nobody_at_the_socket_is_said_and_is_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run([ONGGI, "-H", f"unix://{tmp_path}/none", "ps"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Cannot connect to the Docker daemon" in done.stderr
    assert "Traceback" not in done.stderr
