"""What a cgroup lets a container do, from its first instruction on: S-36, S-37."""

from __future__ import annotations

from pathlib import Path

import pytest

from onggi.kernel.cgroups import Resources
from onggi.kernel.cgroups.resources import DeviceRule, Pids
from onggi.runtime.devicerules import DEFAULT_RULES
from tests.kernel.spawning import box

pytestmark = pytest.mark.root


def disk() -> tuple[int, int]:
    """Numbers of a block device of this machine."""
    first = Path("/proc/partitions").read_text().splitlines()[2].split()
    return int(first[0]), int(first[1])


@pytest.mark.row("S-36")
@pytest.mark.row("CL-200")
def test_s36_a_disk_can_be_made_and_not_opened_from_the_first_instruction(busybox_rootfs: Path, tmp_path: Path) -> None:
    major, minor = disk()
    rules = [DeviceRule(allow=False), *DEFAULT_RULES]
    with box(busybox_rootfs, tmp_path / "box", Resources(devices=rules)) as made:
        script = f"mknod /tmp/disk b {major} {minor} && head -c 1 /tmp/disk 2>&1; head -c 1 /dev/zero | wc -c"
        out = made.sh(script).out
    assert "Operation not permitted" in out
    assert out.endswith("1\n")


@pytest.mark.row("S-36")
@pytest.mark.row("CL-200")
def test_s36_an_update_leaves_no_moment_in_which_it_opens(busybox_rootfs: Path, tmp_path: Path) -> None:
    major, minor = disk()
    resources = Resources(devices=[DeviceRule(allow=False), *DEFAULT_RULES])
    with box(busybox_rootfs, tmp_path / "box", resources) as made:
        script = f"""
        mknod /tmp/disk b {major} {minor}; touch /work/ready
        while test ! -e /work/end; do x=$(head -c 1 /tmp/disk 2>&1) && echo opened; done; echo end"""
        (made.scratch / "out").touch()
        with (made.scratch / "out").open("wb") as out:
            spawned = made.start("sh", "-c", script, stdout=out.fileno())
        while not (made.upper / "work/ready").exists():
            pass
        for _ in range(100):
            made.cgroup.apply(resources)
        (made.exec(spawned, "touch", "/work/end"))
        assert made.wait(spawned) == 0
        assert (made.scratch / "out").read_text() == "end\n"


@pytest.mark.row("S-37")
def test_s37_a_limit_of_processes_holds_for_run_and_exec(busybox_rootfs: Path, tmp_path: Path) -> None:
    with box(busybox_rootfs, tmp_path / "box", Resources(pids=Pids(limit=5))) as made:
        script = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done 2>&1; ls /proc | grep -c '^[0-9]*$'"
        first = made.start("sleep", "60")
        out = made.exec(first, "sh", "-c", script).out
    assert "fork" in out
