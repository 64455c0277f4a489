"""`onggi-runtime features`: what this runtime can, in the spec's words (runtime-spec, features.md)."""

from __future__ import annotations

from typing import Final

import msgspec

from onggi.kernel import capabilities
from onggi.oci.runtime import VERSION

_NAMESPACES: Final = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]
_MOUNT_OPTIONS: Final = (
    "async atime bind copy defaults dev diratime dirsync exec lazytime loud mand noatime nodev nodiratime noexec nomand "
    "norelatime nostrictatime nosuid nosymfollow private rbind relatime ro rprivate rro rrw rshared rslave runbindable "
    "rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable"
).split()
_HOOKS: Final = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
_ACTIONS: Final = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "NOTIFY", "TRACE", "TRAP"]
_OPERATORS: Final = ["EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE"]
_ARCHITECTURES: Final = ["AARCH64", "ARM", "X32", "X86", "X86_64"]


class Cgroup(msgspec.Struct):
    v1: bool = True
    v2: bool = True
    systemd: bool = False
    rdma: bool = False


class Seccomp(msgspec.Struct):
    enabled: bool
    actions: list[str]
    operators: list[str]
    archs: list[str]


class Enabled(msgspec.Struct):
    enabled: bool


class LinuxFeatures(msgspec.Struct):
    namespaces: list[str]
    capabilities: list[str]
    cgroup: Cgroup
    seccomp: Seccomp
    apparmor: Enabled
    selinux: Enabled


class Features(msgspec.Struct, rename="camel"):
    oci_version_min: str
    oci_version_max: str
    hooks: list[str]
    mount_options: list[str]
    linux: LinuxFeatures


def features() -> Features:
    """All that the code has; what this kernel has is asked at each start."""
    return Features(
        oci_version_min="1.0.0",
        oci_version_max=VERSION,
        hooks=_HOOKS,
        mount_options=_MOUNT_OPTIONS,
        linux=LinuxFeatures(
            namespaces=_NAMESPACES,
            capabilities=list(capabilities.CAPS),
            cgroup=Cgroup(),
            seccomp=Seccomp(
                True,
                [f"SCMP_ACT_{name}" for name in _ACTIONS],
                [f"SCMP_CMP_{name}" for name in _OPERATORS],
                [f"SCMP_ARCH_{name}" for name in _ARCHITECTURES],
            ),
            apparmor=Enabled(enabled=False),
            selinux=Enabled(enabled=False),
        ),
    )
