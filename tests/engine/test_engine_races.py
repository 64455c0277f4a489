"""Many clients at one container, engines that are killed as they come up, clocks that jump: docker's rules hold all the same."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.client import containers
from onggi.engine.engine import Engine
from onggi.errors import Conflict, NotFound, NotModified
from tests.clients.daemon import Daemon
from tests.engine.engines import body, document, execute, healthcheck, needs_root, policy, run, with_engine
from tests.engine.test_engine_reconcile import client, create, leaks, state, watched
from tests.patience import within

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


@pytest.mark.row("M-4", "R-24")
@pytest.mark.parametrize("seed", [1, 2, 12])
def test_eight_clients_at_one_container_get_answers_that_one_order_explains(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    async def test(engine: Engine) -> None:
        await engine.containers.create("it", body("sleep", "1000", host={"init": True}))
        calls = {
            "start": lambda: engine.containers.start("it"), "stop": lambda: engine.containers.stop("it", timeout=0),
            "kill": lambda: engine.containers.kill("it"), "pause": lambda: engine.containers.pause("it"),
            "unpause": lambda: engine.containers.unpause("it"), "restart": lambda: engine.containers.restart("it", timeout=0),
            "exec": lambda: execute(engine, "it", "true"),
        }  # fmt: skip

        async def one(plan: list[str]) -> None:
            for name in plan:
                try:
                    await calls[name]()
                except (Conflict, NotModified, NotFound):
                    pass  # what another client did made it impossible: each of these is docker's answer to that

        clients = [asyncio.create_task(one(chance.choices(sorted(calls), k=4))) for _ in range(8)]
        while (await asyncio.wait(clients, timeout=1))[1]:
            # An exec of a container that was paused meanwhile goes on when somebody wakes it, as docker's does.
            with contextlib.suppress(Conflict):
                await engine.containers.unpause("it")
        for task in clients:
            task.result()
        found = document(engine, "it")["State"]
        assert found["Status"] in ("running", "paused", "exited", "created")
        alive = found["Status"] in ("running", "paused")
        assert bool(found["Pid"]) == alive
        if found["Status"] == "paused":
            await engine.containers.unpause("it")
        if alive:
            assert await execute(engine, "it", "echo", "here") == (0, "here\n")
        await engine.containers.remove("it", force=True)
        async with asyncio.timeout(5):
            while (await engine.system.leaks())["Leaks"]:
                await asyncio.sleep(0.02)

    with_engine(tmp_path, test)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    yield from watched(tmp_path)


@pytest.mark.row("K-06", "R-07")
def test_an_engine_that_is_killed_while_it_comes_up_again_and_again_converges(daemon: Daemon) -> None:
    chance = random.Random(6)
    with client(daemon) as engine:
        for name in ("one", "two", "six"):
            made = create(
                engine,
                "sleep",
                "600",
                name=name,
                HostConfig={"NetworkMode": "bridge", "RestartPolicy": {"Name": "always"}},
            )
            engine(containers.start(made))
        pids = {name: state(engine, name)["Pid"] for name in ("one", "two", "six")}
    daemon.kill()
    for _ in range(10):
        daemon.launch()
        assert daemon.process is not None
        time.sleep(chance.uniform(0.05, 0.6))
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait(10)
    daemon.process = None
    daemon.start()
    with client(daemon) as engine:
        assert {name: state(engine, name)["Pid"] for name in pids} == pids
        assert within(5, lambda: leaks(engine) == []), leaks(engine)


@pytest.mark.row("K-34", "R-18")
@pytest.mark.parametrize("jump_s", [86400, -86400])
def test_a_wall_clock_that_jumps_a_day_changes_no_delay_no_check_and_no_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: int
) -> None:
    real = time.time_ns

    async def test(engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        again = await run(engine, "false", host=policy("on-failure", 3))
        checked = await run(engine, "sleep", "100", healthcheck=healthcheck("CMD", "true", interval_s=0.2))
        deaf = await run(engine, "sh", "-c", "trap '' TERM; while true; do sleep 0.05; done")
        monkeypatch.setattr(time, "time_ns", lambda: real() + jump_s * 10**9)
        began = loop.time()
        await asyncio.sleep(0.1)
        await engine.containers.stop(deaf, timeout=1)
        assert 0.9 < loop.time() - began < 5
        container = engine.containers.get(again)
        async with asyncio.timeout(20):
            while container.row.restart_count < 3 or container.state != "exited":
                await asyncio.sleep(0.02)
        # 100, 200 and 400 ms: no run counts as a long one, and none waits a day.
        assert 0.6 < loop.time() - began < 15
        health = engine.containers.get(checked).health
        assert health is not None
        seen = len(health.log)
        async with asyncio.timeout(5):
            while health.status != "healthy" or len(health.log) == min(seen, 4):
                await asyncio.sleep(0.02)

    with_engine(tmp_path, test)
