"""What `onggi-runtime update` is asked for: a file of resources, or one flag for each."""

from __future__ import annotations

import sys
from typing import Final

import msgspec

from onggi.errors import InvalidArgument
from onggi.kernel.cgroups.resources import Resources
from onggi.runtime import wholefiles
from onggi.runtime.flags import Given

_NUMBERS: Final = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-idle": ("cpu", "idle"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "pids-limit": ("pids", "limit"),
}
_WORDS: Final = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_INTEL_RDT: Final = ("l3-cache-schema", "mem-bw-schema")


def resources(given: Given) -> Resources:
    """The limits to be set; with a file the flags don't count, as runc has it. Raises InvalidArgument."""
    path = given.text("resources")
    if path:
        content = sys.stdin.buffer.read() if path == "-" else wholefiles.read(path)
        try:
            return msgspec.json.decode(content, type=Resources)
        except msgspec.DecodeError as error:
            raise InvalidArgument(f"resources: {error}") from None
    parts: dict[str, dict[str, int | str]] = {}
    for flag, (part, field) in _NUMBERS.items():
        if given.text(flag):
            parts.setdefault(part, {})[field] = given.number(flag)
    for flag, (part, field) in _WORDS.items():
        if given.text(flag):
            parts.setdefault(part, {})[field] = given.text(flag)
    return msgspec.convert(parts, Resources)


def schemata_of(given: Given, group: str) -> list[str]:
    """What is to be written to a container's group of resctrl. Raises InvalidArgument when it has none."""
    lines = [given.text(flag) for flag in _INTEL_RDT if given.text(flag)]
    if lines and not group:
        raise InvalidArgument(
            "Intel RDT: the container has no group, or resctrl is not mounted here; nothing is changed"
        )
    return lines
