"""A start on cgroup v2: born in its group, with a namespace that shows that group as the root."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.kernel import mounts
from onggi.kernel.cgroups.v2 import CgroupV2
from onggi.runtime import defaults
from tests.kernel.spawning import Box

pytestmark = pytest.mark.root


def hierarchy() -> str | None:
    """Where a v2 hierarchy is mounted; beside v1 ones it has no controllers, and the rest is the same."""
    return next((m.target for m in mounts.mountinfo() if m.fstype == "cgroup2"), None)


@pytest.fixture
def unified(busybox_rootfs: Path, tmp_path: Path) -> Iterator[Box]:
    root = hierarchy()
    if root is None:
        pytest.skip("no cgroup2 mount")
    group = CgroupV2(f"{root}/onggi-box-{uuid.uuid4().hex[:8]}")
    os.mkdir(group.path)
    made = Box(busybox_rootfs, tmp_path / "container", group)
    made.scratch.mkdir()
    made.spec = defaults.default_spec(unified_cgroups=True)
    try:
        yield made
    finally:
        made.end()


def test_a_container_is_born_in_its_group_and_sees_it_as_the_root(unified: Box) -> None:
    out = unified.sh("grep ^0: /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/x 2>&1").out
    assert out.startswith("0::/\n1\n")
    assert "Read-only file system" in out


def test_an_exec_joins_the_group_and_its_namespace(unified: Box) -> None:
    first = unified.start("sleep", "60")
    assert unified.exec(first, "cat", "/proc/self/cgroup", "/sys/fs/cgroup/cgroup.procs").out.endswith("0::/\n1\n2\n")


def test_a_host_namespace_shows_where_the_group_lies(unified: Box) -> None:
    assert unified.spec.linux is not None
    unified.spec.linux.namespaces = defaults.namespaces(cgroup=False)
    assert "onggi-box-" in unified.run("cat", "/proc/self/cgroup").out
