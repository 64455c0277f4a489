"""`onggi-runtime events`: counters of a container as JSON lines, in runc's form (its types/events.go)."""

from __future__ import annotations

import os
import re
import select
import sys
import time
from typing import Final

import msgspec

from onggi.errors import Conflict, InvalidArgument
from onggi.kernel import process
from onggi.kernel.cgroups.face import BlockEntry, Cgroup, CgroupStats
from onggi.runtime import cgroupspaths
from onggi.runtime.bundles import Bundles, ContainerState, is_alive
from onggi.runtime.flags import Given

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def events(options: Given, given: Given) -> int:
    """One line with --stats; else one at each interval and each kill for memory, until the container ends."""
    state = Bundles(options.text("root")).load(given.rest[0])
    interval_s = _seconds(given.text("interval"))
    if not is_alive(state):
        raise Conflict(f"container with id {state.id} is not running")
    cgroup = cgroupspaths.find(state.cgroup_path)
    if "stats" in given.switches:
        _say("stats", state.id, _data(cgroup.stats()))
    else:
        _follow(state, cgroup, interval_s)
    return 0


def _seconds(text: str) -> float:
    """A duration as Go reads it. Raises InvalidArgument."""
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise InvalidArgument(f'invalid value "{text}" for flag -interval: parse error')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds <= 0:
        raise InvalidArgument("duration interval must be greater than 0")
    return seconds


def _follow(state: ContainerState, cgroup: Cgroup, interval_s: float) -> None:
    kills, events_fd = cgroup.oom_kills(), cgroup.oom_events()
    poll = select.poll()
    with process.pidfd_open(state.pid) as pidfd:
        poll.register(pidfd.fileno(), select.POLLIN)
        if events_fd is not None:
            poll.register(events_fd, select.POLLIN | select.POLLPRI)
        due = time.monotonic() + interval_s
        while is_alive(state):
            ready = {fd for fd, _ in poll.poll(max(0.0, due - time.monotonic()) * 1000)}
            if events_fd is not None and events_fd in ready:
                os.read(events_fd, 4096)
                before, kills = kills, cgroup.oom_kills()
                if cgroup.unified:
                    os.lseek(events_fd, 0, os.SEEK_SET)
                # v1 tells of nothing else, and before it counts; v2 tells of all changes.
                if kills != before or not cgroup.unified:
                    _say("oom", state.id, None)
            if time.monotonic() >= due:
                due += interval_s
                _say("stats", state.id, _data(cgroup.stats()))


def _say(kind: str, container_id: str, data: dict[str, object] | None) -> None:
    line: dict[str, object] = {"type": kind, "id": container_id}
    if data is not None:
        line["data"] = data
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()


def _data(stats: CgroupStats) -> dict[str, object]:
    """Names are those of runc's events.Stats; what has no value here is left out, as Go's omitempty does."""
    return {
        "cpu": {
            "usage": {
                "total": stats.cpu_total_ns,
                "percpu": stats.percpu_ns,
                "kernel": stats.cpu_system_ns,
                "user": stats.cpu_user_ns,
            },
            "throttling": {
                "periods": stats.periods,
                "throttledPeriods": stats.throttled_periods,
                "throttledTime": stats.throttled_ns,
            },
        },
        "memory": {
            "usage": {
                "limit": stats.memory_limit,
                "usage": stats.memory_usage,
                "max": stats.memory_max_usage,
                "failcnt": stats.memory_failures,
            },
            "raw": stats.memory_detail,
        },
        "pids": {"current": stats.pids_current, "limit": 0 if stats.pids_limit >= 2**63 else stats.pids_limit},
        "blkio": {
            "ioServiceBytesRecursive": [_block(entry) for entry in stats.block_bytes],
            "ioServicedRecursive": [_block(entry) for entry in stats.block_operations],
        },
    }


def _block(entry: BlockEntry) -> dict[str, object]:
    return {"major": entry.major, "minor": entry.minor, "op": entry.op, "value": entry.value}
