"""Why a container ended, as exactly as the machine can tell: the engine's own acts, the exit record, the kernel's log.

docker tells a code and one flag; 137 may be a client's kill, a stop that took too long, the container's memory limit, or the
machine's memory.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from dataclasses import dataclass

from onggi.engine.extensions import ExitReason
from onggi.runtime.protocol import ExitRecord

_KMSG = "/dev/kmsg"
_KILL = re.compile(r"oom-kill:constraint=(\w+),.*task_memcg=([^,]*),task=([^,]*),pid=\d+")
"""mm/oom_kill.c, dump_oom_victim: one line for each kill."""
_SHELL_CODES = {126: "the command could not be run", 127: "the command was not found"}


@dataclass(frozen=True, slots=True)
class Victim:
    """From the kernel's log."""

    name: str
    host_wide: bool


def explain(record: ExitRecord, act: str, *, memory_limit: int, victim: Victim | None) -> ExitReason:
    """`act` is what the engine did to it: "", stopped, killed, unhealthy. Pure."""
    name = _signal_name(record.signal)
    if record.oom_killed:
        return _out_of_memory(record, name, memory_limit, victim)
    if act:
        how = f" by {name}" if name else f" with exit code {record.exit_code}"
        text = {
            "stopped": "a client stopped it",
            "killed": "a client killed it",
            "unhealthy": "its health check failed, and HealthOnFailure ends it",
        }[act]
        return ExitReason(act, f"{text}: it ended{how}", name)
    if record.reason and record.exit_code in (137, 255):
        return ExitReason("lost", record.reason, name)
    if name:
        return ExitReason(
            "signal", f"{name} ended it, and the engine sent none: the program itself or another process did", name
        )
    return ExitReason("exited", _exited(record.exit_code))


def _out_of_memory(record: ExitRecord, name: str, memory_limit: int, victim: Victim | None) -> ExitReason:
    is_main = record.signal == signal.SIGKILL
    host_wide = victim is not None and victim.host_wide
    whose = (
        "the machine's memory was used up" if host_wide else f"its memory limit of {_size(memory_limit)} was reached"
    )
    who = f"the kernel killed {victim.name}" if victim else "the kernel killed a process of it"
    rest = "" if is_main else f"; the main process went on, and ended with exit code {record.exit_code}"
    kills = f" ({record.oom_kills} kills in this run)" if record.oom_kills > 1 else ""
    return ExitReason(
        "out-of-memory" if is_main else "child-out-of-memory", f"{whose}: {who}{kills}{rest}", name,
        oom_kills=record.oom_kills, memory_limit=memory_limit, memory_peak=record.memory_peak,
        victim=victim.name if victim else "", host_wide=host_wide,
    )  # fmt: skip


def _exited(code: int) -> str:
    if code == 0:
        return "the program ended well"
    if code in _SHELL_CODES:
        return f"the program ended with exit code {code}: of a shell that is, {_SHELL_CODES[code]}"
    if 128 < code <= 128 + signal.NSIG:
        number = _signal_name(code - 128)
        if number:
            return f"the program ended with exit code {code}: of a shell that is, {number} ended what it ran"
    return f"the program ended with exit code {code}"


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name if number else ""
    return f"signal {number}"


def _size(count: int) -> str:
    if not count:
        return "its cgroup's parent"
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:g} {unit}"
    return f"{count} bytes"


def find_victim(container_id: str, path: str = _KMSG) -> Victim | None:
    """The last process of the container that the kernel has killed, by its log; None when that can't be read. Blocking."""
    found = None
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            while True:
                try:
                    entry = os.read(fd, 8192)
                except BrokenPipeError:
                    continue  # overwritten while we read: the next one follows
                if not entry:
                    break
                for match in _KILL.finditer(entry.decode("utf-8", "replace")):
                    if container_id in match[2]:
                        found = Victim(match[3], match[1] in ("CONSTRAINT_NONE", "CONSTRAINT_CPUSET"))
        except BlockingIOError:
            pass
        finally:
            os.close(fd)
    return found
