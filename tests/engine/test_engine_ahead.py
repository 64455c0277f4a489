"""Starts take a child that was made before anybody asked, whatever network the container has. Needs root."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from onggi.engine.engine import Engine
from tests.engine.engines import needs_root, run, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


def born_s(pid: int) -> float:
    """When the process was made, on CLOCK_BOOTTIME, to a hundredth of a second (proc_pid_stat(5), field 22)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


@pytest.mark.row("B-30")
@pytest.mark.parametrize("network", ["none", "bridge"])
def test_a_containers_process_is_older_than_its_start(tmp_path: Path, network: str) -> None:
    async def main(engine: Engine) -> None:
        await run(engine, "sleep", "600", host={"network_mode": network})  # from now on children are made ahead
        await asyncio.sleep(1.0)
        asked_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        container = await run(engine, "sleep", "600", host={"network_mode": network})
        assert born_s(engine.containers.get(container).row.pid) < asked_s - 0.1

    with_engine(tmp_path, main)
