"""When and where a process runs: scheduling policy, memory nodes, execution domain.

Source: sched_setattr(2) (Linux 3.14, utilisation clamps 5.3), set_mempolicy(2) (weighted interleave 6.9), personality(2).
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable
from typing import Final

from onggi.kernel import syscalls

POLICIES: Final = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6,
}  # fmt: skip
SCHED_FLAGS: Final = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01, "SCHED_FLAG_RECLAIM": 0x02, "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08, "SCHED_FLAG_KEEP_PARAMS": 0x10, "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}  # fmt: skip
MEMORY_MODES: Final = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
MEMORY_FLAGS: Final = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}
DOMAINS: Final = {"LINUX": 0x0000, "LINUX32": 0x0008}

_ATTR: Final = struct.Struct("=IIQiIQQQII")
"""struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period, util_min, util_max."""


class Schedule:
    """Arguments of sched_setattr(2), packed before the clone; times in ns."""

    __slots__ = ("_packed",)

    def __init__(
        self, policy: int, *, flags: int = 0, nice: int = 0, priority: int = 0, runtime: int = 0, deadline: int = 0,
        period: int = 0,
    ) -> None:  # fmt: skip
        self._packed = _ATTR.pack(_ATTR.size, policy, flags, nice, priority, runtime, deadline, period, 0, 0)

    def apply(self) -> None:
        """To the calling thread. Raises OSError: EPERM without CAP_SYS_NICE, EINVAL, EBUSY no bandwidth for a deadline."""
        syscalls.call("sched_setattr", syscalls.NR.sched_setattr, 0, self._packed, 0)


def set_memory_policy(mode: int, nodes: Iterable[int]) -> None:
    """Where the calling thread's memory comes from. Raises OSError EINVAL for nodes that aren't there."""
    mask = sum(1 << node for node in nodes)
    words = (mask.bit_length() + 63) // 64
    buffer = ctypes.create_string_buffer(mask.to_bytes(words * 8, "little")) if mask else None
    # The kernel reads one bit less than it is told (get_nodes in mm/mempolicy.c).
    syscalls.call("set_mempolicy", syscalls.NR.set_mempolicy, mode, buffer, words * 64 + 1 if mask else 0)


def parse_list(text: str) -> list[int]:
    """A list such as 0-3,7 (cpuset(7), "List format"). Raises ValueError."""
    found: set[int] = set()
    for part in filter(None, text.replace(" ", "").split(",")):
        first, dash, last = part.partition("-")
        low, high = int(first), int(last) if dash else int(first)
        if not 0 <= low <= high < 4096:
            raise ValueError(f"{part!r} is no range")
        found.update(range(low, high + 1))
    return sorted(found)
