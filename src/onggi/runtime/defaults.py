"""What a container gets when nobody asks for anything else: docker's defaults, as a runtime spec to be tuned.

Source: moby daemon/pkg/oci/defaults.go, containers' capabilities and paths of github.com/moby/profiles; security.md's
list is compared with this file by a test.
"""

from __future__ import annotations

import functools
import os
from typing import Final

from onggi.kernel import capabilities
from onggi.kernel.cgroups.resources import DeviceRule, Resources
from onggi.kernel.namespaces import is_rootless
from onggi.oci.runtime import Capabilities, Device, Linux, Mount, Namespace, Process, Root, Spec
from onggi.runtime.devicerules import DEFAULT_RULES

CAPABILITIES: Final = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

_PROC: Final = Mount("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"])
_SYS: Final = Mount("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"])
_CGROUP: Final = Mount("/sys/fs/cgroup", "cgroup", "cgroup", ["ro", "nosuid", "noexec", "nodev"])
MOUNTS: Final = (
    _PROC,
    Mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    Mount("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    _SYS,
    _CGROUP,
    Mount("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    Mount("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777"]),
)
"""/dev/shm is to get its size (64 MiB by default) or another container's, so it stands last."""

SHM_BYTES: Final = 64 << 20

MASKED_PATHS: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SYSCTLS: Final = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": f"0 {65535 if is_rootless() else 2**31 - 1}",
}
"""With a network namespace of its own: low ports and ping without rights (moby PR 41030)."""


@functools.cache
def masked_paths() -> tuple[str, ...]:
    """MASKED_PATHS, and what CPUs tell of their temperature: a side channel (moby PR 49560)."""
    return (*MASKED_PATHS, *_thermal_paths())


def _thermal_paths() -> list[str]:
    """Over possible CPUs, since one that is offline may come back."""
    try:
        with open("/sys/devices/system/cpu/possible", encoding="utf-8") as file:
            text = file.read().strip()
    except OSError:
        return []
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        for number in range(int(first or 0), int(last or first or 0) + 1):
            path = f"/sys/devices/system/cpu/cpu{number}/thermal_throttle"
            if os.path.isdir(path):
                found.append(path)
    return found


def default_capabilities(names: tuple[str, ...] = CAPABILITIES) -> Capabilities:
    """In the bounding, permitted and effective sets, and nowhere else (CVE-2022-24769)."""
    return Capabilities(bounding=list(names), effective=list(names), permitted=list(names))


def namespaces(*, cgroup: bool) -> list[Namespace]:
    """New ones of each kind; the cgroup's own is docker's default with v2 only."""
    kinds = ["mount", "network", "uts", "pid", "ipc", *(["cgroup"] if cgroup else [])]
    return [Namespace(kind) for kind in kinds]


def device_rules() -> list[DeviceRule]:
    """Everything is denied but what each container has."""
    return [DeviceRule(allow=False), *DEFAULT_RULES]


def default_spec(*, unified_cgroups: bool = False) -> Spec:
    """A spec of its own for the caller to change: namespaces, mounts, masks, capabilities, device rules.

    The sizes of /dev/shm, the process's words, resources and hostname are the caller's. `seccomp` isn't in it: a compiled
    filter goes beside the spec (plan.py).
    """
    return Spec(
        process=Process(args=[], env=[PATH], capabilities=default_capabilities()),
        root=Root(path="rootfs"),
        mounts=[Mount(m.destination, m.type, m.source, list(m.options)) for m in MOUNTS],
        linux=Linux(
            namespaces=namespaces(cgroup=unified_cgroups),
            masked_paths=list(masked_paths()),
            readonly_paths=list(READ_ONLY_PATHS),
            resources=Resources(devices=device_rules()),
        ),
    )


def make_privileged(spec: Spec) -> None:
    """Everything that docker's --privileged opens: all capabilities, all of the host's devices, nothing masked.

    The caller gives no seccomp filter then.
    """
    if spec.process is None or spec.linux is None:
        raise ValueError("a spec without process or linux")
    everything = tuple(capabilities.names((2 << capabilities.last_cap()) - 1))
    spec.process.capabilities = default_capabilities(everything)
    spec.linux.masked_paths, spec.linux.readonly_paths = [], []
    for mount in spec.mounts:
        if mount.type in {"sysfs", "cgroup", "cgroup2"}:
            mount.options = ["rw" if word == "ro" else word for word in mount.options]
    spec.linux.devices = host_devices()
    spec.linux.resources = Resources(devices=[DeviceRule(allow=True)])


def host_devices(directory: str = "/dev") -> list[Device]:
    """Each device node below `directory` on the host, but those that a container has of its own (moby, HostDevices)."""
    found: list[Device] = []
    for name in sorted(os.listdir(directory)):
        if directory == "/dev" and name in {"pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"}:
            continue
        path = f"{directory}/{name}"
        status = os.lstat(path)
        kind = _KINDS.get(status.st_mode & 0o170000)
        if kind == "d":
            found += host_devices(path)
        elif kind:
            mode = status.st_mode & 0o7777
            device = status.st_rdev
            found.append(Device(path, kind, os.major(device), os.minor(device), mode, status.st_uid, status.st_gid))
    return found


_KINDS: Final = {0o040000: "d", 0o020000: "c", 0o060000: "b"}
