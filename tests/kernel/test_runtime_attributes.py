"""What a container's process has beside its rights, asked of the kernel from inside."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onggi.errors import RuntimeStepError
from onggi.kernel import netlink
from onggi.oci.runtime import CpuAffinity, Linux, NetDevice, Process
from tests.kernel.spawning import Box

pytestmark = pytest.mark.root

SCHEDULE = """
import ctypes, struct
attr = ctypes.create_string_buffer(56)
assert ctypes.CDLL(None).syscall(315, 0, attr, 56, 0) == 0
print(*struct.unpack("=IIQiIQQQ", attr.raw[:48])[1:])
"""


def process_of(made: Box, changes: dict[str, Any]) -> None:
    """The spec's JSON for the process, changed."""
    made.spec.process = msgspec.convert(msgspec.to_builtins(made.process) | changes, Process)


def _allow_realtime(made: Box) -> None:
    """A v1 group has no time for real-time processes until it is given some, from its parents down (sched-rt-group.rst)."""
    cpu = made.cgroup.view().get("cpu")
    if cpu is None:
        return
    for directory in (Path(cpu).parent, Path(cpu)):
        file = directory / "cpu.rt_runtime_us"
        if file.exists():
            file.write_text("10000", encoding="ascii")


@pytest.mark.row("CL-193")
@pytest.mark.parametrize(
    ("scheduler", "seen"),
    [
        ({"policy": "SCHED_OTHER", "nice": 7}, "0 0 7 0 0 0 0"),
        ({"policy": "SCHED_BATCH", "nice": 3}, "3 0 3 0 0 0 0"),
        ({"policy": "SCHED_IDLE"}, "5 0 0 0 0 0 0"),
        ({"policy": "SCHED_FIFO", "priority": 5}, "1 0 0 5 0 0 0"),
        ({"policy": "SCHED_RR", "priority": 9, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, "2 1 0 9 0 0 0"),
        (
            {"policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 20000000, "period": 30000000},
            "6 0 0 0 1000000 20000000 30000000",
        ),
    ],
)
def test_the_program_is_scheduled_as_the_spec_says(container: Box, scheduler: dict[str, Any], seen: str) -> None:
    process_of(container, {"scheduler": scheduler})
    _allow_realtime(container)
    ended = container.python(SCHEDULE)
    # Newer kernels tell of a fair slice where older ones have 0 (sched_attr.sched_runtime since 6.12).
    policy, flags, nice, priority, *times = ended.out.split()
    wanted = seen.split()
    assert [policy, flags, priority] == [*wanted[:2], wanted[3]]
    assert "nice" not in scheduler or nice == wanted[2]
    assert wanted[0] != "6" or times == wanted[4:]


WRONG: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"scheduler": {"policy": ""}}, {}, "scheduler policy is required"),
    ({"scheduler": {"policy": "SCHED_NEW"}}, {}, "invalid scheduler.policy: SCHED_NEW"),
    ({"scheduler": {"policy": "SCHED_OTHER", "nice": 20}}, {}, "invalid scheduler.nice: 20"),
    ({"scheduler": {"policy": "SCHED_OTHER", "priority": 1}}, {}, "scheduler.priority can only be specified"),
    ({"scheduler": {"policy": "SCHED_FIFO", "runtime": 1}}, {}, "can only be specified for SchedDeadline"),
    ({"scheduler": {"policy": "SCHED_FIFO", "flags": ["SCHED_FLAG_X"]}}, {}, "invalid scheduler.flags: SCHED_FLAG_X"),
    ({"ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 8}}, {}, "invalid ioPriority.Priority: 8"),
    ({"ioPriority": {"class": "IOPRIO_CLASS_X", "priority": 0}}, {}, "invalid ioPriority.Class: IOPRIO_CLASS_X"),
    ({"rlimits": [{"type": "RLIMIT_X", "soft": 1, "hard": 1}]}, {}, "invalid rlimit type: RLIMIT_X"),
    ({"apparmorProfile": "mine"}, {}, "apparmor not supported|label 'exec mine': no such file"),
    ({"selinuxLabel": "a:b:c"}, {}, "selinux is disabled or not supported"),
    ({}, {"personality": {"domain": "BSD"}}, "invalid personality domain: BSD"),
    ({}, {"personality": {"domain": "LINUX", "flags": ["X"]}}, "personality flags are not supported"),
    ({}, {"memoryPolicy": {"mode": "MPOL_X"}}, "invalid memory policy mode: 'MPOL_X'"),
    ({}, {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-x"}}, "invalid memory policy nodes"),
    ({}, {"memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "0"}}, "MPOL_LOCAL takes no nodes"),
    ({}, {"memoryPolicy": {"mode": "MPOL_BIND", "flags": ["X"]}}, "invalid memory policy flag: X"),
]


@pytest.mark.row("CL-192", "CL-193", "CL-205")
@pytest.mark.parametrize(("process", "linux", "words"), WRONG)
def test_a_value_that_no_kernel_has_is_refused(
    container: Box, process: dict[str, Any], linux: dict[str, Any], words: str
) -> None:
    process_of(container, process)
    container.spec.linux = msgspec.convert(msgspec.to_builtins(container.spec.linux) | linux, Linux)
    with pytest.raises(RuntimeStepError, match=words):
        container.start("true")


@pytest.mark.row("CL-193")
@pytest.mark.parametrize(("name", "number"), [("RT", 1), ("BE", 2), ("IDLE", 3)])
def test_the_program_has_its_io_priority(container: Box, name: str, number: int) -> None:
    process_of(container, {"ioPriority": {"class": f"IOPRIO_CLASS_{name}", "priority": 4}})
    ended = container.python("import ctypes; print(ctypes.CDLL(None).syscall(252, 1, 0))")
    assert int(ended.out) == number << 13 | 4


@pytest.mark.row("CL-205")
def test_a_container_may_be_of_32_bits(container: Box) -> None:
    container.spec.linux = msgspec.convert(
        msgspec.to_builtins(container.spec.linux) | {"personality": {"domain": "LINUX32"}}, Linux
    )
    assert container.python("import ctypes; print(ctypes.CDLL(None).personality(0xffffffff))").out.strip() == "8"
    spawned = container.start("sleep", "60")
    assert container.exec(spawned, "cat", "/proc/self/personality").out.strip() in ("00000008", "")


MEMORY = """
import ctypes
mode, mask = ctypes.c_int(), ctypes.c_ulong()
result = ctypes.CDLL(None, use_errno=True).syscall(239, ctypes.byref(mode), ctypes.byref(mask), 65, None, 0)
print(result, mode.value, mask.value)
"""


@pytest.mark.row("CL-205")
@pytest.mark.parametrize(
    ("policy", "seen"),
    [
        ({"mode": "MPOL_BIND", "nodes": "0"}, "0 2 1"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, f"0 {3 | 1 << 15} 1"),
        ({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}, "0 5 1"),
        ({"mode": "MPOL_LOCAL"}, "0 4 0"),
        ({"mode": "MPOL_DEFAULT"}, "0 0 0"),
    ],
)
def test_memory_comes_from_where_the_spec_says(container: Box, policy: dict[str, Any], seen: str) -> None:
    container.spec.linux = msgspec.convert(msgspec.to_builtins(container.spec.linux) | {"memoryPolicy": policy}, Linux)
    assert container.python(MEMORY).out.strip() == seen


@pytest.mark.row("CL-193")
def test_an_exec_runs_on_the_cpus_it_is_given(container: Box) -> None:
    spawned = container.start("sleep", "60")
    wanted = Process(args=["grep", "Cpus_allowed_list", "/proc/self/status"], env=list(container.process.env))
    wanted.exec_cpu_affinity = CpuAffinity(initial="0", final=str(max(os.sched_getaffinity(0))))
    assert container.exec(spawned, process=wanted).out.split()[1] == wanted.exec_cpu_affinity.final
    wanted.exec_cpu_affinity = CpuAffinity(initial="0-")
    with pytest.raises(RuntimeStepError, match="invalid initial CPU affinity"):
        container.exec(spawned, process=wanted)


@pytest.fixture
def interface() -> Iterator[str]:
    name = f"ogt{os.getpid() % 100000}"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", f"{name}b"], check=True)
    yield name
    subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)


@pytest.mark.row("CL-198")
def test_an_interface_of_the_hosts_becomes_the_containers_with_its_addresses(container: Box, interface: str) -> None:
    with netlink.Route() as route:
        route.add_address(interface, "10.231.7.5/24")
        route.set_up(interface)
    assert container.spec.linux is not None
    container.spec.linux.net_devices = {interface: NetDevice("inside0")}
    ended = container.sh("ip -o addr show inside0; ip link show inside0")
    assert "10.231.7.5/24" in ended.out
    assert "UP" in ended.out
    with netlink.Route() as route, pytest.raises(OSError, match="No such device"):
        route.index(interface)


@pytest.mark.row("CL-198")
def test_an_interface_that_isnt_there_stops_the_start(container: Box) -> None:
    assert container.spec.linux is not None
    container.spec.linux.net_devices = {"ogt-none": NetDevice("")}
    with pytest.raises(RuntimeStepError, match="link ogt-none"):
        container.start("true")
