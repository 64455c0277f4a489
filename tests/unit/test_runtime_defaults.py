"""The defaults are moby's: compared with a pinned copy, both ways."""

from __future__ import annotations

import pytest

from onggi.kernel.mounts import MountAttr, MountFlag
from onggi.runtime import defaults
from onggi.runtime.options import MountOptions, parse_options

MOBY_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
    "AUDIT_WRITE"
).split()
MOBY_MASKED = (
    "/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi "
    "/proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware"
).split()
MOBY_READ_ONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split()
MOBY_MOUNTS = {
    "/proc": ("proc", "nosuid,noexec,nodev"),
    "/dev": ("tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
    "/dev/pts": ("devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
    "/sys": ("sysfs", "nosuid,noexec,nodev,ro"),
    "/sys/fs/cgroup": ("cgroup", "ro,nosuid,noexec,nodev"),
    "/dev/mqueue": ("mqueue", "nosuid,noexec,nodev"),
    "/dev/shm": ("tmpfs", "nosuid,noexec,nodev,mode=1777"),
}
MOBY_DEVICES = "c:-1:-1:m b:-1:-1:m c:1:3:rwm c:1:5:rwm c:1:7:rwm c:1:8:rwm c:1:9:rwm c:5:0:rwm c:5:1:rwm c:5:2:rwm c:136:-1:rwm".split()
"""moby's without tun (10:200), which runc adds for old users, and with the deny of fuse that the first rule implies."""


def test_capabilities_and_paths_are_mobys() -> None:
    assert set(defaults.CAPABILITIES) == {f"CAP_{name}" for name in MOBY_CAPABILITIES}
    assert list(defaults.MASKED_PATHS) == MOBY_MASKED
    assert list(defaults.READ_ONLY_PATHS) == MOBY_READ_ONLY
    extra = set(defaults.masked_paths()) - set(MOBY_MASKED)
    assert all(path.endswith("/thermal_throttle") for path in extra)


def test_capabilities_are_in_three_sets_and_nowhere_else() -> None:
    process = defaults.default_spec().process
    assert process is not None
    sets = process.capabilities
    assert sets is not None
    assert sets.bounding == sets.permitted == sets.effective == list(defaults.CAPABILITIES)
    assert sets.inheritable == sets.ambient == []


def test_mounts_are_mobys() -> None:
    found = {m.destination: (m.type, ",".join(m.options)) for m in defaults.default_spec().mounts}
    assert found == MOBY_MOUNTS


def test_device_rules_are_mobys() -> None:
    rules = defaults.default_spec().linux_resources.devices
    assert (rules[0].allow, rules[0].type) == (False, "a")
    assert [f"{r.type}:{r.major}:{r.minor}:{r.access}" for r in rules[1:]] == MOBY_DEVICES
    assert all(rule.allow for rule in rules[1:])


def test_namespaces_are_dockers_for_each_version_of_cgroups() -> None:
    assert [n.type for n in defaults.namespaces(cgroup=False)] == ["mount", "network", "uts", "pid", "ipc"]
    assert defaults.namespaces(cgroup=True)[-1].type == "cgroup"


def test_two_specs_share_nothing_that_can_be_changed() -> None:
    first, second = defaults.default_spec(), defaults.default_spec()
    first.mounts[0].options.append("changed")
    assert first.linux is not None
    first.linux.masked_paths.clear()
    assert "changed" not in second.mounts[0].options
    assert defaults.default_spec().linux == second.linux


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["ro", "nosuid"], MountOptions(set=MountAttr.RDONLY | MountAttr.NOSUID)),
        (["ro", "rw"], MountOptions(clear=MountAttr.RDONLY)),
        (["rbind", "rro"], MountOptions(bind=True, recursive=True, recursive_set=MountAttr.RDONLY)),
        (["rbind", "ro", "bind"], MountOptions(bind=True, recursive=True, set=MountAttr.RDONLY)),
        (["bind", "rslave"], MountOptions(bind=True, propagation=[(MountFlag.SLAVE, True)])),
        (["size=1m", "newinstance", "defaults"], MountOptions(data={"size": "1m", "newinstance": None})),
        (["noatime"], MountOptions(set=MountAttr.NOATIME, clear=MountAttr.ATIME)),
        (["tmpcopyup", ""], MountOptions(copy_up=True)),
    ],
)
def test_option_words_mean_what_mount_says(words: list[str], options: MountOptions) -> None:
    assert parse_options(words) == options
