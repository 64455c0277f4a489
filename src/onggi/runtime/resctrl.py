"""A container's part of the processor's caches and memory bandwidth: the resctrl file system (linux.intelRdt).

Here: which group a container is put into, what is written there, and what goes with the container. Nothing is touched for a
spec without the field. Source: config-linux.md, "IntelRdt"; Documentation/filesystems/resctrl.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os

from onggi.errors import InvalidArgument
from onggi.kernel import mounts
from onggi.oci.runtime import IntelRdt
from onggi.runtime import wholefiles

_OF_THE_KERNEL = {"info", "mon_data", "mon_groups"}


def mounted() -> str:
    """Where the file system is mounted, or nothing."""
    return next((mount.target for mount in mounts.mountinfo() if mount.fstype == "resctrl"), "")


def check(rdt: IntelRdt) -> None:
    """Raises InvalidArgument for what no machine could do."""
    name = rdt.clos_id
    if name in {".", "..", *_OF_THE_KERNEL} or ("/" in name and name != "/"):
        raise InvalidArgument(f"intelRdt: closID {name!r} is no name of a group")
    if rdt.mem_bw_schema and not rdt.mem_bw_schema.startswith("MB:"):
        raise InvalidArgument(f"intelRdt: memBwSchema {rdt.mem_bw_schema!r} does not start with MB:")
    for line in _lines(rdt):
        if "\n" in line or ":" not in line:
            raise InvalidArgument(f"intelRdt: schema {line!r} is not one line such as L3:0=f;1=f")


class Group:
    """Where a container's processes are counted. `made` goes with the container, deepest first."""

    def __init__(self, rdt: IntelRdt, container_id: str, root: str) -> None:
        """Makes what is missing, and writes its schemata; nothing is left on failure.

        Raises InvalidArgument for a group that isn't as the spec says, OSError from the kernel (EINVAL a schema that the
        processor can't do, ENOSPC no class of service or monitor left).
        """
        if not root:
            raise InvalidArgument("intelRdt is specified in config, but Intel RDT is not supported or enabled")
        name = container_id if not rdt.clos_id else rdt.clos_id.strip("/")
        self.path = f"{root}/{name}".rstrip("/")
        self.made: list[str] = []
        self._directories = [self.path]
        try:
            self._enter(rdt)
            if rdt.enable_monitoring:
                self._directories.append(f"{self.path}/mon_groups/{container_id}")
                _make(self._directories[-1])
                self.made.insert(0, self._directories[-1])
        except (OSError, InvalidArgument):
            remove(self.made)
            raise

    def _enter(self, rdt: IntelRdt) -> None:
        lines = _lines(rdt)
        if os.path.isdir(self.path):
            if rdt.clos_id:
                _compare(lines, wholefiles.read(f"{self.path}/schemata").decode())
                return
        elif rdt.clos_id and not lines:
            raise InvalidArgument(f"intelRdt: there is no group {rdt.clos_id} and the spec has no schema for it")
        else:
            _make(self.path)
            if not rdt.clos_id:
                self.made.append(self.path)
        write_schemata(self.path, lines)

    def add(self, pid: int) -> None:
        """Raises OSError."""
        for directory in self._directories:
            _write(f"{directory}/tasks", str(pid))


def remove(made: list[str]) -> None:
    """What a container's group has left. Its processes, if there are any, fall back to the group above."""
    for directory in made:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(directory)


def write_schemata(group: str, lines: list[str]) -> None:
    """In this order, a line at a time: the kernel forgets those before one that it refuses."""
    for line in lines:
        _write(f"{group}/schemata", f"{line}\n")


def _lines(rdt: IntelRdt) -> list[str]:
    return [line for line in (rdt.l3_cache_schema, rdt.mem_bw_schema, *rdt.schemata) if line]


def _make(directory: str) -> None:
    try:
        os.mkdir(directory, 0o755)
    except OSError as error:
        raise OSError(error.errno, f"intelRdt: make {directory}: {os.strerror(error.errno or errno.EIO)}") from None


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        shown = f"intelRdt: write {text.strip()!r} to {path}"
        raise OSError(error.errno, f"{shown}: {os.strerror(error.errno or errno.EIO)}") from None


def _compare(lines: list[str], schemata: str) -> None:
    """A group that is there already has what the spec says of it. Raises InvalidArgument."""
    there = dict(_parts(line) for line in schemata.splitlines() if ":" in line)
    for line in lines:
        resource, wanted = _parts(line)
        if not wanted.items() <= there.get(resource, {}).items():
            raise InvalidArgument(f"intelRdt: the group exists and its schemata are not {line}")


def _parts(line: str) -> tuple[str, dict[str, int]]:
    """`L3:0=7f0;1=1f` as its resource, and by domain the mask (hexadecimal) or the bandwidth (a number)."""
    resource, _, domains = line.strip().partition(":")
    base = 10 if resource.startswith(("MB", "SMBA")) else 16
    try:
        pairs = (domain.partition("=") for domain in domains.split(";"))
        return resource, {name.strip(): int(value, base) for name, _, value in pairs}
    except ValueError:
        raise InvalidArgument(f"intelRdt: {line!r} is no schema") from None
