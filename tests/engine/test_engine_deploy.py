"""Deploy and rollback: the old container serves until the new one is healthy, and no request fails."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from onggi.engine.config import EndpointSettings, PortBinding
from onggi.engine.engine import Engine
from onggi.errors import NotFound, OnggiError
from onggi.oci.image import HealthConfig, RunConfig
from tests.engine.engines import add_image, body, document, execute, needs_root, run, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


def server(version: str, *, healthy: bool = True) -> RunConfig:
    script = f"mkdir -p /tmp/w; echo {version} > /tmp/w/index.html; trap 'sleep 0.5; exit 0' TERM; httpd -p 80 -h /tmp/w; while true; do sleep 0.05; done"
    test = "wget -q -O /dev/null http://127.0.0.1/" if healthy else "false"
    return RunConfig(
        env=["PATH=/bin"], cmd=["sh", "-c", script], healthcheck=HealthConfig(["CMD-SHELL", test], int(0.2e9), int(2e9), 0, 0, 2)
    )  # fmt: skip


class Client:
    """Asks for the page all the time; counts what it gets."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._task = asyncio.get_running_loop().create_task(self._ask())

    async def _ask(self) -> None:
        while True:
            try:
                async with asyncio.timeout(5):
                    data = await self._page()
                assert b"200 OK" in data, data
                self.answers.append(data.rpartition(b"\r\n\r\n")[2].decode().strip())
            except (OSError, TimeoutError, AssertionError) as error:
                self.failures.append(repr(error))
            await asyncio.sleep(0.005)

    async def _page(self) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def test_a_deploy_and_a_refused_one_lose_no_request_and_rollback_brings_the_old_one_back(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        for version in ("v1", "v2"):
            await add_image(engine, f"web:{version}", server(version))
        await add_image(engine, "web:v3", server("v3", healthy=False))
        await engine.endpoints.create_network("front")
        first = await run(
            engine, image="web:v1", name="web", labels={"keep": "me"},
            host={"network_mode": "front", "port_bindings": {"80/tcp": [PortBinding("127.0.0.1", "")]}},
            networks={"front": EndpointSettings(aliases=["www"])},
        )  # fmt: skip
        inside = await run(engine, "sleep", "600", host={"network_mode": "front"})
        one = engine.containers.get(first)
        await asyncio.wait_for(one.next_health(), 10)
        port = int(document(engine, "web")["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
        client = Client(port)
        said: list[Any] = []
        await engine.deploy.replace("web", image="web:v2", changes=None, health_timeout=20, drain=5, output=said.append)
        second = engine.containers.get("web")
        assert second.id != first
        assert document(engine, "web")["Config"]["Labels"]["keep"] == "me"
        assert document(engine, "web")["NetworkSettings"]["Ports"]["80/tcp"] == [
            {"HostIp": "127.0.0.1", "HostPort": str(port)}
        ]
        for name in ("web", "www"):
            assert await execute(engine, inside, "wget", "-q", "-O", "-", f"http://{name}/") == (0, "v2\n")
        await asyncio.sleep(0.1)
        assert client.answers[-1] == "v2"
        with pytest.raises(OnggiError, match="refused: it is unhealthy"):
            await engine.deploy.replace(
                "web", image="web:v3", changes=None, health_timeout=20, drain=5, output=said.append
            )
        assert engine.containers.get("web") is second
        assert "v3" not in client.answers
        await engine.deploy.rollback("web", output=said.append)
        await asyncio.sleep(0.1)
        assert client.answers[-1] == "v1"
        await client.end()
        assert client.failures == []
        assert sorted(set(client.answers)) == ["v1", "v2"]
        assert len([container for container in engine.containers if container.is_alive]) == 2
        assert "aux" in said[-1]

    with_engine(tmp_path, test)


def test_without_a_predecessor_there_is_nothing_to_roll_back_to(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        made = await engine.containers.create("lonely", body("sleep", "60"))
        with pytest.raises(NotFound, match="nothing to roll back to"):
            await engine.deploy.rollback(made.id, output=lambda _said: None)

    with_engine(tmp_path, test)
