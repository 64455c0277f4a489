"""What docker has no field for: why a container ended, restart delays of one's own, health checks without a program, and their acts."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onggi.engine import exitreason, healthprobes
from onggi.engine.config import Extensions, HealthConfig
from onggi.engine.engine import Engine
from onggi.errors import InvalidArgument, RuntimeStepError
from onggi.runtime.protocol import ExitRecord
from tests.engine.engines import (
    add_image,
    an_engine,
    body,
    document,
    end_of,
    healthcheck,
    needs_root,
    options,
    policy,
    run,
    with_engine,
)

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


async def beyond(engine: Engine, container: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(await engine.containers.inspect(container, beyond_docker=True))["Onggi"]
    return found


async def until_state(engine: Engine, container: str, status: str) -> None:
    async with asyncio.timeout(30):
        while document(engine, container)["State"]["Status"] != status:
            await asyncio.sleep(0.01)


REASONS = [
    (ExitRecord(0, 1), "", "exited", "the program ended well"),
    (ExitRecord(3, 1), "", "exited", "the program ended with exit code 3"),
    (ExitRecord(127, 1), "", "exited", "the program ended with exit code 127: of a shell that is, the command was not found"),
    (ExitRecord(137, 1), "", "exited", "the program ended with exit code 137: of a shell that is, SIGKILL ended what it ran"),
    (ExitRecord(139, 1, 11), "", "signal", "SIGSEGV ended it, and the engine sent none: the program itself or another process did"),
    (ExitRecord(143, 1, 15), "stopped", "stopped", "a client stopped it: it ended by SIGTERM"),
    (ExitRecord(0, 1), "stopped", "stopped", "a client stopped it: it ended with exit code 0"),
    (ExitRecord(137, 1, 9), "killed", "killed", "a client killed it: it ended by SIGKILL"),
    (ExitRecord(137, 1, 9), "unhealthy", "unhealthy", "its health check failed, and HealthOnFailure ends it: it ended by SIGKILL"),
    (ExitRecord(137, 1, reason="the shim was killed"), "", "lost", "the shim was killed"),
    (ExitRecord(137, 1, 9, True, "", 1, 64 << 20), "", "out-of-memory", "its memory limit of 64 MiB was reached: the kernel killed eater"),
    (ExitRecord(1, 1, 0, True, "", 2, 64 << 20), "", "child-out-of-memory", "its memory limit of 64 MiB was reached: the kernel killed eater (2 kills in this run); the main process went on, and ended with exit code 1"),
]  # fmt: skip


@pytest.mark.row("B-15")
@pytest.mark.parametrize(("record", "act", "cause", "text"), REASONS)
def test_each_end_has_its_reason_in_a_sentence(record: ExitRecord, act: str, cause: str, text: str) -> None:
    victim = exitreason.Victim("eater", host_wide=False) if record.oom_killed else None
    found = exitreason.explain(record, act, memory_limit=64 << 20, victim=victim)
    assert (found.cause, found.text) == (cause, text)


@pytest.mark.row("B-15")
def test_memory_of_the_machine_is_told_from_the_containers_limit(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_text(
        "6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=a,mems_allowed=0,oom_memcg=/o/other,task_memcg=/o/other,task=no,pid=1,uid=0\n"
        "6,1,3,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=a,mems_allowed=0,global_oom,task_memcg=/o/mine,task=big,pid=9,uid=0\n"
    )
    victim = exitreason.find_victim("mine", str(log))
    assert victim == exitreason.Victim("big", host_wide=True)
    found = exitreason.explain(ExitRecord(137, 1, 9, True, "", 1), "", memory_limit=0, victim=victim)
    assert found.text == "the machine's memory was used up: the kernel killed big"
    assert found.host_wide


@pytest.mark.row("B-15", "E-276")
def test_a_container_that_reached_its_memory_limit_says_so_with_numbers(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        eats = "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done"
        one = await run(engine, "sh", "-c", eats, host={"memory": 8 << 20, "memory_swap": 8 << 20})
        assert await end_of(engine, one) == 137
        assert document(engine, one)["State"]["OOMKilled"]
        assert "Onggi" not in document(engine, one)
        found = (await beyond(engine, one))["Exit"]
        assert (found["Cause"], found["Signal"], found["MemoryLimit"]) == ("out-of-memory", "SIGKILL", 8 << 20)
        assert found["OomKills"] >= 1
        assert found["Text"].startswith("its memory limit of 8 MiB was reached: the kernel killed ")

    with_engine(tmp_path, test)


@pytest.mark.row("B-15")
def test_who_ended_a_container_is_told_from_the_outside_and_survives_the_engine(tmp_path: Path) -> None:
    async def main() -> None:
        engine = await Engine.open(options(tmp_path))
        await add_image(engine)
        for name in ("stopped", "killed", "signal"):
            await run(engine, "sleep", "100", name=name, host={"init": True})
        await engine.containers.stop("stopped", timeout=5)
        await engine.containers.kill("killed")
        await engine.containers.kill("signal", "USR1")
        await end_of(engine, "signal")
        # Of our init: it ends as the program ended, and the signal is in the code.
        assert "SIGUSR1" in (await beyond(engine, "signal"))["Exit"]["Text"]
        failed = await engine.containers.create("failed", body("no-such-program"))
        with pytest.raises(RuntimeStepError):
            await engine.containers.start(failed.id)
        assert (await beyond(engine, "failed"))["Exit"]["Cause"] == "not-started"
        await engine.close()
        async with an_engine(tmp_path) as again:
            assert (await beyond(again, "stopped"))["Exit"]["Cause"] == "stopped"
            assert (await beyond(again, "killed"))["Exit"]["Cause"] == "killed"

    asyncio.run(main())


@pytest.mark.row("B-11")
def test_delays_of_a_restart_are_the_containers_own(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        made = await engine.containers.create(
            "",
            _with(
                body("false", host=policy("on-failure", 3)), restart_delay=300_000_000, restart_max_delay=400_000_000
            ),
        )
        await engine.containers.start(made.id)
        container = engine.containers.get(made.id)
        seen: list[float] = []
        async with asyncio.timeout(30):
            while container.row.restart_count < 3 or container.state != "exited":
                if container.restart_delay_s and (not seen or seen[-1] != container.restart_delay_s):
                    seen.append(container.restart_delay_s)
                await asyncio.sleep(0.01)
        assert seen[:2] == [0.3, 0.4]
        assert (await beyond(engine, made.id))["RestartDelay"] == 300_000_000
        for words, text in (({"restart_delay": -1}, "can't be negative"), ({"restart_delay": 2, "restart_max_delay": 1}, "longer"),
                            ({"health_on_failure": "pray"}, "is none of")):  # fmt: skip
            with pytest.raises(InvalidArgument, match=text):
                await engine.containers.create("", _with(body("false"), **words))

    with_engine(tmp_path, test)


def _with(made: Any, **words: Any) -> Any:
    made.onggi = Extensions(**words)
    return made


@pytest.mark.row("B-09")
@pytest.mark.parametrize(
    ("action", "status"), [("kill", "exited"), ("stop", "exited"), ("restart", "running"), ("none", "running")]
)
def test_an_unhealthy_container_is_dealt_with_as_it_was_said(tmp_path: Path, action: str, status: str) -> None:
    async def test(engine: Engine) -> None:
        check = healthcheck("CMD", "test", "-e", "/tmp/ok", interval_s=0.1, retries=1)
        made = await engine.containers.create(
            "", _with(body("sleep", "100", healthcheck=check, host={"init": True}), health_on_failure=action)
        )
        await engine.containers.start(made.id)
        container = engine.containers.get(made.id)
        first = container.row.started_ns
        if action == "none":
            async with asyncio.timeout(30):
                while container.health is None or container.health.status != "unhealthy":
                    await asyncio.sleep(0.01)
        elif action == "restart":
            async with asyncio.timeout(30):
                while container.state != "running" or container.row.started_ns == first:
                    await asyncio.sleep(0.01)
            assert container.row.restart_count >= 1
        else:
            await until_state(engine, made.id, "exited")
            assert (await beyond(engine, made.id))["Exit"]["Cause"] == "unhealthy"
        assert document(engine, made.id)["State"]["Status"] in (status, "restarting") if action == "restart" else status

    with_engine(tmp_path, test)


@pytest.mark.row("B-12")
def test_a_start_by_policy_that_fails_is_tried_again_until_what_it_needs_is_there(tmp_path: Path) -> None:
    source = tmp_path / "late"
    source.mkdir()

    async def main() -> None:
        engine = await Engine.open(options(tmp_path))
        await add_image(engine)
        one = await run(engine, "sleep", "100", name="one", host={**policy("always"), "binds": [f"{source}:/x"]})
        await engine.close()
        # The machine goes down, and comes up without the disk.
        pid = engine.containers.get(one).row.pid
        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.3)
        source.rmdir()
        async with an_engine(tmp_path) as again:
            await until_state(again, "one", "restarting")
            async with asyncio.timeout(30):
                while not document(again, "one")["State"]["Error"]:
                    await asyncio.sleep(0.01)
            assert "does not exist" in document(again, "one")["State"]["Error"]
            source.mkdir()
            await until_state(again, "one", "running")

    asyncio.run(main())


@pytest.mark.row("B-38")
def test_health_is_asked_by_the_engine_inside_the_containers_network(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        serve = "mkdir /tmp/w; echo yes > /tmp/w/up; httpd -f -p 8080 -h /tmp/w"
        for test_words, status in (
            (["HTTP", ":8080/up"], "healthy"), (["HTTP", ":8080/down"], "unhealthy"), (["TCP", ":8080"], "healthy"),
            (["TCP", ":9"], "unhealthy"), (["CMD", "TCP", ":8080"], "healthy"), (["GRPC", ":8080"], "unhealthy"),
        ):  # fmt: skip
            check = HealthConfig(test_words, 150_000_000, 2_000_000_000, 0, 0, 2)
            one = await run(engine, "sh", "-c", serve, healthcheck=check)
            container = engine.containers.get(one)
            async with asyncio.timeout(30):
                while container.health is None or container.health.status != status:
                    await asyncio.sleep(0.02)
            told = document(engine, one)
            assert told["Config"]["Healthcheck"]["Test"] == ["CMD", *healthprobes.plain(test_words)]
            if test_words == ["HTTP", ":8080/down"]:
                assert "404 Not Found" in told["State"]["Health"]["Log"][-1]["Output"]
            await engine.containers.remove(one, force=True)

    with_engine(tmp_path, test)


@pytest.mark.row("B-38")
def test_a_grpc_service_is_well_when_it_says_serving(tmp_path: Path) -> None:
    from grpclib.health.service import Health
    from grpclib.server import Server

    async def main() -> None:
        server = Server([Health()])
        await server.start("127.0.0.1", 0)
        assert server._server is not None
        port = server._server.sockets[0].getsockname()[1]
        try:
            probe = healthprobes.parse(["GRPC", f":{port}"])
            assert probe is not None
            assert await healthprobes.ask(probe, os.getpid(), 5) == (0, "SERVING")
            other = healthprobes.parse(["GRPC", f":{port}/no.such"])
            assert other is not None
            code, text = await healthprobes.ask(other, os.getpid(), 5)
            assert (code, text.partition(":")[0]) == (1, "NOT_FOUND")
        finally:
            server.close()
            await server.wait_closed()

    asyncio.run(main())


@pytest.mark.row("B-38")
@pytest.mark.parametrize(
    "words",
    [["HTTP"], ["HTTP", "8080"], ["HTTP", ":99999"], ["TCP", ":80/path"], ["GRPC", "host:80"], ["HTTP", ":80/a b"]],
)
def test_a_network_check_that_means_nothing_is_refused(words: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="Test in Healthcheck"):
        healthprobes.parse(words)
