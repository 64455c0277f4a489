"""Containers that take what they can get, and machines that give nothing: the call fails clearly, the rest goes on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from onggi.engine.engine import Engine
from onggi.kernel import cgroups
from tests.engine.engines import document, execute, needs_root, output, run, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


@pytest.mark.row("K-33", "K-42", "E-213")
def test_a_container_that_has_used_up_its_processes_can_be_looked_at_and_stopped(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        bomb = await run(
            engine, "sh", "-c", "for n in 1 2 3 4 5 6 7; do sleep 1000 & done; wait", host={"pids_limit": 8}
        )
        group = cgroups.open(engine.cgroup_path(engine.containers.get(bomb)))
        async with asyncio.timeout(10):
            while len(group.pids()) < 8:
                await asyncio.sleep(0.02)
        # Who enters is no fork of the container's: it can be looked at from inside all the same.
        assert await execute(engine, bomb, "echo", "in") == (0, "in\n")
        titles, rows = await engine.containers.top(bomb, "-ef")
        assert len(rows) >= 8, titles
        assert await output(engine, "echo", "well") == "well\n"
        await engine.containers.stop(bomb, timeout=0)
        assert document(engine, bomb)["State"]["ExitCode"] == 137

    with_engine(tmp_path, test)


@pytest.mark.row("K-33", "R-25")
def test_a_cgroup_that_others_have_filled_keeps_no_container_from_being_removed(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        one = await run(engine, "sleep", "1000")
        group = cgroups.open(engine.cgroup_path(engine.containers.get(one)))
        directories = [path for path in group.view().values() if os.path.isdir(path)] or [
            f"/sys/fs/cgroup{engine.cgroup_path(engine.containers.get(one))}"
        ]
        for directory in directories:
            os.mkdir(f"{directory}/below")
        await engine.containers.remove(one, force=True)
        async with asyncio.timeout(10):
            while any(os.path.exists(directory) for directory in directories):
                await asyncio.sleep(0.02)

    with_engine(tmp_path, test)


@pytest.mark.row("E-213", "I-03")
def test_groups_below_a_parent_that_a_client_asked_for_go_with_the_engine(tmp_path: Path) -> None:
    parent = f"/asked-{os.getpid()}"

    async def test(engine: Engine) -> None:
        for _ in range(2):
            one = await run(engine, "sleep", "1000", host={"cgroup_parent": parent})
            group = cgroups.open(engine.cgroup_path(engine.containers.get(one)))
            assert len(group.pids()) == 1
            await engine.containers.remove(one, force=True)

    with_engine(tmp_path, test)
    left = [*Path("/sys/fs/cgroup").glob(f"*{parent}"), *Path("/sys/fs/cgroup").glob(parent[1:])]
    try:
        assert [entry for place in left for entry in place.iterdir() if entry.is_dir()] == []
    finally:
        for place in left:
            place.rmdir()
