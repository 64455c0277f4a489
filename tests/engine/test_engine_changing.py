"""Environment, labels, ports and mounts of a container that exists, running or not."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onggi.engine.config import Changes, Mount, PortBinding, UpdateBody
from onggi.engine.engine import Engine
from onggi.errors import Conflict, InvalidArgument
from tests.engine.engines import (
    an_engine,
    body,
    document,
    end_of,
    execute,
    logs,
    needs_root,
    options,
    run,
    with_engine,
)

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")

SERVE = ("sh", "-c", "mkdir /tmp/w; echo page > /tmp/w/index.html; httpd -f -p 80 -h /tmp/w")


async def change(engine: Engine, container: str, **words: Any) -> list[str]:
    await engine.containers.update(container, UpdateBody(onggi=Changes(**words)), frozenset())
    return engine.containers.get(container).row.pending


def get(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data = b""
        while piece := sock.recv(4096):
            data += piece
    return data.decode().rpartition("\r\n\r\n")[2]


async def answer(port: int) -> str:
    """What the server says; it may need a moment to listen."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return await asyncio.to_thread(get, port)
        except OSError:
            if time.monotonic() > deadline:
                return "nothing"
            await asyncio.sleep(0.05)


@pytest.mark.row("B-01")
def test_ports_are_published_and_withdrawn_while_it_runs_and_the_next_engine_knows(tmp_path: Path) -> None:
    async def main() -> None:
        async with an_engine(tmp_path) as engine:
            web = await run(engine, *SERVE, host={"network_mode": "bridge"})
            started = engine.containers.get(web).row.started_ns
            assert document(engine, web)["NetworkSettings"]["Ports"] == {}
            assert (
                await change(engine, web, publish={"80/tcp": [PortBinding("127.0.0.1", ""), PortBinding("", "")]}) == []
            )
            told = document(engine, web)["NetworkSettings"]["Ports"]["80/tcp"]
            ports = [int(one["HostPort"]) for one in told]
            assert len(ports) == 2
            for port in ports:
                assert await answer(port) == "page\n"
            other = await engine.containers.create(
                "",
                body(
                    "true",
                    host={"network_mode": "bridge", "port_bindings": {"80/tcp": [PortBinding("", str(ports[1]))]}},
                ),
            )
            with pytest.raises(Conflict, match="already allocated|address already in use"):
                await engine.containers.start(other.id)
            await change(engine, web, publish_remove=["80"])
            assert document(engine, web)["NetworkSettings"]["Ports"] == {"80/tcp": None}
            with pytest.raises(OSError):
                await asyncio.to_thread(get, ports[0])
            await engine.containers.start(other.id)  # the shim has let go of the port
            await end_of(engine, other.id)
            await change(engine, web, publish={"80/tcp": [PortBinding("", str(ports[1]))]})
            assert await answer(ports[1]) == "page\n"
            assert engine.containers.get(web).row.started_ns == started

    asyncio.run(main())


@pytest.mark.row("B-01", "R-01")
def test_a_port_that_was_added_outlives_the_engine_and_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        engine = await Engine.open(options(tmp_path))
        from tests.engine.engines import add_image

        await add_image(engine)
        await run(engine, *SERVE, name="web", host={"network_mode": "bridge"})
        await change(engine, "web", publish={"80/tcp": [PortBinding("127.0.0.1", "")]})
        port = int(document(engine, "web")["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
        await engine.close()
        async with an_engine(tmp_path) as again:
            assert await answer(port) == "page\n"
            await again.containers.restart("web", timeout=0)
            port = int(document(again, "web")["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
            assert await answer(port) == "page\n"

    asyncio.run(main())


@pytest.mark.row("B-03")
def test_the_environment_waits_for_the_next_start_and_says_so(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        one = await run(engine, "sh", "-c", "echo $A $B $C; sleep 100", env=["A=1", "B=1"], host={"init": True})
        assert await change(engine, one, env=["A=2", "C=3"], env_remove=["B"]) == ["Env"]
        found = msgspec.json.decode(await engine.containers.inspect(one, beyond_docker=True))
        assert found["Onggi"]["PendingRestart"] == ["Env"]
        assert set(found["Config"]["Env"]) >= {"A=2", "C=3"}
        await engine.containers.restart(one, timeout=2)
        async with asyncio.timeout(30):
            while (await logs(engine, one)).split("\n")[:2] != ["1 1", "2 3"]:
                await asyncio.sleep(0.02)
        assert "Onggi" not in document(engine, one)
        assert engine.containers.get(one).row.pending == []

    with_engine(tmp_path, test)


@pytest.mark.row("B-04")
def test_labels_change_at_once_in_lists_and_events(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        one = await engine.containers.create("", body("true", labels={"a": "1", "b": "2"}))
        assert await change(engine, one.id, labels={"c": "3"}, labels_remove=["a"]) == []
        assert document(engine, one.id)["Config"]["Labels"] == {"b": "2", "c": "3"}
        assert len(await engine.containers.list({"label": ["c=3"]}, all=True)) == 1
        assert await engine.containers.list({"label": ["a"]}, all=True) == []

    with_engine(tmp_path, test)


@pytest.mark.row("B-02", "S-05")
def test_mounts_come_and_go_while_it_runs(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "word").write_text("here\n")
    outside = tmp_path / "outside"
    outside.mkdir()

    async def test(engine: Engine) -> None:
        script = "ln -s / /tmp/root; mkdir /plain; sleep 1000"
        one = await run(engine, "sh", "-c", script)
        async with asyncio.timeout(30):
            while (await execute(engine, one, "ls", "/plain"))[0]:
                await asyncio.sleep(0.02)
        added = [Mount("bind", str(source), "/x/y", read_only=True), Mount("volume", "vol", "/v"), Mount("tmpfs", "", "/t"),
                 Mount("bind", str(source / "word"), "/file")]  # fmt: skip
        assert await change(engine, one, mounts=added) == []
        assert await execute(
            engine,
            one,
            "sh",
            "-c",
            "cat /x/y/word /file; touch /x/y/z 2>/dev/null || echo no; touch /v/a /t/a && echo yes",
        ) == (0, "here\nhere\nno\nyes\n")
        assert {point["Destination"] for point in document(engine, one)["Mounts"]} == {"/x/y", "/v", "/t", "/file"}
        with pytest.raises(InvalidArgument, match="Duplicate mount point: /v"):
            await change(engine, one, mounts=[Mount("tmpfs", "", "/v")])
        # A link of the container's leads nowhere but into the container.
        await change(engine, one, mounts=[Mount("bind", str(outside), f"/tmp/root{tmp_path}/inside")])
        assert not (tmp_path / "inside").exists()
        assert await change(engine, one, mounts_remove=["/x/y", "/v", "/file"]) == []
        assert (await execute(engine, one, "sh", "-c", "ls /x/y /v"))[1].split() == ["/v:", "/x/y:"]
        assert engine.volumes.users("vol") == []
        assert {point["Destination"] for point in document(engine, one)["Mounts"]} == {
            "/t",
            f"/tmp/root{tmp_path}/inside",
        }
        await engine.containers.restart(one, timeout=0)
        assert await execute(engine, one, "sh", "-c", "mount | grep -c ' /t '") == (0, "1\n")

    with_engine(tmp_path, test)
