"""The config.json that `onggi-runtime spec` writes: runc's, to be edited by hand."""

from __future__ import annotations

import os
from typing import Final

import msgspec

from onggi.oci.runtime import VERSION, Spec

_CAPABILITIES: Final = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_MOUNTS: Final = (
    ("/proc", "proc", "proc", ""),
    ("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
    ("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
    ("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
    ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
)
_MASKED: Final = (
    "/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats "
    "/proc/sched_debug /sys/firmware /proc/scsi"
)
_READ_ONLY: Final = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"


def example_json() -> dict[str, object]:
    """A shell on a terminal, in new namespaces, with three capabilities. Written out: who edits it sees every field."""
    return {
        "ociVersion": VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "onggi",
        "mounts": [_mount(*mount) for mount in _MOUNTS],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": _MASKED.split(),
            "readonlyPaths": _READ_ONLY.split(),
        },
    }


def rootless_json() -> dict[str, object]:
    """The same for somebody who isn't root, as runc's --rootless has it: one mapped id, the host's network and /sys, no limits."""
    example = example_json()
    own = {"containerID": 0, "size": 1}
    example["mounts"] = [
        _mount("/sys", "none", "/sys", "rbind,nosuid,noexec,nodev,ro") if target == "/sys"
        else _mount(target, kind, source, options.replace(",gid=5", ""))
        for target, kind, source, options in _MOUNTS
    ]  # fmt: skip
    example["linux"] = {
        "uidMappings": [own | {"hostID": os.geteuid()}],
        "gidMappings": [own | {"hostID": os.getegid()}],
        "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "user")],
        "maskedPaths": _MASKED.split(),
        "readonlyPaths": _READ_ONLY.split(),
    }
    return example


def example_spec() -> Spec:
    """The same, understood."""
    return msgspec.convert(example_json(), Spec)


def _mount(destination: str, kind: str, source: str, options: str) -> dict[str, object]:
    mount: dict[str, object] = {"destination": destination, "type": kind, "source": source}
    if options:
        mount["options"] = options.split(",")
    return mount
