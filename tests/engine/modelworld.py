"""Docker's rules for containers as a dict, and a real engine behind its real API, for the model test to hold side by side."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onggi.api.routes_containers import routes as containers
from onggi.api.routes_exec import routes as execs
from onggi.api.service import Service
from onggi.api.site import Site
from onggi.engine.engine import Engine
from tests.engine.engines import add_image, clear, left_over, options

SLEEPS = {"Cmd": ["sleep", "1000"]}
ENDS = {"Cmd": ["sh", "-c", "exit 3"]}
MISSING = {"Cmd": ["no-such-program"]}
KINDS = {"sleeps": SLEEPS, "ends": ENDS, "missing": MISSING}
ALIVE = frozenset({"running", "paused"})
BY_TERM, BY_KILL = 143, 137


@dataclass(slots=True)
class Modelled:
    """What docker would say of one container."""

    kind: str
    state: str = "created"
    codes: frozenset[int] = frozenset({0})
    """ExitCode is one of these: a signal and what follows it race."""
    failed: bool = False

    @property
    def is_alive(self) -> bool:
        return self.state in ALIVE

    def started(self) -> None:
        if self.kind == "missing":
            self.state = "created" if self.state == "created" else "exited"
            self.codes, self.failed = frozenset({127}), True
        elif self.kind == "ends":
            self.state, self.codes, self.failed = "exited", frozenset({3}), False
        else:
            self.state, self.codes, self.failed = "running", frozenset({0}), False

    def ended(self, *codes: int) -> None:
        self.state, self.codes = "exited", frozenset(codes)


@dataclass(slots=True)
class World:
    """The engine, its API's socket, and the loop that both live in."""

    root: Path
    runner: asyncio.Runner
    engine: Engine | None = None
    server: Any = None
    site: Site | None = None
    bridges: frozenset[str] = frozenset()
    model: dict[str, Modelled] = field(default_factory=dict)

    def open(self) -> None:
        self.runner.run(self._open())

    async def _open(self) -> None:
        self.engine = await Engine.open(options(self.root))
        if not len(self.engine.images):
            await add_image(self.engine)
        service = Service()
        service.ready(self.engine)
        self.site = Site(service, [*containers.all, *execs.all])
        path = self.root / "api.sock"
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self.server = await asyncio.get_running_loop().create_unix_server(self.site.connections(None), str(path))

    def close(self) -> None:
        self.runner.run(self._close())

    async def _close(self) -> None:
        assert self.engine is not None
        assert self.site is not None
        self.server.close()
        await self.site.close(1)
        self.bridges = frozenset(network.bridge for network in self.engine.networks.list() if network.bridge)
        await self.engine.close()

    def clear(self) -> list[str]:
        """Everything is removed; what of it is still on the machine."""
        self.model.clear()

        async def work() -> list[str]:
            assert self.engine is not None
            await clear(self.engine)
            await asyncio.sleep(0.05)
            found: list[str] = (await self.engine.system.leaks())["Leaks"]
            return found

        return self.runner.run(work())

    def left_over(self) -> list[str]:
        assert self.engine is not None
        return self.runner.run(left_over(self.engine, self.bridges))

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """(status, decoded body)."""
        return self.runner.run(asyncio.wait_for(self._ask(method, path, body), 30))

    async def _ask(self, method: str, path: str, body: object) -> tuple[int, Any]:
        reader, writer = await asyncio.open_unix_connection(str(self.root / "api.sock"))
        data = b"" if body is None else json.dumps(body).encode()
        kind = "Content-Type: application/json\r\n" if body is not None else ""
        head = f"{method} /v1.51{path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n{kind}Content-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        answer = await reader.read()
        writer.close()
        top, _, rest = answer.partition(b"\r\n\r\n")
        if b"chunked" in top.lower():
            rest = rest.partition(b"\r\n")[2].rpartition(b"\r\n0\r\n")[0]
        return int(top.split()[1]), json.loads(rest) if rest.strip() else None

    def settle(self, name: str) -> None:
        """Waits for an end that is under way."""
        if not self.model[name].is_alive:
            self.ask("POST", f"/containers/{name}/wait")

    def compare(self) -> None:
        """Each container against its model; a process lives for those that run, and for no other (I-09)."""
        status, listed = self.ask("GET", "/containers/json?all=1")
        assert status == 200
        assert {entry["Names"][0].removeprefix("/") for entry in listed} == set(self.model)
        _, running = self.ask("GET", "/containers/json")
        assert {entry["Names"][0].removeprefix("/") for entry in running} == {
            n for n, m in self.model.items() if m.is_alive
        }
        for name, modelled in self.model.items():
            status, document = self.ask("GET", f"/containers/{name}/json")
            assert status == 200
            state = document["State"]
            assert state["Status"] == modelled.state, (name, modelled, state)
            assert (state["Running"], state["Paused"]) == (modelled.is_alive, modelled.state == "paused")
            assert state["ExitCode"] in modelled.codes, (name, modelled, state)
            assert bool(state["Error"]) == modelled.failed, (name, modelled, state)
            assert bool(state["Pid"]) == modelled.is_alive
            if state["Pid"]:
                assert os.path.exists(f"/proc/{state['Pid']}")
