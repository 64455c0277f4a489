"""What crun's tests use of libmount's Python binding, for machines without it (Debian packages none).

Source: proc_pid_mountinfo(5); libmount.h, mnt_table_find_target: the last one of several mounts on a path is found.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Filesystem(NamedTuple):
    """One line of mountinfo."""

    target: str
    vfs_options: str
    """Of the mount."""
    fs_options: str
    """Of the file system's superblock."""


class Table:
    """The mounts of a mountinfo file."""

    def __init__(self, path: str) -> None:
        self._mounts = [_read(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if " - " in line]

    def find_target(self, path: str) -> Filesystem | None:
        """The mount that is seen at `path`."""
        return next((mount for mount in reversed(self._mounts) if mount.target == path), None)


def _read(line: str) -> Filesystem:
    mount, _, filesystem = line.partition(" - ")
    _, _, _, _, target, vfs_options, *_ = mount.split(" ")
    return Filesystem(target.encode().decode("unicode_escape"), vfs_options, filesystem.split(" ")[-1])
