"""Worker processes: errors come over as themselves, a killed one is an error and no more."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from onggi.errors import Corrupt, OnggiError, Unavailable
from onggi.store import jobs
from onggi.store.workers import Workers


def run(scenario: Callable[[Workers], Awaitable[None]]) -> None:
    async def main() -> None:
        workers = Workers()
        try:
            await scenario(workers)
        finally:
            await workers.close()

    asyncio.run(main())


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def test_errors_of_a_job_keep_their_kind() -> None:
    async def scenario(workers: Workers) -> None:
        read_end, write_end = os.pipe()
        os.write(write_end, b"no tar at all" * 100)
        os.close(write_end)
        with pytest.raises(Corrupt, match="invalid tar header"):
            await workers.run("onggi.store.jobs:unpack_layer", jobs.UnpackLayer(), [read_end, read_end])
        with pytest.raises(NotADirectoryError):
            await workers.run("onggi.store.jobs:usage", None, [os.open("/dev/null", os.O_RDONLY)], ours=False)
        with pytest.raises(OnggiError, match="job 'os:getpid'"):
            await workers.run("os:getpid")
        os.close(read_end)

    run(scenario)


@pytest.mark.row("K-32")
def test_a_killed_job_is_an_error_and_the_next_one_runs(tmp_path: Path) -> None:
    async def scenario(workers: Workers) -> None:
        read_end, write_end = os.pipe()
        target = os.open(tmp_path, os.O_RDONLY)
        job = asyncio.create_task(workers.run("onggi.store.jobs:unpack_layer", jobs.UnpackLayer(), [read_end, target]))
        while not (found := [child for worker in _children(os.getpid()) for child in _children(worker)]):
            await asyncio.sleep(0.01)
        os.kill(found[0], signal.SIGKILL)
        with pytest.raises(Unavailable, match="was killed"):
            await job
        for fd in (read_end, write_end):
            os.close(fd)
        assert await workers.run("onggi.store.jobs:usage", None, [target]) == b"\x00"
        os.close(target)

    run(scenario)


@pytest.mark.row("K-32")
def test_a_killed_worker_process_is_started_again() -> None:
    async def scenario(workers: Workers) -> None:
        place = os.open(".", os.O_RDONLY)
        for _ in range(2):
            await workers.run("onggi.store.jobs:remove_trees", jobs.RemoveTrees(["not-there"]), [place])
            [worker] = [
                child
                for child in _children(os.getpid())
                if b"onggi.store.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
            ]
            os.kill(worker, signal.SIGKILL)
            # Its socket is closed once it is a zombie or gone.
            os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)
        os.close(place)

    run(scenario)


def test_a_cancelled_job_has_ended_when_cancelling_returns(tmp_path: Path) -> None:
    async def scenario(workers: Workers) -> None:
        read_end, write_end = os.pipe()
        target = os.open(tmp_path, os.O_RDONLY)
        job = asyncio.create_task(workers.run("onggi.store.jobs:unpack_layer", jobs.UnpackLayer(), [read_end, target]))
        await asyncio.sleep(0)
        os.close(read_end)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        # No reader is left: the job's descriptors are closed.
        with pytest.raises(BrokenPipeError):
            os.write(write_end, b"x")
        os.close(write_end)
        os.close(target)

    run(scenario)


def test_jobs_end_with_their_engine(tmp_path: Path) -> None:
    program = f"""
import asyncio, os, sys
from onggi.store import jobs
from onggi.store.workers import Workers

async def main():
    read_end, write_end = os.pipe()
    await Workers().run("onggi.store.jobs:unpack_layer", jobs.UnpackLayer(), [read_end, os.open({str(tmp_path)!r}, os.O_RDONLY)])

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program]) as engine:
        until = time.monotonic() + 30
        workers: list[int] = []
        while len(workers) < 2 and time.monotonic() < until:
            time.sleep(0.02)
            first = _children(engine.pid)
            workers = [*first, *(child for worker in first for child in _children(worker))]
        engine.kill()
    assert len(workers) == 2
    until = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{pid}/cwd") for pid in workers):
        assert time.monotonic() < until
        time.sleep(0.01)
