"""What an overlay's upper directory changes, in docker's words (pkg/archive, OverlayChanges)."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from typing import Final

import msgspec

from onggi.store.unpack import OPAQUE_XATTR, is_whiteout

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_DEPTH: Final = 400
"""What lies deeper is not looked at: its directory is listed as changed. A container can nest without end."""

MODIFIED: Final = 0
ADDED: Final = 1
DELETED: Final = 2


class Change(msgspec.Struct, frozen=True):
    """`path` is absolute in the container."""

    path: str
    kind: int


def changes(upper: int, lowers: Sequence[str]) -> list[Change]:
    """All changes, parents before what is in them, by name. `lowers` topmost first."""
    found: list[Change] = []
    roots = [os.open(lower, _DIRECTORY) for lower in lowers]
    try:
        top = os.dup(upper)
        try:
            _directory(top, list(roots), "", found)
        finally:
            os.close(top)
    finally:
        for fd in roots:
            os.close(fd)
    return found


def _directory(fd: int, lowers: list[int], path: str, found: list[Change]) -> bool:
    """Changes in one directory that `lowers` (those that have it, topmost first) may have too; whether there is any."""
    any_change = False
    if path.count("/") > _DEPTH:
        return True
    for name in sorted(os.listdir(fd), key=os.fsencode):
        status = os.lstat(name, dir_fd=fd)
        below = _lower_status(lowers, name)
        inside = f"{path}/{name}"
        if is_whiteout(status):
            if below is not None:
                found.append(Change(inside, DELETED))
                any_change = True
            continue
        if not stat.S_ISDIR(status.st_mode):
            found.append(Change(inside, ADDED if below is None else MODIFIED))
            any_change = True
            continue
        opened = os.open(name, _DIRECTORY, dir_fd=fd)
        try:
            any_change |= _subdirectory(opened, lowers, below, inside, found)
        finally:
            os.close(opened)
    return any_change


def _subdirectory(fd: int, lowers: list[int], below: os.stat_result | None, path: str, found: list[Change]) -> bool:
    """A directory that is only there for what changed inside is listed as modified: it is the parent of a change."""
    place = len(found)
    deeper: list[int] = []
    try:
        if below is not None and stat.S_ISDIR(below.st_mode) and not _is_opaque(fd):
            deeper = _lower_directories(lowers, path.rpartition("/")[2])
        inner = _directory(fd, deeper, path, found)
    finally:
        for descriptor in deeper:
            os.close(descriptor)
    if below is None:
        found.insert(place, Change(path, ADDED))
        return True
    status = os.fstat(fd)
    same = (below.st_mode, below.st_uid, below.st_gid) == (status.st_mode, status.st_uid, status.st_gid)
    if inner or not same or not deeper or below.st_mtime_ns // 10**9 != status.st_mtime_ns // 10**9:
        found.insert(place, Change(path, MODIFIED))
        return True
    return False


def _lower_status(lowers: Sequence[int], name: str) -> os.stat_result | None:
    """What the layers below show under `name`."""
    for lower in lowers:
        try:
            status = os.lstat(name, dir_fd=lower)
        except (FileNotFoundError, NotADirectoryError):
            continue
        return None if is_whiteout(status) else status
    return None


def _lower_directories(lowers: Sequence[int], name: str) -> list[int]:
    """The directories that are merged under `name`, topmost first: down to an opaque one, or to something else."""
    opened: list[int] = []
    for lower in lowers:
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=lower)
        except FileNotFoundError:
            continue
        except OSError:
            break
        opened.append(fd)
        if _is_opaque(fd):
            break
    return opened


def _is_opaque(fd: int) -> bool:
    with contextlib.suppress(OSError):
        return os.getxattr(fd, OPAQUE_XATTR) == b"y"
    return False


def usage(fd: int) -> int:
    """Bytes of the files below `fd`, hard-linked ones once: what docker calls SizeRw."""
    total = 0
    seen: set[tuple[int, int]] = set()
    stack = [(fd, iter(os.listdir(fd)))]
    try:
        while stack:
            directory, names = stack[-1]
            name = next(names, None)
            if name is None:
                stack.pop()
                if directory != fd:
                    os.close(directory)
                continue
            # A running container may take it away meanwhile, or put something else in its place.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                status = os.lstat(name, dir_fd=directory)
                if stat.S_ISDIR(status.st_mode):
                    opened = os.open(name, _DIRECTORY, dir_fd=directory)
                    stack.append((opened, iter(os.listdir(opened))))
                elif status.st_nlink == 1 or (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    total += status.st_size
    finally:
        for directory, _ in stack:
            if directory != fd:
                os.close(directory)
    return total
