"""`onggi-runtime features`: what this runtime can, in the spec's words (runtime-spec, features.md)."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

import msgspec

from onggi.kernel import capabilities, scheduling
from onggi.kernel.seccomp import FilterFlag
from onggi.oci.runtime import VERSION
from onggi.runtime.options import known_words
from onggi.runtime.seccomp_default import KNOWN_ARCHITECTURES

_NAMESPACES: Final = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]
_HOOKS: Final = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
_ACTIONS: Final = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "NOTIFY", "TRACE", "TRAP"]
_FLAGS: Final = {"TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"}
_OPERATORS: Final = ["EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE"]


class Cgroup(msgspec.Struct, rename="camel"):
    v1: bool = True
    v2: bool = True
    systemd: bool = False
    systemd_user: bool = False
    rdma: bool = True


class Seccomp(msgspec.Struct, rename="camel"):
    enabled: bool
    actions: list[str]
    operators: list[str]
    archs: list[str]
    known_flags: list[str]
    supported_flags: list[str]


class Enabled(msgspec.Struct):
    enabled: bool


class IntelRdt(msgspec.Struct):
    """What this runtime can, whatever the machine has."""

    enabled: bool = True
    schemata: bool = True
    monitoring: bool = True


class MountExtensions(msgspec.Struct):
    idmap: Enabled


class MemoryPolicy(msgspec.Struct):
    modes: list[str]
    flags: list[str]


class LinuxFeatures(msgspec.Struct, rename="camel"):
    namespaces: list[str]
    capabilities: list[str]
    cgroup: Cgroup
    seccomp: Seccomp
    apparmor: Enabled
    selinux: Enabled
    intel_rdt: IntelRdt
    memory_policy: MemoryPolicy
    mount_extensions: MountExtensions
    net_devices: Enabled


class Features(msgspec.Struct, rename="camel"):
    oci_version_min: str
    oci_version_max: str
    hooks: list[str]
    mount_options: list[str]
    linux: LinuxFeatures
    annotations: dict[str, str]
    potentially_unsafe_config_annotations: list[str]


def features() -> Features:
    """All that the code has; what this kernel has is asked at each start."""
    # The listener's flag is set by the runtime alone.
    flags = [f"SECCOMP_FILTER_FLAG_{flag.name}" for flag in FilterFlag if flag.name in _FLAGS]
    return Features(
        oci_version_min="1.0.0",
        oci_version_max=VERSION,
        hooks=_HOOKS,
        mount_options=known_words(),
        linux=LinuxFeatures(
            namespaces=_NAMESPACES,
            capabilities=list(capabilities.CAPS),
            cgroup=Cgroup(),
            seccomp=Seccomp(
                True,
                [f"SCMP_ACT_{name}" for name in _ACTIONS],
                [f"SCMP_CMP_{name}" for name in _OPERATORS],
                [f"SCMP_ARCH_{name.upper()}" for name in sorted(KNOWN_ARCHITECTURES)],
                flags,
                flags,
            ),
            apparmor=Enabled(enabled=True),
            selinux=Enabled(enabled=True),
            intel_rdt=IntelRdt(),
            memory_policy=MemoryPolicy(list(scheduling.MEMORY_MODES), list(scheduling.MEMORY_FLAGS)),
            mount_extensions=MountExtensions(Enabled(enabled=True)),
            net_devices=Enabled(enabled=True),
        ),
        annotations={"org.onggi.version": version("onggi")},
        # Files that hooks write to, groups that are kept: who makes a config of what strangers say must leave these out.
        potentially_unsafe_config_annotations=["run.oci."],
    )
