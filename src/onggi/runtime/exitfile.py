"""What a shim leaves in its directory: where its container's cgroup is, and the exit record when the container has ended.

The record appears whole or not at all: written under another name, then renamed. It is not fsynced, on purpose: the directory
lies below the boot's id and a later boot believes nothing of it, so a power cut has nothing to tear; against a kill of
any process the page cache is enough. (fsync costs 1 ms where exec-root is on a disk, on the way of every `run`.)

Invariants: (1) the exit record is in place before anybody is told of the exit; (2) it stays until the engine has said
that the exit is committed; (3) the first record wins: a container ends once.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

import msgspec

from onggi.kernel.faults import point
from onggi.runtime.protocol import ExitRecord

SOCKET: Final = "sock"
CGROUP: Final = "cgroup"
"""A symbolic link whose target is the cgroup's path: made before the container, so that it can be ended in any case."""

LEFT: Final = "left"
"""The same link when the container is forgotten and its cgroup could not be removed (K-11): alone in the directory then."""

_EXIT: Final = "exit.json"
_LIMIT: Final = 64 * 1024


def make_directory(path: str, cgroup_path: str) -> int:
    """Make a shim's directory, or take over an empty one; returns a descriptor of it. The caller owns it."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    fd = os.open(path, os.O_DIRECTORY | os.O_NOFOLLOW | os.O_RDONLY | os.O_CLOEXEC)
    with contextlib.suppress(FileExistsError):
        os.symlink(cgroup_path, CGROUP, dir_fd=fd)
    return fd


def write_exit(directory: int, record: ExitRecord) -> None:
    """Invariants 1 and 3: returns once the record can be read; an older one stays."""
    temporary = f".{_EXIT}.{os.getpid()}"
    _write_file(directory, temporary, msgspec.json.encode(record))
    point("shim.exit.before_rename")
    with contextlib.suppress(FileExistsError):
        os.link(temporary, _EXIT, src_dir_fd=directory, dst_dir_fd=directory)
    os.unlink(temporary, dir_fd=directory)
    point("shim.exit.after_rename")


def read_exit(directory: int) -> ExitRecord | None:
    try:
        fd = os.open(_EXIT, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    try:
        content = os.read(fd, _LIMIT)
    finally:
        os.close(fd)
    try:
        return msgspec.json.decode(content, type=ExitRecord)
    except msgspec.DecodeError:
        return None


def read_cgroup_path(directory: int) -> str | None:
    for name in (CGROUP, LEFT):
        with contextlib.suppress(FileNotFoundError):
            return os.readlink(name, dir_fd=directory)
    return None


def is_left_over(directory: int) -> bool:
    """Whether all that is left of the container is a cgroup that could not be removed."""
    names = os.listdir(directory)
    return LEFT in names and CGROUP not in names


def leave(path: str) -> None:
    """Instead of remove_directory, when the cgroup could not be removed: nothing but its path stays."""
    with contextlib.suppress(FileNotFoundError):
        os.rename(f"{path}/{CGROUP}", f"{path}/{LEFT}")
    for name in set(_names(path)) - {LEFT}:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}/{name}")


def remove_directory(path: str) -> None:
    """Remove a shim's directory with what is in it; it may be gone."""
    for name in _names(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}/{name}")
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(path)


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def _write_file(directory: int, name: str, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        written = os.write(fd, content)
        if written != len(content):
            raise OSError(28, f"write {name}: {written} of {len(content)} bytes")
    finally:
        os.close(fd)
