"""Engine, launcher and shims are killed in one instant: wherever the containers' cgroups lay, none is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.client import containers, images
from onggi.doctor import engine_tag
from tests.clients.daemon import Daemon
from tests.engine.engines import busybox_tar, needs_root
from tests.engine.test_engine_reconcile import clear, client, leaks, run, state
from tests.patience import within

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")
OURS, ASKED = f"/og-own-{os.getpid()}", f"/og-asked-{os.getpid()}"


def groups() -> list[Path]:
    """All below the two parents, in each hierarchy."""
    roots = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    return sorted(path for root in roots for parent in (OURS, ASKED) for path in (root / parent[1:]).glob("**/*") if path.is_dir())  # fmt: skip


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    one = Daemon(tmp_path)
    one.start(f"--cgroup-parent={OURS}")
    list(client(one).stream(images.import_([busybox_tar()], repository="busybox", tag="latest")))
    yield one
    if one.process is not None:
        clear(one)
        one.stop()
    for root in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()):
        for parent in (OURS, ASKED):
            if (root / parent[1:]).is_dir():
                (root / parent[1:]).rmdir()


def kill_all_of(daemon: Daemon, pids: list[int]) -> None:
    """Engine, launcher and its waiting children, shims and containers."""
    tag = engine_tag(daemon.root / "data")
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
            if str(daemon.root / "exec").encode() in words or tag in (entry / "cgroup").read_text():
                pids.append(int(entry.name))
        except OSError:
            continue
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    daemon.kill()


@pytest.mark.row("K-05", "R-06", "R-07", "I-03")
@pytest.mark.parametrize("is_kept", [True, False], ids=["its row stays", "its row goes"])
def test_nothing_is_left_below_any_parent(daemon: Daemon, *, is_kept: bool) -> None:
    with client(daemon) as engine:
        run(engine, "sleep", "600", name="ours")
        run(engine, "sleep", "600", name="asked", HostConfig={"NetworkMode": "none", "CgroupParent": ASKED})
    assert groups()
    kill_all_of(daemon, [])
    daemon.start(f"--cgroup-parent={OURS}")
    with client(daemon) as engine:
        assert {state(engine, name)["Status"] for name in ("ours", "asked")} == {"exited"}
        assert within(5, lambda: leaks(engine) == []), leaks(engine)
        if not is_kept:
            for name in ("ours", "asked"):
                engine(containers.remove(name))
    daemon.stop()
    assert within(5, lambda: not groups()), groups()
