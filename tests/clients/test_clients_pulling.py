"""Pulls through a whole engine: clients that leave, mirrors that all doors use, logins of both command lines."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.clients.daemon import DOCKER, Daemon, running
from tests.clients.test_clients_ship import locked_registry, registry
from tests.imaging import digest, make_image, rude_registry

__all__ = ["locked_registry", "registry"]  # fixtures

pytestmark = pytest.mark.root
ONGGI = str(Path(sys.executable).parent / "onggi")
IMAGE = make_image({"etc/one": os.urandom(300_000)})
BLOB = f"/v2/app/blobs/{digest(IMAGE.layers[0])}"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.mark.row("I-093")
def test_a_pull_ends_with_its_client_unless_somebody_else_waits_for_it(daemon: Daemon) -> None:
    async def run() -> None:
        async with rude_registry() as upstream:
            upstream.add("app", "v1", IMAGE)
            begun, left, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

            async def stalls(request: web.BaseRequest, data: bytes) -> web.StreamResponse:
                answer = web.StreamResponse(headers={"Content-Length": str(len(data))})
                await answer.prepare(request)
                await answer.write(data[:1000])
                begun.set()
                while not go_on.is_set():
                    if request.transport is None or request.transport.is_closing():
                        left.set()
                        return answer
                    await asyncio.sleep(0.02)
                await answer.write(data[1000:])
                return answer

            async def pull() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
                reader, writer = await asyncio.open_unix_connection(str(daemon.socket))
                writer.write(
                    f"POST /v1.51/images/create?fromImage={upstream.host}/app&tag=v1 HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n".encode()
                )
                return reader, writer

            upstream.fault(BLOB, stalls)
            _, writer = await pull()
            await asyncio.wait_for(begun.wait(), 20)
            writer.close()
            await asyncio.wait_for(left.wait(), 20)  # the registry sees the engine go

            begun.clear()
            left.clear()
            upstream.fault(BLOB, stalls)
            _, first = await pull()
            await asyncio.wait_for(begun.wait(), 20)
            reader, second = await pull()
            assert b"Pulling fs layer" in await reader.readuntil(b"Pulling fs layer")
            first.close()
            await asyncio.sleep(0.2)
            assert not left.is_set()
            go_on.set()
            assert b"Status: Downloaded newer image" in await asyncio.wait_for(reader.read(), 20)
            second.close()
            assert sum(path == BLOB and method == "GET" for method, path, _ in upstream.requests) == 2

    asyncio.run(run())
    daemon.say("rmi", daemon.say("images", "-q", "--filter", "reference=*/app"))


@pytest.mark.row("I-081", "I-078")
def test_one_mirror_serves_pulls_runs_and_builds_through_every_door(registry: str, tmp_path: Path) -> None:
    for source in running_with_mirror(tmp_path, registry):
        for number in range(1, 5):
            source.say("tag", "busybox", f"{registry}/library/mirrored:{number}")
            source.say("push", f"{registry}/library/mirrored:{number}")
            source.say("rmi", f"{registry}/library/mirrored:{number}")
        assert "Status: Downloaded newer image for mirrored:1" in source.say("pull", "mirrored:1")
        assert source.say("run", "--rm", "mirrored:2", "echo", "ran") == "ran"
        (tmp_path / "Dockerfile").write_text("FROM mirrored:3\nRUN true\n")
        assert source.docker("build", "--network", "none", str(tmp_path)).returncode == 0
        (tmp_path / "Dockerfile").write_text("FROM mirrored:4\nRUN true\n")
        own = subprocess.run(
            [ONGGI, "-H", source.host, "build", "--network", "none", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert own.returncode == 0, own.stderr
        assert source.say("info", "-f", "{{.RegistryConfig.Mirrors}}") == f"[http://{registry}/]" or registry in source.say("info", "-f", "{{.RegistryConfig.Mirrors}}")  # fmt: skip


def running_with_mirror(tmp_path: Path, mirror: str) -> Iterator[Daemon]:
    """Another engine, whose docker.io is this mirror first."""

    class Factory:
        @staticmethod
        def mktemp(name: str) -> Path:
            (tmp_path / name).mkdir()
            return tmp_path / name

    yield from running(Factory(), "--registry-mirror", f"http://{mirror}")  # type: ignore[arg-type]


@pytest.mark.row("I-161", "I-125")
@pytest.mark.parametrize("program", [DOCKER, ONGGI])
def test_a_login_is_kept_and_forgotten_with_dockers_words(
    daemon: Daemon, locked_registry: str, tmp_path: Path, program: str
) -> None:
    def say(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DOCKER_HOST": daemon.host, "DOCKER_CONFIG": str(tmp_path)}
        return subprocess.run(
            [program, *words], input=text, capture_output=True, text=True, check=False, env=environment, timeout=30
        )

    done = say("login", "-u", "anna", "--password-stdin", locked_registry, text="secret\n")
    assert (done.returncode, done.stdout.strip().splitlines()[-1]) == (0, "Login Succeeded")
    assert "stored unencrypted in" in done.stderr
    assert locked_registry in (tmp_path / "config.json").read_text()
    done = say("login", locked_registry)
    assert (
        "Authenticating with existing credentials... [Username: anna]\n\n Info -> To login with a different account"
        in done.stderr
    )
    assert done.stdout == "Login Succeeded\n"
    done = say("login", "-u", "anna", "-p", "secret", locked_registry)
    assert "WARNING! Using --password via the CLI is insecure. Use --password-stdin." in done.stderr
    done = say("login", "-u", "anna", "--password-stdin", locked_registry, text="wrong")
    assert (done.returncode, "unauthorized" in done.stderr) == (1, True)
    done = say("logout", locked_registry)
    assert done.stdout.strip() == f"Removing login credentials for {locked_registry}"
    assert locked_registry not in (tmp_path / "config.json").read_text()
