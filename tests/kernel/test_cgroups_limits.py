"""Limits and counters: v1 on the kernel, v2 by what is written into its files."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.kernel.cgroups import hybrid
from onggi.kernel.cgroups.resources import (
    BlockIO,
    Cpu,
    HugepageLimit,
    Memory,
    Network,
    Pids,
    Rdma,
    Resources,
    ThrottleDevice,
    WeightDevice,
)
from onggi.kernel.cgroups.v1 import CgroupV1, mounted_hierarchies
from onggi.kernel.cgroups.v2 import CgroupV2, weight_of_shares

MIB = 1 << 20


@pytest.fixture
def group() -> Iterator[CgroupV1]:
    if os.geteuid() != 0 or "memory" not in mounted_hierarchies():
        pytest.skip("needs root and v1 hierarchies")
    made = CgroupV1(f"onggi-test-{uuid.uuid4().hex[:8]}", mounted_hierarchies())
    made.make()
    try:
        yield made
    finally:
        made.kill_all()
        made.remove()


def run(group: CgroupV1, code: str) -> subprocess.Popen[bytes]:
    """A Python program that has gone into the group itself."""
    joins = "".join(
        f"open({directory + '/cgroup.procs'!r}, 'w').write(str(os.getpid()))\n" for directory in group.directories
    )
    return subprocess.Popen(
        [sys.executable, "-S", "-c", f"import os\n{joins}{code}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_memory_goes_up_and_down_with_its_swap(group: CgroupV1) -> None:
    for size in (64, 256, 32, 128):
        group.apply(Resources(memory=Memory(limit=size * MIB, swap=2 * size * MIB)))
        assert group.stats().memory_limit == size * MIB
    group.apply(Resources(memory=Memory(limit=-1, swap=-1)))
    assert group.stats().memory_limit > 1 << 60


def test_who_takes_too_much_is_killed_counted_and_told_of(group: CgroupV1) -> None:
    group.apply(Resources(memory=Memory(limit=24 * MIB, swap=24 * MIB)))
    events = group.oom_events()
    assert events is not None
    try:
        with run(group, f"x = bytearray({64 * MIB})") as program:
            assert program.wait(20) == -9
        assert select.select([events], [], [], 5)[0]
    finally:
        os.close(events)
    assert group.oom_kills() == 1


def test_no_more_tasks_than_allowed(group: CgroupV1) -> None:
    group.apply(Resources(pids=Pids(limit=3)))
    code = "import time\nn = 0\ntry:\n  while os.fork(): n += 1\n  time.sleep(60)\nexcept OSError: print(n)"
    program = run(group, code)
    assert program.stdout is not None
    assert program.stdout.readline() == b"2\n"
    assert group.stats().pids_limit == 3
    group.kill_all()
    program.communicate()


def test_counters_count(group: CgroupV1) -> None:
    with run(
        group, "x = bytearray(8 << 20)\nfor _ in range(10**6): pass\nprint(1, flush=True)\nimport time\ntime.sleep(60)"
    ) as program:
        assert program.stdout is not None
        program.stdout.readline()
        stats = group.stats()
        program.kill()
    assert stats.memory_usage >= 8 * MIB
    assert stats.cpu_total_ns > 1_000_000
    assert sum(stats.percpu_ns) <= stats.cpu_total_ns + 10_000_000
    assert stats.pids_current == 1
    assert "total_inactive_file" in stats.memory_detail


@pytest.mark.parametrize(("shares", "weight"), [(0, 0), (2, 1), (1024, 100), (512, 59), (262144, 10000)])
def test_shares_become_weights(shares: int, weight: int) -> None:
    assert weight_of_shares(shares) == weight


@pytest.mark.row("CL-201", "CL-202")
@pytest.mark.parametrize(
    ("resources", "written"),
    [
        (
            Resources(memory=Memory(limit=64 * MIB, swap=64 * MIB)),
            {"memory.max": str(64 * MIB), "memory.swap.max": "0"},
        ),
        (Resources(memory=Memory(limit=64 * MIB, swap=-1)), {"memory.max": str(64 * MIB), "memory.swap.max": "max"}),
        (Resources(memory=Memory(limit=-1, reservation=MIB)), {"memory.max": "max", "memory.low": str(MIB)}),
        (Resources(cpu=Cpu(quota=50000, period=100000)), {"cpu.max": "50000 100000"}),
        (Resources(cpu=Cpu(quota=-1)), {"cpu.max": "max 100000"}),
        (Resources(cpu=Cpu(shares=1024, cpus="0-1")), {"cpu.weight": "100", "cpuset.cpus": "0-1"}),
        (Resources(pids=Pids(limit=5)), {"pids.max": "5"}),
        (Resources(pids=Pids(limit=-1)), {"pids.max": "max"}),
        (Resources(pids=Pids(limit=0)), {"pids.max": "0"}),
        (Resources(pids=Pids()), {}),
        (Resources(unified={"memory.high": "1000"}), {"memory.high": "1000"}),
        (
            Resources(hugepage_limits=[HugepageLimit("2MB", 4 * MIB)]),
            {"hugetlb.2MB.max": str(4 * MIB), "hugetlb.2MB.rsvd.max": str(4 * MIB)},
        ),
        (Resources(rdma={"mlx5_0": Rdma(hca_handles=3)}), {"rdma.max": "mlx5_0 hca_handle=3 hca_object=max"}),
        (Resources(block_io=BlockIO(weight=500)), {"io.bfq.weight": "default 500"}),
        (Resources(block_io=BlockIO(weight_device=[WeightDevice(8, 0, 300)])), {"io.bfq.weight": "8:0 300"}),
        (
            Resources(block_io=BlockIO(throttle_read_bps_device=[ThrottleDevice(8, 0, 1024)])),
            {"io.max": "8:0 rbps=1024"},
        ),
    ],
)
def test_v2_has_the_same_limits_in_its_own_words(tmp_path: Path, resources: Resources, written: dict[str, str]) -> None:
    names = (
        "memory.max memory.low memory.high memory.swap.max cpu.max cpu.weight cpuset.cpus pids.max io.max io.bfq.weight"
    )
    names += " rdma.max hugetlb.2MB.max hugetlb.2MB.rsvd.max"
    for name in names.split():
        (tmp_path / name).write_text("")
    CgroupV2(str(tmp_path)).apply(resources)
    assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.read_text()} == written


@pytest.mark.row("CL-202")
def test_a_v2_hierarchy_beside_v1_is_left_as_it_was(group: CgroupV1) -> None:
    """crun refuses machines whose v2 hierarchy hands a controller down."""
    beside = Path(hybrid.mount_with("hugetlb") or pytest.skip("huge pages are limited by v1 here"))
    if any(entry.is_dir() for entry in beside.iterdir()):
        pytest.skip("somebody else has a group there")
    group.apply(Resources(hugepage_limits=[HugepageLimit("2MB", 4 * MIB)]))
    assert (beside / "cgroup.subtree_control").read_text().split() == ["hugetlb"]
    group.remove()
    assert (beside / "cgroup.subtree_control").read_text().split() == []


@pytest.mark.row("CL-201", "CL-202")
@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (Resources(network=Network(class_id=1)), "network classes and priorities are cgroup v1's"),
        (Resources(unified={"memory.new": "1"}), "unified resource 'memory.new' can't be set: controller 'memory'"),
        (Resources(memory=Memory(swap=5 * MIB)), "unable to set swap limit without memory limit"),
        (Resources(memory=Memory(limit=5 * MIB, swap=MIB)), r"memory\+swap limit should be >= memory limit"),
        (Resources(memory=Memory(limit=MIB, check_before_update=True)), r"unable to set memory limit .*usage: 2097152"),
    ],
)
def test_what_v2_hasnt_got_is_refused_by_name(tmp_path: Path, resources: Resources, words: str) -> None:
    (tmp_path / "memory.current").write_text(str(2 * MIB))
    (tmp_path / "memory.swap.max").write_text("")
    (tmp_path / "memory.max").write_text("")
    with pytest.raises(OSError, match=words):
        CgroupV2(str(tmp_path)).apply(resources)


@pytest.mark.row("CL-201", "CL-202")
@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (Resources(unified={"memory.max": "1"}), "unified resources are cgroup v2's"),
        (Resources(rdma={"mlx5_0": Rdma(1, 1)}), "this machine has no rdma controller"),
        (Resources(network=Network(class_id=1)), "this machine has no net_cls controller"),
    ],
)
def test_what_v1_hasnt_got_is_refused_by_name(resources: Resources, words: str) -> None:
    with pytest.raises(OSError, match=words):
        CgroupV1("onggi-none", {"memory": "/sys/fs/cgroup/memory"}).apply(resources)


@pytest.mark.row("CL-202")
def test_huge_pages_are_limited_where_this_machine_has_their_controller(group: CgroupV1) -> None:
    """In v1, or in the v2 hierarchy beside it, where the group is made for it and goes with the others."""
    resources = Resources(hugepage_limits=[HugepageLimit("2MB", 4 * MIB)])
    before = set(group.directories)
    if not hybrid.mount_with("hugetlb") and "hugetlb" not in mounted_hierarchies():
        with pytest.raises(OSError, match="this machine has no hugetlb controller"):
            group.apply(resources)
        return
    group.apply(resources)
    files = [path for directory in group.directories for path in Path(directory).glob("hugetlb.2MB.*")]
    assert str(4 * MIB) in {path.read_text().strip() for path in files}
    group.remove()
    assert not [directory for directory in before | set(group.directories) if Path(directory).exists()]


@pytest.mark.row("CL-201")
def test_a_period_and_a_quota_go_in_whatever_was_there(group: CgroupV1) -> None:
    for quota, period in ((50_000, 100_000), (2_000, 4_000), (500_000, 1_000_000), (1_000, 2_000)):
        group.apply(Resources(cpu=Cpu(quota=quota, period=period)))
        directory = group.view()["cpu"]
        assert Path(f"{directory}/cpu.cfs_quota_us").read_text().strip() == str(quota)
        assert Path(f"{directory}/cpu.cfs_period_us").read_text().strip() == str(period)


@pytest.mark.row("CL-201")
def test_no_limit_goes_below_what_is_used_when_that_is_asked_for(group: CgroupV1) -> None:
    with run(group, f"x = bytearray({16 * MIB})\nprint(1, flush=True)\nimport time\ntime.sleep(60)") as program:
        assert program.stdout is not None
        program.stdout.readline()
        with pytest.raises(OSError, match="unable to set memory limit to 1048576"):
            group.apply(Resources(memory=Memory(limit=MIB, check_before_update=True)))
        group.apply(Resources(memory=Memory(limit=64 * MIB, kernel=MIB, kernel_tcp=8 * MIB, use_hierarchy=True)))
        program.kill()
    assert group.stats().memory_limit == 64 * MIB


def test_a_unified_resource_is_a_file_of_the_group(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="must be a file name"):
        CgroupV2(str(tmp_path)).apply(Resources(unified={"../memory.max": "max"}))
