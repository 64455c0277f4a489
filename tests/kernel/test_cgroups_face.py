"""What a control group of either version does. v2 beside v1 has no controllers, but members, freezing, killing and devices."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import pytest

from onggi.kernel import mounts
from onggi.kernel.cgroups import Cgroup
from onggi.kernel.cgroups.resources import DeviceRule, Resources
from onggi.kernel.cgroups.v1 import CgroupV1, mounted_hierarchies
from onggi.kernel.cgroups.v2 import CgroupV2

pytestmark = pytest.mark.root
DENY_ALL = DeviceRule(allow=False)
ZERO = DeviceRule(allow=True, type="c", major=1, minor=5)
NULL = DeviceRule(allow=True, type="c", major=1, minor=3)


def _v1(name: str) -> Cgroup:
    hierarchies = mounted_hierarchies()
    if "freezer" not in hierarchies:
        pytest.skip("no v1 hierarchies here")
    return CgroupV1(name, hierarchies)


def _v2(name: str) -> Cgroup:
    root = next((m.target for m in mounts.mountinfo() if m.fstype == "cgroup2"), None)
    if root is None:
        pytest.skip("no v2 hierarchy here")
    os.mkdir(f"{root}/{name}")
    return CgroupV2(f"{root}/{name}")


@pytest.fixture(params=[_v1, _v2], ids=["v1", "v2"])
def group(request: pytest.FixtureRequest) -> Iterator[Cgroup]:
    made: Cgroup = request.param(f"onggi-test-{uuid.uuid4().hex[:8]}")
    if not made.unified:
        made.make()
    try:
        yield made
    finally:
        made.kill_all()
        made.remove()


class Member:
    """A program that goes into the group before it runs."""

    def __init__(self, group: Cgroup, *args: str) -> None:
        reader, writer = os.pipe()
        code = f"import os; os.read({reader}, 1); os.execvp({args[0]!r}, {list(args)!r})"
        self.process = subprocess.Popen([sys.executable, "-S", "-c", code], pass_fds=[reader], stdout=subprocess.PIPE)
        group.add(self.process.pid)
        os.write(writer, b"x")
        os.close(reader)
        os.close(writer)

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


def test_members_are_those_that_were_added(group: Cgroup) -> None:
    assert group.pids() == []
    with Member(group, "sleep", "60") as one:
        assert group.pids() == [one.pid]


def test_frozen_programs_stand_still(group: Cgroup) -> None:
    with Member(group, "sh", "-c", "while :; do :; done") as one:
        assert not group.is_frozen()
        group.freeze()
        assert group.is_frozen()
        before = _ticks(one.pid)
        time.sleep(0.1)
        assert _ticks(one.pid) == before
        group.thaw()
        assert not group.is_frozen()
        end = time.monotonic() + 5
        while _ticks(one.pid) == before:
            assert time.monotonic() < end


def _ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_what_forks_as_fast_as_it_can_is_killed_whole(group: Cgroup) -> None:
    # Each process starts another one and ends: whoever kills by a list is always too late for the last.
    script = 'n=$1; [ "$n" -gt 0 ] && "$0" -c "$2" "$0" $((n-1)) "$2" & sleep 0.002'
    with Member(group, "sh", "-c", script, "sh", "3000", script):
        time.sleep(0.05)
        group.kill_all()
        assert group.pids() == []


def test_frozen_programs_are_killed_too(group: Cgroup) -> None:
    with Member(group, "sleep", "60") as one:
        group.freeze()
        group.kill_all()
        assert one.wait(5) == -signal.SIGKILL


def test_a_group_that_is_gone_reads_as_empty(group: Cgroup) -> None:
    group.remove()
    assert (group.pids(), group.oom_kills(), group.is_frozen()) == ([], 0, False)
    group.remove()


@pytest.mark.row("S-36")
def test_only_devices_that_are_allowed_open(group: Cgroup) -> None:
    group.apply(Resources(devices=[DENY_ALL, NULL]))
    script = "for d in null zero full; do (exec 3</dev/$d) 2>/dev/null && echo $d; done"
    with Member(group, "sh", "-c", script) as one:
        assert one.communicate()[0].split() == [b"null"]


@pytest.mark.row("S-36")
def test_no_update_opens_a_window(group: Cgroup) -> None:
    group.apply(Resources(devices=[DENY_ALL, ZERO]))
    script = "echo begun; while :; do (exec 3</dev/full) 2>/dev/null && echo open; done"
    with Member(group, "sh", "-c", script) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == b"begun\n"
        for _ in range(100):
            group.apply(Resources(devices=[DENY_ALL, ZERO]))
            group.apply(Resources(devices=[DENY_ALL, NULL]))
        group.kill_all()
        assert one.communicate()[0] == b""


@pytest.mark.row("S-36")
def test_access_is_what_was_given_and_the_last_rule_decides(group: Cgroup) -> None:
    reading = DeviceRule(allow=True, type="c", major=1, minor=3, access="r")
    no_full = DeviceRule(allow=False, type="c", major=1, minor=7)
    every_memory = DeviceRule(allow=True, type="c", major=1, minor=7)
    group.apply(Resources(devices=[DENY_ALL, reading, every_memory, no_full]))
    script = "(exec 3</dev/null) && echo read; (exec 3>/dev/null) || echo no write; (exec 3</dev/full) || echo no full"
    with Member(group, "sh", "-c", f"exec 2>&-; {script}") as one:
        assert one.communicate()[0].splitlines() == [b"read", b"no write", b"no full"]
