"""Containers from create to remove on a real engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from onggi.engine.engine import Engine
from onggi.errors import Conflict, InvalidArgument, NotFound, NotModified, RuntimeStepError
from tests.engine import engines
from tests.engine.engines import body, document, end_of, logs, needs_root, output, recorded, run, with_engine
from tests.patience import SLOW, soon

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


def test_a_container_runs_and_its_output_and_exit_code_are_known(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        container = await run(engine, "sh", "-c", "echo out; echo err >&2; exit 7")
        assert await end_of(engine, container) == 7
        assert sorted((await logs(engine, container)).split()) == ["err", "out"]
        state = document(engine, container)["State"]
        assert (state["Status"], state["ExitCode"], state["Pid"], state["Running"]) == ("exited", 7, 0, False)
        await engine.containers.remove(container)
        with pytest.raises(NotFound, match="No such container"):
            engine.containers.get(container)

    with_engine(tmp_path, test)


def test_names_conflict_in_dockers_words_and_are_free_after_the_removal(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        first = await engine.containers.create("web", body("true"))
        with pytest.raises(
            Conflict,
            match=rf'^Conflict. The container name "/web" is already in use by container "{first.id}". You have to remove \(or rename\)',
        ):
            await engine.containers.create("web", body("true"))
        await engine.containers.remove("web")
        await engine.containers.create("/web", body("true"))
        await engine.containers.rename("web", "web2")
        assert document(engine, "web2")["Name"] == "/web2"
        with pytest.raises(InvalidArgument, match="same name as its current name"):
            await engine.containers.rename("web2", "web2")
        with pytest.raises(InvalidArgument, match=r"Invalid container name \(a\), only"):
            await engine.containers.create("a", body("true"))

    with_engine(tmp_path, test)


@pytest.mark.row("E-261")
@pytest.mark.row("E-275")
def test_a_program_that_is_not_there_fails_the_start_and_leaves_nothing(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        made = await engine.containers.create("", body("nothing-here"))
        with pytest.raises(RuntimeStepError, match=r"executable file not found in \$PATH$") as caught:
            await engine.containers.start(made.id)
        assert str(caught.value).startswith(
            "failed to create task for container: failed to create shim task: OCI runtime create failed"
        )
        state = document(engine, made.id)["State"]
        assert (state["Status"], state["ExitCode"], state["Running"]) == ("created", 127, False)
        assert "executable file not found" in state["Error"]
        made = await engine.containers.create("", body("/etc/passwd"))
        with pytest.raises(RuntimeStepError, match="permission denied"):
            await engine.containers.start(made.id)
        assert document(engine, made.id)["State"]["ExitCode"] == 126

    with_engine(tmp_path, test)


def test_stop_sends_the_signal_waits_and_kills(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        polite = await run(engine, "sh", "-c", "trap 'exit 3' TERM; while true; do sleep 0.05; done")
        await asyncio.sleep(0.2)
        await engine.containers.stop(polite, timeout=5)
        assert document(engine, polite)["State"]["ExitCode"] == 3
        with pytest.raises(NotModified):
            await engine.containers.stop(polite)
        deaf = await run(engine, "sh", "-c", "trap '' TERM; while true; do sleep 0.05; done")
        await asyncio.sleep(0.2)
        await engine.containers.stop(deaf, timeout=1)
        assert document(engine, deaf)["State"]["ExitCode"] == 137
        with pytest.raises(Conflict, match="is not running"):
            await engine.containers.kill(deaf)
        await engine.containers.start(deaf)
        with pytest.raises(NotModified):
            await engine.containers.start(deaf)
        with pytest.raises(InvalidArgument, match="invalid signal: NOPE"):
            await engine.containers.kill(deaf, "NOPE")
        with pytest.raises(Conflict, match="stop the container before removing or force remove"):
            await engine.containers.remove(deaf)
        await engine.containers.remove(deaf, force=True)

    with_engine(tmp_path, test)


@pytest.mark.row("E-255")
def test_events_of_a_run_come_in_dockers_order(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        async with recorded(engine) as events:
            container = await run(engine, "true", host={"network_mode": "bridge"}, labels={"a": "b"})
            await end_of(engine, container)
            await engine.containers.remove(container)
        assert engines.actions(events) == [
            "container create", "network connect", "container start", "network disconnect", "container die", "container destroy",
        ] or engines.actions(events) == [
            "container create", "network connect", "container start", "container die", "network disconnect", "container destroy",
        ]  # fmt: skip
        start = next(event for event in events if event.Action == "start")
        assert start.Actor.Attributes["a"] == "b"
        assert start.Actor.Attributes["image"] == "busybox"

    with_engine(tmp_path, test)


@pytest.mark.row("E-282")
def test_a_container_with_auto_remove_is_gone_after_its_end_with_its_anonymous_volumes(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        container = await run(engine, "sleep", "0.2", host={"auto_remove": True}, volumes={"/data": {}})
        assert len(engine.volumes.list()) == 1
        removed = engine.containers.wait(container, "removed")
        assert (await asyncio.wait_for(removed, 10)).exit_code == 0
        assert engine.containers.find(container) is None
        assert not engine.volumes.list()

    with_engine(tmp_path, test)


def test_restart_keeps_a_container_with_auto_remove(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        container = await run(engine, "sleep", "60", host={"auto_remove": True}, stop_signal="SIGKILL")
        before = document(engine, container)["State"]["StartedAt"]
        async with recorded(engine) as events:
            await engine.containers.restart(container, timeout=5)
        assert [one.Action for one in events if one.Type == "container"] == ["kill", "die", "stop", "start", "restart"]
        assert document(engine, container)["State"]["StartedAt"] != before
        assert document(engine, container)["State"]["Running"]

    with_engine(tmp_path, test)


@pytest.mark.row("E-016")
def test_pause_freezes_and_says_so(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        container = await run(engine, "sh", "-c", "while true; do echo x; sleep 0.02; done")
        await engine.containers.pause(container)
        assert document(engine, container)["State"]["Paused"]
        with pytest.raises(Conflict, match="is already paused"):
            await engine.containers.pause(container)
        with pytest.raises(Conflict, match="cannot start a paused container, try unpause instead"):
            await engine.containers.start(container)
        await asyncio.sleep(0.1)  # what was in the pipe is in the log now
        before = await logs(engine, container)
        await asyncio.sleep(0.2)
        assert await logs(engine, container) == before
        await engine.containers.unpause(container)
        with pytest.raises(Conflict, match="is not paused"):
            await engine.containers.unpause(container)
        await engine.containers.pause(container)
        await engine.containers.stop(container, timeout=1)
        assert document(engine, container)["State"]["Status"] == "exited"

    with_engine(tmp_path, test)


def test_what_a_container_is_told_about_itself_is_there(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        text = await output(
            engine, "sh", "-c", "hostname; id -u; pwd; echo $A:$HOME; cat /etc/hostname; cat /proc/1/oom_score_adj; grep -c . /etc/hosts",
            hostname="jar", user="user", working_dir="/made/here", env=["A=1"], host={"oom_score_adj": 77},
        )  # fmt: skip
        assert text.split() == ["jar", "1000", "/made/here", "1:/tmp", "jar", "77", "6"]

    with_engine(tmp_path, test)


@pytest.mark.row("E-210")
@pytest.mark.row("E-213")
def test_limits_are_in_the_kernel_and_change_while_it_runs(tmp_path: Path) -> None:
    from onggi.engine.config import UpdateBody
    from onggi.kernel import cgroups

    async def test(engine: Engine) -> None:
        host = {"memory": 64 << 20, "pids_limit": 50, "nano_cpus": 500_000_000}
        container = await run(engine, "sleep", "60", host=host)
        stats = cgroups.open(engine.cgroup_path(engine.containers.get(container))).stats()
        assert (stats.memory_limit, stats.pids_limit) == (64 << 20, 50)
        await engine.containers.update(
            container, UpdateBody(memory=32 << 20, memory_swap=64 << 20), frozenset({"memory", "memoryswap"})
        )
        stats = cgroups.open(engine.cgroup_path(engine.containers.get(container))).stats()
        assert stats.memory_limit == 32 << 20
        assert document(engine, container)["HostConfig"]["Memory"] == 32 << 20
        with pytest.raises(InvalidArgument, match="Minimum memory limit allowed is 6MB"):
            await engine.containers.create("", body("true", host={"memory": 1 << 20}))

    with_engine(tmp_path, test)


@pytest.mark.row("E-276")
def test_a_container_that_eats_more_than_its_memory_is_said_to_be_oom_killed(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        async with recorded(engine) as events:
            container = await run(
                engine, "sh", "-c", "tail /dev/zero", host={"memory": 16 << 20, "memory_swap": 16 << 20}
            )
            assert await asyncio.wait_for(end_of(engine, container), 20) == 137
        assert document(engine, container)["State"]["OOMKilled"]
        assert "oom" in [event.Action for event in events]
        await engine.containers.start(container)
        assert not document(engine, container)["State"]["OOMKilled"]

    with_engine(tmp_path, test)


@pytest.mark.row("R-23")
def test_a_storm_of_moves_ends_with_nothing_left(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        import random

        chance = random.Random(7)

        async def one(number: int) -> None:
            made = await engine.containers.create(f"storm{number}", body("sleep", "30"))
            moves = [
                lambda: engine.containers.start(made.id), lambda: engine.containers.kill(made.id), lambda: engine.containers.pause(made.id),
                lambda: engine.containers.unpause(made.id), lambda: engine.containers.restart(made.id, timeout=0),
                lambda: engines.execute(engine, made.id, "true"), lambda: engine.containers.rename(made.id, f"storm{number}x{chance.random()}"),
            ]  # fmt: skip
            outcomes = await asyncio.gather(*(chance.choice(moves)() for _ in range(4)), return_exceptions=True)
            for outcome in outcomes:
                assert outcome is None or isinstance(
                    outcome, (tuple, Conflict, NotModified, InvalidArgument, NotFound, RuntimeStepError)
                ), outcome
            await engine.containers.remove(made.id, force=True)

        await asyncio.gather(*(one(number) for number in range(25)))
        assert not list(engine.containers)
        async with asyncio.timeout(10 * SLOW):
            while (await engine.system.leaks())["Leaks"]:
                await asyncio.sleep(0.05)

    with_engine(tmp_path, test)


@pytest.mark.row("R-24")
def test_a_client_that_hangs_up_leaves_a_whole_container_or_none(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        for turn in range(10):
            creating = asyncio.ensure_future(engine.containers.create(f"gone{turn}", body("sleep", "30")))
            await asyncio.sleep(0.0005 * turn)
            creating.cancel()
            await asyncio.gather(creating, return_exceptions=True)
        for turn in range(5):
            made = await engine.containers.create(f"left{turn}", body("sleep", "30"))
            starting = asyncio.ensure_future(engine.containers.start(made.id))
            await asyncio.sleep(0.002 * turn)
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        # What was begun for a client that has gone goes on to its end.
        await soon(lambda: all(one.state in ("created", "running") for one in engine.containers))
        for container in engine.containers:
            assert document(engine, container.id)["Id"] == container.id
        assert sum(one.state == "running" for one in engine.containers) == 5

    with_engine(tmp_path, test)
