"""Execs, attach and health checks on a real engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from onggi.engine.config import ExecBody, ExecStartBody, Ulimit
from onggi.engine.engine import Engine
from onggi.engine.streams import AttachOptions
from onggi.errors import Conflict, InvalidArgument, NotFound, RuntimeStepError
from tests.engine.engines import (
    body,
    document,
    end_of,
    execute,
    frames,
    healthcheck,
    needs_root,
    policy,
    read_all,
    recorded,
    run,
    with_engine,
)

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


def test_an_exec_runs_in_the_container_and_its_code_is_known(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        container = await run(engine, "sleep", "60", hostname="jar", env=["A=1"])
        code, text = await execute(engine, container, "sh", "-c", "hostname; echo $A; echo $B; exit 5", env=["B=2"])
        assert (code, text.split()) == (5, ["jar", "1", "2"])
        code, text = await execute(engine, container, "id", "-u", user="user")
        assert (code, text.strip()) == (0, "1000")
        code, text = await execute(engine, container, "sh", "-c", "test -t 0 && echo tty", tty=True, attach_stdin=True)
        assert text.strip() == "tty"
        with pytest.raises(InvalidArgument, match="No exec command specified"):
            await engine.execs.create(container, ExecBody())
        with pytest.raises(NotFound, match="No such exec instance"):
            engine.execs.get("nope")
        missing = await engine.execs.create(container, ExecBody(cmd=["nothing-here"], attach_stdout=True))
        with pytest.raises(RuntimeStepError, match="executable file not found"):
            await engine.execs.start(missing, ExecStartBody())
        assert engine.execs.inspect(missing)["ExitCode"] == 127

    with_engine(tmp_path, test)


@pytest.mark.row("E-049")
def test_an_exec_has_the_limits_rights_and_groups_of_its_container(tmp_path: Path) -> None:
    look = "grep -E 'open files' {0}/limits; cat {0}/oom_score_adj; grep -E '^(Groups|NoNewPrivs|Seccomp|CapBnd):' {0}/status"

    async def test(engine: Engine) -> None:
        bounds: dict[str, Any] = {
            "ulimits": [Ulimit(name="nofile", soft=100, hard=200)], "oom_score_adj": 500, "group_add": ["7"],
            "security_opt": ["no-new-privileges"], "cap_drop": ["CHOWN"],
        }  # fmt: skip
        container = await run(engine, "sleep", "60", host=bounds)
        _, first = await execute(engine, container, "sh", "-c", look.format("/proc/1"))
        _, own = await execute(engine, container, "sh", "-c", look.format("/proc/self"))
        assert own == first
        assert "100 " in own
        _, other = await execute(engine, container, "sh", "-c", "id -G", user="5:6")
        assert other.split() == ["6", "7"]
        # All capabilities; its system calls stay the container's.
        _, more = await execute(engine, container, "sh", "-c", look.format("/proc/self"), privileged=True)
        assert [one for one, two in zip(more.splitlines(), own.splitlines(), strict=True) if one != two] == [
            next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd:"))
        ]

    with_engine(tmp_path, test)


def test_an_exec_reads_its_stdin_to_the_end(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        import socket

        container = await run(engine, "sleep", "60")
        made = await engine.execs.create(container, ExecBody(cmd=["wc", "-c"], attach_stdin=True, attach_stdout=True))
        attachment = await engine.execs.start(made, ExecStartBody())
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(attachment.sock, b"x" * 300_000)
        attachment.sock.shutdown(socket.SHUT_WR)
        data = await read_all(attachment.sock)
        assert b"".join(piece for _, piece in frames(data)).strip() == b"300000"
        with pytest.raises(Conflict, match="has already run"):
            await engine.execs.start(made, ExecStartBody())

    with_engine(tmp_path, test)


@pytest.mark.row("E-242")
def test_attach_before_the_start_gets_the_first_byte_and_stdin_reaches_the_process(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        import socket

        made = await engine.containers.create(
            "", body("sh", "-c", "echo first; cat; echo last", open_stdin=True, stdin_once=True, attach_stdin=True)
        )
        container = engine.containers.get(made.id)
        attachment = await engine.streams.attach(container, AttachOptions(stdin=True))
        await engine.containers.start(made.id)
        await asyncio.get_running_loop().sock_sendall(attachment.sock, b"middle\n")
        attachment.sock.shutdown(socket.SHUT_WR)
        text = b"".join(piece for _, piece in frames(await read_all(attachment.sock)))
        assert text == b"first\nmiddle\nlast\n"
        assert await end_of(engine, made.id) == 0

    with_engine(tmp_path, test)


def test_attach_with_logs_replays_what_was_said_and_goes_on_without_a_gap(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        container = await run(
            engine, "sh", "-c", "i=0; while [ $i -lt 200 ]; do echo $i; i=$((i+1)); usleep 2000; done"
        )
        await asyncio.sleep(0.2)
        attachment = await engine.streams.attach(engine.containers.get(container), AttachOptions(logs=True))
        text = b"".join(piece for _, piece in frames(await read_all(attachment.sock)))
        assert [int(word) for word in text.split()] == list(range(200))

    with_engine(tmp_path, test)


@pytest.mark.row("E-258", "E-304", "E-306")
def test_health_becomes_healthy_and_unhealthy_by_its_probes(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        async with recorded(engine) as events:
            container = await run(
                engine, "sh", "-c", "touch /tmp/ok; sleep 60", healthcheck=healthcheck("CMD-SHELL", "echo probed; test -f /tmp/ok"),
            )  # fmt: skip
            assert document(engine, container)["State"]["Health"]["Status"] == "starting"
            one = engine.containers.get(container)
            await asyncio.wait_for(one.next_health(), 5)
            assert document(engine, container)["State"]["Health"]["Status"] == "healthy"
            await execute(engine, container, "rm", "/tmp/ok")
            await asyncio.wait_for(one.next_health(), 5)
            health = document(engine, container)["State"]["Health"]
            assert (health["Status"], health["FailingStreak"]) == ("unhealthy", 2)
            assert health["Log"][-1]["Output"] == "probed\n"
        found = [event.Action for event in events if event.Action.startswith("health_status")]
        assert found == ["health_status: healthy", "health_status: unhealthy"]

    with_engine(tmp_path, test)


def test_a_probe_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        container = await run(
            engine, "sleep", "60", healthcheck=healthcheck("CMD", "sleep", "30", timeout_s=0.2, retries=1)
        )
        await asyncio.wait_for(engine.containers.get(container).next_health(), 5)
        health = document(engine, container)["State"]["Health"]
        assert health["Status"] == "unhealthy"
        assert health["Log"][-1]["ExitCode"] == -1
        assert health["Log"][-1]["Output"].startswith("Health check exceeded timeout (200ms)")
        _, text = await execute(engine, container, "ps")
        assert text.count("sleep") == 1

    with_engine(tmp_path, test)


@pytest.mark.row("E-277")
@pytest.mark.row("R-28")
def test_on_failure_restarts_as_often_as_it_says(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        container = await run(engine, "false", host=policy("on-failure", 3))
        one = engine.containers.get(container)
        await asyncio.wait_for(one.exited.wait(), 10)
        found = document(engine, container)
        assert (found["RestartCount"], found["State"]["Status"], found["State"]["ExitCode"]) == (3, "exited", 1)

    with_engine(tmp_path, test)


@pytest.mark.row("E-279")
def test_a_stop_in_the_waiting_time_wins_over_the_policy(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        container = await run(engine, "sh", "-c", "exit 4", host=policy("always"))
        one = engine.containers.get(container)
        while one.state != "restarting":
            await asyncio.sleep(0.005)
        state = document(engine, container)["State"]
        assert (state["Restarting"], state["Running"], state["Pid"]) == (True, True, 0)
        await engine.containers.stop(container)
        count = one.row.restart_count
        await asyncio.sleep(0.5)
        assert (one.state, one.row.restart_count) == ("exited", count)

    with_engine(tmp_path, test)
