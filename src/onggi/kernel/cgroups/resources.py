"""What a cgroup limits: the runtime spec's `linux.resources` (config-linux.md, "Control groups").

The names are the spec's, so that a bundle's JSON decodes into it. None means: leave as it is. Annotations are no
strings, as in oci/runtime.py.
"""

import msgspec


class _Part(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Base of the parts: immutable, names as in JSON, defaults left out."""


class DeviceRule(_Part, frozen=True, rename="camel", omit_defaults=True):
    """`allow` or deny `access` (of r, w, m) to devices of `type` (a, b, c); -1 or None is every number."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


class Memory(_Part, frozen=True, rename="camel", omit_defaults=True):
    """Bytes; -1 without limit. `swap` is memory plus swap, as docker and cgroup v1 count it.

    `kernel` is read over: no kernel since 5.16 limits it. `check_before_update`: a limit below what is used is refused.
    """

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool = msgspec.field(name="disableOOMKiller", default=False)
    kernel: int | None = None
    kernel_tcp: int | None = msgspec.field(name="kernelTCP", default=None)
    use_hierarchy: bool | None = None
    check_before_update: bool = False


class Cpu(_Part, frozen=True, rename="camel", omit_defaults=True):
    """`quota` and `period` in µs; `shares` 2–262144; `cpus` and `mems` are lists such as 0-3,7."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class Pids(_Part, frozen=True, rename="camel", omit_defaults=True):
    """Number of tasks; -1 is without limit, 0 lets none be born."""

    limit: int | None = None


class ThrottleDevice(_Part, frozen=True, rename="camel", omit_defaults=True):
    """`rate` bytes or operations a second for one device."""

    major: int
    minor: int
    rate: int


class WeightDevice(_Part, frozen=True, rename="camel", omit_defaults=True):
    """`weight` 10–1000 for one device."""

    major: int
    minor: int
    weight: int = 0
    leaf_weight: int = 0


class BlockIO(_Part, frozen=True, rename="camel", omit_defaults=True):
    """Weights and rates of block devices."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: list[WeightDevice] = []
    throttle_read_bps_device: list[ThrottleDevice] = []
    throttle_write_bps_device: list[ThrottleDevice] = []
    throttle_read_iops_device: list[ThrottleDevice] = msgspec.field(name="throttleReadIOPSDevice", default_factory=list)
    throttle_write_iops_device: list[ThrottleDevice] = msgspec.field(
        name="throttleWriteIOPSDevice", default_factory=list
    )


class InterfacePriority(_Part, frozen=True, rename="camel", omit_defaults=True):
    """Priority of packets out of one interface."""

    name: str
    priority: int


class HugepageLimit(_Part, frozen=True, rename="camel", omit_defaults=True):
    """Bytes of huge pages of one size, such as 2MB."""

    page_size: str
    limit: int


class Network(_Part, frozen=True, rename="camel", omit_defaults=True):
    """Marks of v1: `class_id` of packets, `priorities` by interface."""

    class_id: int | None = msgspec.field(name="classID", default=None)
    priorities: list[InterfacePriority] = []


class Rdma(_Part, frozen=True, rename="camel", omit_defaults=True):
    """Limits of one RDMA device; None is without limit."""

    hca_handles: int | None = None
    hca_objects: int | None = None


class Resources(_Part, frozen=True, rename="camel", omit_defaults=True):
    """All of it. `unified` is written as it stands, on v2 only: file → content."""

    devices: list[DeviceRule] = []
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = msgspec.field(name="blockIO", default=None)
    hugepage_limits: list[HugepageLimit] = []
    network: Network | None = None
    rdma: dict[str, Rdma] = {}
    unified: dict[str, str] = {}
