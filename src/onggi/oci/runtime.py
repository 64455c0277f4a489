"""The OCI runtime specification 1.3, config.json and state, as structs.

Source: github.com/opencontainers/runtime-spec, config.md, config-linux.md, runtime.md. Unknown fields are ignored when
decoded. Field names in JSON are the spec's camelCase. Annotations are no strings here: msgspec would evaluate each of them
at the first decode, which takes as long as the rest of reading a spec.
"""

import msgspec

from onggi.kernel.cgroups.resources import Resources

VERSION = "1.3.0"


class _Part(msgspec.Struct, rename="camel", omit_defaults=True):
    """Base: names as in JSON, defaults left out."""


class User(_Part, rename="camel", omit_defaults=True):
    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: list[int] = []


class Box(_Part, rename="camel", omit_defaults=True):
    """Size of a terminal in characters."""

    height: int = 0
    width: int = 0


class Rlimit(_Part, rename="camel", omit_defaults=True):
    """`type` is RLIMIT_*."""

    type: str
    hard: int
    soft: int


class Capabilities(_Part, rename="camel", omit_defaults=True):
    """Names with CAP_, for the five sets (capabilities(7))."""

    bounding: list[str] = []
    effective: list[str] = []
    inheritable: list[str] = []
    permitted: list[str] = []
    ambient: list[str] = []


class Scheduler(_Part, rename="camel", omit_defaults=True):
    policy: str
    nice: int = 0
    priority: int = 0
    flags: list[str] = []
    runtime: int | None = None
    deadline: int | None = None
    period: int | None = None


class IOPriority(_Part, rename="camel", omit_defaults=True):
    class_: str = msgspec.field(name="class")
    priority: int = 0


class CpuAffinity(_Part, rename="camel", omit_defaults=True):
    """CPUs of an exec, as a list such as 0-3,7: before it is in the container's cgroup, and after."""

    initial: str = ""
    final: str = ""


class Process(_Part, rename="camel", omit_defaults=True):
    """What runs: config.md, "Process"."""

    cwd: str = "/"
    args: list[str] = []
    env: list[str] = []
    terminal: bool = False
    console_size: Box | None = None
    user: User = msgspec.field(default_factory=User)
    capabilities: Capabilities | None = None
    rlimits: list[Rlimit] = []
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    selinux_label: str = ""
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    io_priority: IOPriority | None = None
    exec_cpu_affinity: CpuAffinity | None = msgspec.field(name="execCPUAffinity", default=None)


class Root(_Part, rename="camel", omit_defaults=True):
    path: str
    readonly: bool = False


class IdMapping(_Part, rename="camel", omit_defaults=True):
    container_id: int = msgspec.field(name="containerID")
    host_id: int = msgspec.field(name="hostID")
    size: int = 0


class Mount(_Part, rename="camel", omit_defaults=True):
    """`options` are words of mount(8) and the spec's own."""

    destination: str
    type: str = ""
    source: str = ""
    options: list[str] = []
    uid_mappings: list[IdMapping] = []
    gid_mappings: list[IdMapping] = []


class Hook(_Part, rename="camel", omit_defaults=True):
    path: str
    args: list[str] = []
    env: list[str] = []
    timeout: int | None = None


class Hooks(_Part, rename="camel", omit_defaults=True):
    prestart: list[Hook] = []
    create_runtime: list[Hook] = []
    create_container: list[Hook] = []
    start_container: list[Hook] = []
    poststart: list[Hook] = []
    poststop: list[Hook] = []


class Namespace(_Part, rename="camel", omit_defaults=True):
    """A new namespace of `type`, or the one at `path`."""

    type: str
    path: str = ""


class Device(_Part, rename="camel", omit_defaults=True):
    """A node to be made: `type` c, u, b or p."""

    path: str
    type: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class SyscallArg(_Part, rename="camel", omit_defaults=True):
    index: int
    value: int
    op: str
    value_two: int = 0


class Syscall(_Part, rename="camel", omit_defaults=True):
    names: list[str]
    action: str
    errno_ret: int | None = None
    args: list[SyscallArg] = []


class Seccomp(_Part, rename="camel", omit_defaults=True):
    default_action: str
    default_errno_ret: int | None = None
    architectures: list[str] = []
    flags: list[str] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: list[Syscall] = []


class NetDevice(_Part, rename="camel", omit_defaults=True):
    """What an interface of the host is called in the container; empty for the same."""

    name: str = ""


class Personality(_Part, rename="camel", omit_defaults=True):
    """`domain` is LINUX or LINUX32."""

    domain: str
    flags: list[str] = []


class MemoryPolicy(_Part, rename="camel", omit_defaults=True):
    """set_mempolicy(2): `mode` and `flags` are MPOL_*, `nodes` a list such as 0-3,7."""

    mode: str
    nodes: str = ""
    flags: list[str] = []


class IntelRdt(_Part, rename="camel", omit_defaults=True):
    """A group of the resctrl file system (Documentation/filesystems/resctrl.rst)."""

    clos_id: str = msgspec.field(name="closID", default="")
    schemata: list[str] = []
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_monitoring: bool = False


class Linux(_Part, rename="camel", omit_defaults=True):
    """config-linux.md."""

    namespaces: list[Namespace] = []
    uid_mappings: list[IdMapping] = []
    gid_mappings: list[IdMapping] = []
    devices: list[Device] = []
    cgroups_path: str = ""
    resources: Resources | None = None
    rootfs_propagation: str = ""
    seccomp: Seccomp | None = None
    sysctl: dict[str, str] = {}
    masked_paths: list[str] = []
    readonly_paths: list[str] = []
    mount_label: str = ""
    time_offsets: dict[str, dict[str, int]] = {}
    net_devices: dict[str, NetDevice] = {}
    personality: Personality | None = None
    memory_policy: MemoryPolicy | None = None
    intel_rdt: IntelRdt | None = None


class Spec(_Part, rename="camel", omit_defaults=True):
    """config.json."""

    oci_version: str = VERSION
    process: Process | None = None
    root: Root | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: list[Mount] = []
    hooks: Hooks | None = None
    annotations: dict[str, str] = {}
    linux: Linux | None = None

    @property
    def linux_resources(self) -> Resources:
        return (self.linux and self.linux.resources) or Resources()


class State(msgspec.Struct, rename="camel"):
    """What `state` prints and hooks get on stdin (runtime.md, "State")."""

    oci_version: str
    id: str
    status: str
    pid: int
    bundle: str
    annotations: dict[str, str] = {}
