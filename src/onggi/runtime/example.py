"""The config.json that `onggi-runtime spec` writes: runc's, to be edited by hand."""

from __future__ import annotations

from typing import Final

from onggi.kernel.cgroups.resources import DeviceRule, Resources
from onggi.oci.runtime import Capabilities, Linux, Mount, Namespace, Process, Rlimit, Root, Spec, User

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


def example_spec() -> Spec:
    """A shell on a terminal, in new namespaces, with three capabilities."""
    return Spec(
        process=Process(
            terminal=True,
            user=User(),
            args=["sh"],
            env=["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            cwd="/",
            capabilities=Capabilities(bounding=_CAPABILITIES, effective=_CAPABILITIES, permitted=_CAPABILITIES),
            rlimits=[Rlimit(type="RLIMIT_NOFILE", hard=1024, soft=1024)],
            no_new_privileges=True,
        ),
        root=Root(path="rootfs", readonly=True),
        hostname="onggi",
        mounts=[
            Mount(destination=where, type=kind, source=source, options=options.split(",") if options else [])
            for where, kind, source, options in _MOUNTS
        ],
        linux=Linux(
            resources=Resources(devices=[DeviceRule(allow=False, access="rwm")]),
            namespaces=[Namespace(type=kind) for kind in ("pid", "network", "ipc", "uts", "mount")],
            masked_paths=_MASKED.split(),
            readonly_paths=_READ_ONLY.split(),
        ),
    )
