"""The processes that start execs and wait for them: they live on, keep nothing, and stand in nobody's way. Needs root."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from onggi.engine.config import ExecBody
from onggi.engine.engine import Engine
from onggi.errors import RuntimeStepError
from onggi.kernel.fds import Fd
from onggi.runtime import protocol
from onggi.runtime.execs import Running
from tests.engine.engines import execute, needs_root, run, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


def parent_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))


async def sleeping(engine: Engine, container: str) -> str:
    """An exec that runs; its id."""
    made = await engine.execs.create(container, ExecBody(cmd=["sleep", "600"]))
    await engine.execs.start_detached(made)
    return made


async def failed(engine: Engine, container: str) -> None:
    made = await engine.execs.create(container, ExecBody(cmd=["nothing-here"]))
    with pytest.raises(RuntimeStepError):
        await engine.execs.start_detached(made)


def test_a_few_processes_serve_many_execs_and_keep_no_descriptor_of_them(tmp_path: Path) -> None:
    async def main(engine: Engine) -> None:
        container = await run(engine, "sleep", "600")
        for _ in range(4):  # all of them have served
            await execute(engine, container, "true")
        open_before: dict[int, int] = {}
        for _ in range(30):
            await execute(engine, container, "true", tty=True)
            await execute(engine, container, "true")
            await failed(engine, container)
            made = engine.execs.get(await sleeping(engine, container))
            parent = parent_of(made.pid)
            os.kill(made.pid, signal.SIGKILL)
            async with asyncio.timeout(10):
                await made.ended.wait()
            open_before.setdefault(parent, len(os.listdir(f"/proc/{parent}/fd")))
        assert len(open_before) <= 4
        async with asyncio.timeout(10):
            # An end is told before what belonged to it is closed.
            while any(len(os.listdir(f"/proc/{one}/fd")) > count for one, count in open_before.items()):
                await asyncio.sleep(0.05)

    with_engine(tmp_path, main)


def test_who_starts_execs_and_is_killed_takes_its_own_along_and_no_other(tmp_path: Path) -> None:
    async def main(engine: Engine) -> None:
        container = await run(engine, "sleep", "600")
        made = [await sleeping(engine, container) for _ in range(6)]
        parents = {one: parent_of(engine.execs.get(one).pid) for one in made}
        victim = parents[made[0]]
        os.kill(victim, signal.SIGKILL)
        for one in made:
            found = engine.execs.get(one)
            if parents[one] == victim:
                async with asyncio.timeout(10):
                    await found.ended.wait()
                assert found.exit_code == 137
            else:
                assert found.running
        assert await execute(engine, container, "echo", "next") == (0, "next\n")

    with_engine(tmp_path, main)


def test_an_exec_outlives_the_launcher_of_its_time(tmp_path: Path) -> None:
    async def main(engine: Engine) -> None:
        container = await run(engine, "sleep", "600")
        made = await engine.execs.create(container, ExecBody(cmd=["sh", "-c", "sleep 1; exit 7"]))
        await engine.execs.start_detached(made)
        os.kill(engine.runtime.launcher_pid, signal.SIGKILL)
        assert await execute(engine, container, "echo", "next") == (0, "next\n")
        async with asyncio.timeout(10):
            await engine.execs.get(made).ended.wait()
        assert engine.execs.get(made).exit_code == 7

    with_engine(tmp_path, main)


def test_an_end_is_told_while_something_else_is_waited_for() -> None:
    engine, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    never, held = os.pipe()
    child = subprocess.Popen(["sh", "-c", "exit 4"])
    running = Running()
    running.add(Fd(os.pidfd_open(child.pid)), child.pid, control)
    with engine:
        assert running.until({engine.fileno(): select.POLLIN, never: select.POLLIN}) == {engine.fileno()}
        received = protocol.receive(engine)
        assert received is not None
        report = protocol.decode_shim_report(received[0])
        assert isinstance(report, protocol.ExitRecord)
        assert report.exit_code == 4
        assert protocol.receive(engine) is None  # nothing of it is held any longer
    running.until_idle()
    os.close(never)
    os.close(held)
    child.returncode = 4
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)
