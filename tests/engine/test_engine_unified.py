"""The engine on cgroup v2 alone, which is what most machines have: `make test-v2` runs this in a virtual machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from onggi.engine import pauses, stats
from onggi.engine.config import UpdateBody
from onggi.engine.engine import Engine
from onggi.kernel import cgroups
from tests.engine.engines import body, document, end_of, execute, logs, output, run, with_engine

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not cgroups.is_unified(), reason="this machine has cgroup v1: make test-v2"),
]
MIB = 1 << 20


def directory(engine: Engine, container: str) -> Path:
    return Path(f"/sys/fs/cgroup{engine.cgroup_path(engine.containers.get(container))}")


LIMITS: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("P-124", {"memory": 64 * MIB}, {"memory.max": str(64 * MIB)}),
    ("P-125", {"memory": 64 * MIB, "memory_swap": 96 * MIB}, {"memory.max": str(64 * MIB), "memory.swap.max": str(32 * MIB)}),
    ("P-125", {"memory": 64 * MIB, "memory_swap": 64 * MIB}, {"memory.swap.max": "0"}),
    ("P-125", {"memory": 64 * MIB, "memory_swap": -1}, {"memory.swap.max": "max"}),
    ("P-124", {"memory": 64 * MIB, "memory_reservation": 32 * MIB}, {"memory.low": str(32 * MIB)}),
    ("P-128", {"nano_cpus": 500_000_000}, {"cpu.max": "50000 100000"}),
    ("P-128", {"cpu_quota": 20000, "cpu_period": 50000}, {"cpu.max": "20000 50000"}),
    ("P-129", {"cpu_shares": 1024}, {"cpu.weight": "100"}),
    ("P-129", {"cpu_shares": 2}, {"cpu.weight": "1"}),
    ("P-130", {"cpuset_cpus": "0"}, {"cpuset.cpus": "0"}),
    ("E-213", {"pids_limit": 33}, {"pids.max": "33"}),
]  # fmt: skip


@pytest.mark.row("P-124", "P-125", "P-128", "P-129", "P-130", "E-213")
def test_each_limit_is_in_its_file(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        for _, words, files in LIMITS:
            container = await run(engine, "sleep", "60", host=words)
            where = directory(engine, container)
            for name, value in files.items():
                if name != "memory.swap.max" or (where / name).exists():
                    assert (where / name).read_text().strip() == value, (words, name)
            await engine.containers.remove(container, force=True)
            assert not where.exists()

    with_engine(tmp_path, test)


@pytest.mark.row("E-300")
def test_info_says_so(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        info = await engine.system.info()
        assert (info["CgroupVersion"], info["CgroupDriver"], info["OomKillDisable"]) == ("2", "cgroupfs", False)
        assert "name=cgroupns" in info["SecurityOptions"]

    with_engine(tmp_path, test)


@pytest.mark.row("E-276")
def test_who_takes_too_much_memory_is_killed_and_named(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        grow = "x=aaaaaaaa; while :; do x=$x$x; done"
        container = await run(engine, "sh", "-c", grow, host={"memory": 16 * MIB, "memory_swap": 16 * MIB})
        assert await end_of(engine, container) == 137
        assert document(engine, container)["State"]["OOMKilled"] is True
        # A child's end is the container's own business, and told all the same.
        container = await run(engine, "sh", "-c", f"sh -c '{grow}'; echo went on; sleep 600", host={"memory": 16 * MIB, "memory_swap": 16 * MIB})  # fmt: skip
        async with asyncio.timeout(60):
            while "went on" not in await logs(engine, container):
                await asyncio.sleep(0.1)
        assert document(engine, container)["State"]["Running"] is True
        await engine.stops.kill(engine.containers.get(container), "KILL")
        await end_of(engine, container)
        assert document(engine, container)["State"]["OOMKilled"] is True

    with_engine(tmp_path, test)


def test_no_more_processes_than_allowed(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        container = await run(engine, "sleep", "60", host={"pids_limit": 6})
        _, said = await execute(
            engine, container, "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 60 & done 2>&1; echo end"
        )
        assert "fork" in said
        assert stats.take(engine.cgroup_path(engine.containers.get(container)), 1).counters.pids_current <= 6

    with_engine(tmp_path, test)


def test_pause_stands_still_and_goes_on(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        container = await run(engine, "sh", "-c", "while :; do :; done")
        path, one = engine.cgroup_path(engine.containers.get(container)), engine.containers.get(container)
        await pauses.pause(engine, one)
        before = stats.take(path, 1).counters.cpu_total_ns
        await asyncio.sleep(0.3)
        assert stats.take(path, 1).counters.cpu_total_ns == before
        await pauses.unpause(engine, one)
        async with asyncio.timeout(30):
            while stats.take(path, 1).counters.cpu_total_ns == before:
                await asyncio.sleep(0.05)

    with_engine(tmp_path, test)


@pytest.mark.row("E-294", "E-296", "E-297")
def test_stats_have_dockers_shape_for_v2(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        work = "dd if=/dev/zero of=/f bs=1M count=8 conv=fsync 2>/dev/null; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ready; sleep 60"
        container = await run(engine, "sh", "-c", work, host={"memory": 64 * MIB})
        async with asyncio.timeout(60):
            while "ready" not in await logs(engine, container):
                await asyncio.sleep(0.1)
        one = engine.containers.get(container)
        found = stats.document(one, stats.take(engine.cgroup_path(one), one.row.pid), None)
        assert found["memory_stats"]["limit"] == 64 * MIB
        assert found["memory_stats"]["usage"] > 100_000
        assert {"anon", "file", "inactive_file", "pgfault", "slab"} <= set(found["memory_stats"]["stats"])
        assert "percpu_usage" not in found["cpu_stats"]["cpu_usage"]
        assert found["cpu_stats"]["cpu_usage"]["total_usage"] > 1_000_000
        assert found["pids_stats"]["current"] in (1, 2)
        written = [e["value"] for e in found["blkio_stats"]["io_service_bytes_recursive"] or () if e["op"] == "write"]
        assert sum(written) >= 8 * MIB

    with_engine(tmp_path, test)


@pytest.mark.row("S-36")
def test_devices_are_those_that_were_given(tmp_path: Path) -> None:
    """By a BPF program at the container's group: v2 has no file for it."""

    async def test(engine: Engine) -> None:
        # A disk of this machine: what the rule says decides, not a right.
        major = Path("/proc/partitions").read_text().splitlines()[2].split()[0]
        node = f"mknod /tmp/disk b {major} 0; head -c 1 /tmp/disk >/dev/null 2>&1 && echo open || echo shut"
        assert await output(engine, "sh", "-c", node) == "shut\n"
        assert await output(engine, "sh", "-c", node, host={"device_cgroup_rules": [f"b {major}:* r"]}) == "open\n"
        assert await output(engine, "sh", "-c", node, host={"privileged": True}) == "open\n"
        assert await output(engine, "sh", "-c", ": </dev/zero && : >/dev/null && echo usual") == "usual\n"

    with_engine(tmp_path, test)


@pytest.mark.row("E-288", "S-35")
def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        look = "cat /proc/self/cgroup; mkdir /sys/fs/cgroup/x 2>&1"
        said = await output(engine, "sh", "-c", f"{look}; true")
        assert said.startswith("0::/\n")
        assert "Read-only" in said
        host = await output(engine, "sh", "-c", f"{look}; true", host={"cgroupns_mode": "host"})
        assert f"onggi-{engine.tag}" in host
        nested = "mkdir /sys/fs/cgroup/x && echo $$ >/sys/fs/cgroup/x/cgroup.procs && cat /proc/self/cgroup"
        assert await output(engine, "sh", "-c", nested, host={"privileged": True}) == "0::/x\n"

    with_engine(tmp_path, test)


@pytest.mark.row("CL-199", "P-370")
def test_an_exec_goes_into_a_container_that_divides_its_group(tmp_path: Path) -> None:
    """As systemd and dind do: no process may stay in a group that hands controllers down (no-internal-process rule)."""

    async def test(engine: Engine) -> None:
        divide = "cd /sys/fs/cgroup && mkdir init && echo 1 >init/cgroup.procs && echo +pids >cgroup.subtree_control && echo done; sleep 600"
        container = await run(engine, "sh", "-c", divide, host={"privileged": True})
        async with asyncio.timeout(60):
            while "done" not in await logs(engine, container):
                await asyncio.sleep(0.1)
        code, said = await execute(engine, container, "cat", "/proc/self/cgroup")
        assert (code, said) == (0, "0::/init\n")
        where = directory(engine, container)
        await engine.containers.remove(container, force=True)
        assert not where.exists()

    with_engine(tmp_path, test)


@pytest.mark.row("E-014")
def test_limits_change_while_it_runs(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        container = await run(engine, "sleep", "60", host={"memory": 64 * MIB, "memory_swap": 64 * MIB})
        where = directory(engine, container)
        changes = UpdateBody(memory=128 * MIB, memory_swap=128 * MIB, pids_limit=50, cpu_quota=30000, cpu_shares=512)
        names = frozenset("memory memoryswap pidslimit cpuquota cpushares".split())
        await engine.containers.update(container, changes, names)
        read = {
            name: (where / name).read_text().strip() for name in ("memory.max", "pids.max", "cpu.max", "cpu.weight")
        }
        assert read == {"memory.max": str(128 * MIB), "pids.max": "50", "cpu.max": "30000 100000", "cpu.weight": "59"}

    with_engine(tmp_path, test)


@pytest.mark.row("P-126")
def test_what_v2_has_no_file_for_is_discarded_with_a_warning(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        host = {"memory_swappiness": 50, "oom_kill_disable": True, "memory": 64 * MIB}
        created = await engine.containers.create("one", body("true", host=host))
        assert any("Memory swappiness discarded" in text for text in created.warnings)
        assert any("OomKillDisable discarded" in text for text in created.warnings)
        await engine.containers.start(created.id)
        assert await end_of(engine, created.id) == 0

    with_engine(tmp_path, test)
