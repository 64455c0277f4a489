"""`docker stats`: counters of a container's cgroup and links as docker's object (E-294 to E-299)."""

from __future__ import annotations

import datetime as dt
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onggi.kernel import cgroups
from onggi.kernel.cgroups import CgroupStats

if TYPE_CHECKING:
    from onggi.engine.container import Container

_TICKS = os.sysconf("SC_CLK_TCK")
_NO_LIMIT = 2**63 - 4096
"""cgroup v1 says this for no limit; docker shows the host's memory then."""


@dataclass(slots=True)
class Sample:
    """One look. The host's clock is read right beside the container's: their difference is what clients divide by."""

    taken_ns: int
    system_ns: int
    counters: CgroupStats
    networks: dict[str, dict[str, int]] = field(default_factory=dict)


def take(cgroup_path: str, pid: int) -> Sample:
    """Blocks for some reads of memory; run in a thread."""
    counters = cgroups.open(cgroup_path).stats() if pid else CgroupStats()
    return Sample(time.time_ns(), _system_ns(), counters, _networks(pid) if pid else {})


def _system_ns() -> int:
    """All time that the host's processors have spent, busy or not: the `cpu` line of /proc/stat (proc_stat(5))."""
    with open("/proc/stat", encoding="ascii") as file:
        words = file.readline().split()
    return sum(int(word) for word in words[1:9]) * 10**9 // _TICKS


def _networks(pid: int) -> dict[str, dict[str, int]]:
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
            lines = file.read().splitlines()[2:]
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, _, rest = line.partition(":")
        values = [int(word) for word in rest.split()]
        if name.strip() != "lo" and len(values) >= 12:
            found[name.strip()] = {
                "rx_bytes": values[0], "rx_packets": values[1], "rx_errors": values[2], "rx_dropped": values[3],
                "tx_bytes": values[8], "tx_packets": values[9], "tx_errors": values[10], "tx_dropped": values[11],
            }  # fmt: skip
    return found


def _time(ns: int) -> str:
    if not ns:
        return "0001-01-01T00:00:00Z"
    seconds, rest = divmod(ns, 10**9)
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09d}Z"


def document(container: Container, current: Sample, previous: Sample | None) -> dict[str, Any]:
    """Docker's object of the newest version."""
    counters = current.counters
    found: dict[str, Any] = {
        "name": f"/{container.name}",
        "id": container.id,
        "os_type": "linux",
        "read": _time(current.taken_ns),
        "preread": _time(previous.taken_ns if previous else 0),
        "cpu_stats": _cpu(current),
        "precpu_stats": _cpu(previous) if previous else _cpu(None),
        "memory_stats": _memory(counters) if container.is_alive else {},
        "num_procs": 0,
        "pids_stats": {"current": counters.pids_current, "limit": counters.pids_limit or 2**64 - 1}
        if container.is_alive
        else {},
        "blkio_stats": _block(counters, without=[] if container.is_alive and not cgroups.is_unified() else None),
        "storage_stats": {},
    }
    if current.networks:
        found["networks"] = current.networks
    return found


def _cpu(sample: Sample | None) -> dict[str, Any]:
    counters = sample.counters if sample else CgroupStats()
    found: dict[str, Any] = {
        "cpu_usage": {"total_usage": counters.cpu_total_ns, "usage_in_kernelmode": counters.cpu_system_ns, "usage_in_usermode": counters.cpu_user_ns},
        "throttling_data": {"periods": counters.periods, "throttled_periods": counters.throttled_periods, "throttled_time": counters.throttled_ns},
    }  # fmt: skip
    if counters.percpu_ns:
        found["cpu_usage"]["percpu_usage"] = counters.percpu_ns
    if sample and counters.cpu_total_ns:
        found |= {"system_cpu_usage": sample.system_ns, "online_cpus": os.cpu_count() or 1}
    return found


def _memory(counters: CgroupStats) -> dict[str, Any]:
    limit = counters.memory_limit
    if not limit or limit >= _NO_LIMIT:
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found: dict[str, Any] = {"usage": counters.memory_usage, "stats": counters.memory_detail, "limit": limit}
    # As Go's omitempty has them: v2 counts neither.
    if counters.memory_max_usage:
        found["max_usage"] = counters.memory_max_usage
    if counters.memory_failures:
        found["failcnt"] = counters.memory_failures
    return found


def _block(counters: CgroupStats, *, without: list[Any] | None) -> dict[str, Any]:
    """`without` is what a list says that has nothing: on v1 it is empty, on v2 there is none."""

    def entries(rows: Any) -> list[dict[str, Any]] | None:
        return [{"major": row.major, "minor": row.minor, "op": row.op, "value": row.value} for row in rows] or without

    return {
        "io_service_bytes_recursive": entries(counters.block_bytes), "io_serviced_recursive": entries(counters.block_operations),
        "io_queue_recursive": without, "io_service_time_recursive": without, "io_wait_time_recursive": without,
        "io_merged_recursive": without, "io_time_recursive": without, "sectors_recursive": without,
    }  # fmt: skip
