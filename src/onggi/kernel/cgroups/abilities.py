"""What this machine's cgroups can limit: asked once.

v1: the files of each hierarchy's root (Documentation/admin-guide/cgroup-v1/). v2: the controllers that the root hands on; what
v2 has no file for can't be done (Documentation/admin-guide/cgroup-v2.rst).
"""

from __future__ import annotations

import functools
import os

from onggi.kernel.cgroups.v1 import mounted_hierarchies

_V1_FILES = {
    "memory": ("memory", "memory.limit_in_bytes"),
    "swap": ("memory", "memory.memsw.limit_in_bytes"),
    "reservation": ("memory", "memory.soft_limit_in_bytes"),
    "swappiness": ("memory", "memory.swappiness"),
    "oom_kill_disable": ("memory", "memory.oom_control"),
    "cpu_shares": ("cpu", "cpu.shares"),
    "cpu_cfs": ("cpu", "cpu.cfs_quota_us"),
    "cpu_realtime": ("cpu", "cpu.rt_period_us"),
    "cpuset": ("cpuset", "cpuset.cpus"),
    "pids": ("pids", ""),
    "blkio_weight": ("blkio", "blkio.weight"),
    "blkio_weight_device": ("blkio", "blkio.weight_device"),
    "blkio_throttle": ("blkio", "blkio.throttle.read_bps_device"),
}
_V2_CONTROLLERS = {
    "memory": "memory", "swap": "memory", "reservation": "memory", "cpu_shares": "cpu", "cpu_cfs": "cpu", "cpuset": "cpuset",
    "pids": "pids", "blkio_weight": "io", "blkio_weight_device": "io", "blkio_throttle": "io",
}  # fmt: skip


@functools.cache
def abilities(root: str = "/sys/fs/cgroup") -> frozenset[str]:
    """Names as in the tables above."""
    try:
        with open(f"{root}/cgroup.controllers", encoding="ascii") as file:
            given = set(file.read().split())
        return frozenset(name for name, controller in _V2_CONTROLLERS.items() if controller in given)
    except FileNotFoundError:
        mounted = mounted_hierarchies()
    return frozenset(
        name
        for name, (controller, file) in _V1_FILES.items()
        if controller in mounted and os.path.exists(os.path.join(mounted[controller], file))
    )
