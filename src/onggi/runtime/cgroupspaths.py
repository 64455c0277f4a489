"""Which cgroup a container of `onggi-runtime` has: linux.cgroupsPath read, with and without systemd's form.

Source: config-linux.md "Cgroups Path"; systemd.slice(5) for how a slice's name is its path.
"""

from __future__ import annotations

import os

from onggi.errors import InvalidArgument
from onggi.kernel import cgroups
from onggi.kernel.cgroups.none import NoCgroup

DISABLED = "-"
"""Stands for no cgroup in a container's state: no path can be that."""

_MANAGERS = ("cgroupfs", "systemd", "disabled")


def path_of(wanted: str, container_id: str, *, manager: str) -> str:
    """The cgroup's path below each hierarchy's root. Raises InvalidArgument."""
    if manager not in _MANAGERS:
        raise InvalidArgument(f"unknown cgroup manager {manager!r}: use one of {', '.join(_MANAGERS)}")
    if manager == "disabled":
        return DISABLED
    if manager == "systemd":
        return _scope(wanted or f"system.slice:{_PREFIX}:{container_id}")
    if ".." in wanted.split("/"):
        raise InvalidArgument(f"cgroupsPath {wanted!r}: `..` components are not allowed")
    if not wanted and os.geteuid() != 0:
        return _of_a_user(container_id)
    return wanted or f"/{container_id}"


def _of_a_user(container_id: str) -> str:
    """Below the caller's own group where that is delegated; else none, as runc does without being asked for one."""
    if not cgroups.is_unified():
        return DISABLED
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        own = file.read().strip().removeprefix("0::").rstrip("/")
    return f"{own}/{container_id}" if os.access(f"{cgroups.ROOT}{own}/cgroup.procs", os.W_OK) else DISABLED


_PREFIX = "onggi"


def _scope(text: str) -> str:
    """`slice:prefix:name` as the directory where systemd would put that scope."""
    parts = text.split(":")
    if len(parts) != 3:
        raise InvalidArgument(
            f'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got {text!r} instead'
        )
    slice_name, prefix, name = parts
    if "/" in text or ".." in parts:
        raise InvalidArgument(f"invalid cgroupsPath {text!r}")
    unit = name if name.endswith(".slice") else f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    return f"{_slice_path(slice_name or 'system.slice')}/{unit}"


def _slice_path(name: str) -> str:
    """`a-b-c.slice` lies in a.slice/a-b.slice; `-.slice` is the root."""
    if name == "-.slice":
        return ""
    stem = name.removesuffix(".slice")
    if stem == name or not stem or stem.startswith("-") or stem.endswith("-") or "--" in stem:
        raise InvalidArgument(f"invalid slice name: {name}")
    words = stem.split("-")
    return "".join(f"/{'-'.join(words[: count + 1])}.slice" for count in range(len(words)))


def make(path: str, resources: cgroups.Resources) -> cgroups.Cgroup:
    """Made and limited. Raises OSError."""
    if path == DISABLED:
        group = NoCgroup()
        group.apply(resources)
        return group
    return cgroups.create(path, resources)


def find(path: str) -> cgroups.Cgroup:
    """As it is."""
    return NoCgroup() if path == DISABLED else cgroups.open(path)
