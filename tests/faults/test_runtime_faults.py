"""Launcher, starter and shim are killed at each of their points: the answer is true and nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from onggi.errors import OnggiError
from onggi.kernel import cgroups
from onggi.kernel.faults import POINTS
from onggi.runtime.client import Runtime
from onggi.runtime.handles import Shim
from onggi.runtime.protocol import ExitRecord
from tests.kernel.test_runtime_containers import Bench, cgroup_exists, rootfs, until

pytestmark = pytest.mark.root
__all__ = ["rootfs"]

LAUNCHER = [name for name in POINTS if name.startswith("launcher.")]
SHIM = [name for name in POINTS if name.startswith(("shim.", "init."))]


def processes_below(cgroup: str) -> list[int]:
    return cgroups.open(cgroup).pids()


async def whole_life(b: Bench) -> tuple[str, int | None]:
    """Start, wait, forget; returns the id and the exit code, None when the start failed."""
    request = b.request("sh", "-c", "echo words; exit 3")
    try:
        shim = await b.runtime.start(request)
    except OnggiError:
        return request.cgroup_path, None
    try:
        record = await shim.wait()
        await shim.forget()
    finally:
        shim.release()
    return request.cgroup_path, record.exit_code


@pytest.mark.row("K-02")
@pytest.mark.row("R-06")
@pytest.mark.parametrize("action", ["kill", "EIO"])
@pytest.mark.parametrize("name", SHIM)
def test_a_shim_hit_at_any_point_leaves_a_true_answer_and_nothing_else(
    name: str, action: str, tmp_path: Path, rootfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONGGI_FAULT", f"{name}={action}")

    async def claim() -> None:
        runtime = await Runtime.open(tmp_path / "run")
        b = Bench(runtime, rootfs, tmp_path)
        async with asyncio.timeout(20):
            # Twice: the second start finds a starter that knows the cgroup's parent, and goes another way.
            for _ in range(2):
                cgroup, code = await whole_life(b)
                assert code in {None, 3, 137}
                if name in {"shim.exit.after_rename", "shim.exit.told", "shim.forget"} and action == "kill":
                    assert code == 3, "the record was in place"
                assert runtime.known() == []
                assert not cgroup_exists(cgroup)
        await runtime.close()
        await until(lambda: not processes_below(b.parent))
        cgroups.open(b.parent).remove()

    asyncio.run(claim())


@pytest.mark.row("K-02")
@pytest.mark.row("R-03")
@pytest.mark.parametrize("name", [name for name in SHIM if name.startswith("shim.exit.")])
def test_a_shim_hit_while_no_engine_is_there_is_understood_by_the_next(
    name: str, tmp_path: Path, rootfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONGGI_FAULT", f"{name}=kill")

    async def claim() -> None:
        runtime = await Runtime.open(tmp_path / "run")
        b = Bench(runtime, rootfs, tmp_path)
        shim = await runtime.start(b.request("sh", "-c", "exit 3"))
        shim.release()
        await until(lambda: not is_alive(shim.shim_pid))
        left = await runtime.adopt(shim.container_id)
        assert isinstance(left, ExitRecord)
        told = {"shim.exit.dead": 137, "shim.exit.before_rename": 137}.get(name, 3)
        assert left.exit_code == told
        await runtime.forget(shim.container_id)
        assert runtime.known() == []
        assert not cgroup_exists(f"{b.parent}/{shim.container_id}")
        await runtime.close()
        cgroups.open(b.parent).remove()

    asyncio.run(claim())


@pytest.mark.row("K-03")
@pytest.mark.row("R-05")
@pytest.mark.parametrize("name", LAUNCHER)
def test_a_launcher_that_keeps_dying_fails_starts_and_hangs_none(
    name: str, tmp_path: Path, rootfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONGGI_FAULT", f"{name}=kill")

    async def claim() -> None:
        runtime = await Runtime.open(tmp_path / "run")
        b = Bench(runtime, rootfs, tmp_path)
        async with asyncio.timeout(20):
            for _ in range(3):
                cgroup, code = await whole_life(b)
                assert code in {None, 3}
                assert not cgroup_exists(cgroup)
        assert runtime.known() == []
        await runtime.close()
        await until(lambda: not processes_below(b.parent))
        cgroups.open(b.parent).remove()

    asyncio.run(claim())


@pytest.mark.row("K-03")
def test_a_fork_that_fails_is_an_error_and_the_next_one_works(
    tmp_path: Path, rootfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONGGI_FAULT", "launcher.fork.before=EAGAIN@1")

    async def claim() -> None:
        runtime = await Runtime.open(tmp_path / "run")
        b = Bench(runtime, rootfs, tmp_path)
        async with asyncio.timeout(20):
            codes = [(await whole_life(b))[1] for _ in range(4)]
        assert codes[-1] == 3
        await runtime.close()
        cgroups.open(b.parent).remove()

    asyncio.run(claim())


@pytest.mark.row("K-03")
def test_a_stopped_launcher_delays_starts_and_loses_none(tmp_path: Path, rootfs: Path) -> None:
    async def claim() -> None:
        runtime = await Runtime.open(tmp_path / "run")
        b = Bench(runtime, rootfs, tmp_path)
        os.kill(runtime.launcher_pid, signal.SIGSTOP)
        async with asyncio.timeout(20):
            starts = [asyncio.ensure_future(whole_life(b)) for _ in range(8)]
            await asyncio.sleep(0.3)
            os.kill(runtime.launcher_pid, signal.SIGCONT)
            assert [code for _, code in await asyncio.gather(*starts)] == [3] * 8
        await runtime.close()
        cgroups.open(b.parent).remove()

    asyncio.run(claim())


@pytest.mark.row("K-05")
def test_launcher_and_shim_killed_at_once_are_cleaned_up_by_the_next_engine(tmp_path: Path, rootfs: Path) -> None:
    async def claim() -> None:
        runtime = await Runtime.open(tmp_path / "run")
        b = Bench(runtime, rootfs, tmp_path)
        shims = [await runtime.start(b.request("sleep", "60")) for _ in range(3)]
        for shim in shims:
            shim.release()
        for pid in (runtime.launcher_pid, *(shim.shim_pid for shim in shims)):
            os.kill(pid, signal.SIGKILL)
        second = await Runtime.open(tmp_path / "run")
        assert sorted(second.known()) == sorted(shim.container_id for shim in shims)
        for container_id in second.known():
            left = await second.adopt(container_id)
            assert isinstance(left, ExitRecord)
            assert left.exit_code == 137
            await second.forget(container_id)
        assert second.known() == []
        await second.close()
        await runtime.close()
        await until(lambda: not processes_below(b.parent))
        cgroups.open(b.parent).remove()

    asyncio.run(claim())


@pytest.mark.row("R-02")
def test_output_while_no_engine_is_there_is_all_in_the_log(tmp_path: Path, rootfs: Path) -> None:
    async def claim() -> None:
        runtime = await Runtime.open(tmp_path / "run")
        b = Bench(runtime, rootfs, tmp_path)
        script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done"
        shim = await runtime.start(b.request("sh", "-c", script))
        shim.release()
        await runtime.close()
        second = await Runtime.open(tmp_path / "run")
        again = await second.adopt(shim.container_id)
        assert isinstance(again, Shim)
        assert (await again.wait()).exit_code == 0
        assert b.log(again) == "".join(f"{n}\n" for n in range(20000))
        await again.forget()
        await second.close()
        cgroups.open(b.parent).remove()

    asyncio.run(claim())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
