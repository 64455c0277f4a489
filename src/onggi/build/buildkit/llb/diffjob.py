"""Runs in a worker process: what one tree has that another hasn't, as an overlay's upper directory would have it.

Two files are the same when all that stat(2) tells of them is, as for containerd's differ: bytes are not read.
"""

from __future__ import annotations

import os
import stat
from typing import Final

import msgspec

from onggi.build import copytree
from onggi.build.destination import Destination, Owner
from onggi.kernel import mounts
from onggi.kernel.fds import Fd
from onggi.store.snapshots import OVERLAY_OPTIONS
from onggi.store.worker import Report

_ANYTHING: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class DiffArgs(msgspec.Struct):
    """Two trees, topmost layer first, and the empty directory that gets the difference."""

    lower: list[str]
    upper: list[str]
    target: str


def diff(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """Raises OSError."""
    request = msgspec.msgpack.decode(args, type=DiffArgs)
    with (
        _opened(request.lower) as lower,
        _opened(request.upper) as upper,
        Fd(os.open(request.target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root,
        Fd(os.open(request.target, _DIRECTORY)) as target,
    ):
        destination = Destination(root, Owner(0, 0))
        walk = copytree.Walk(upper, destination, (), None, keep_owner=True)
        _Difference(walk, destination).directory(lower, upper, target.fileno())
    return b""


def _opened(layers: list[str]) -> Fd:
    if len(layers) == 1:
        return Fd(os.open(layers[0], _DIRECTORY))
    with mounts.overlay(layers, None, None, options=OVERLAY_OPTIONS) as tree:
        return Fd(os.open(".", _DIRECTORY, dir_fd=tree.fileno()))


class _Difference:
    def __init__(self, walk: copytree.Walk, destination: Destination) -> None:
        self._walk, self._destination = walk, destination

    def directory(self, lower: Fd, upper: Fd, target: int) -> bool:
        """Whether anything differs."""
        before, after = set(os.listdir(lower.fileno())), set(os.listdir(upper.fileno()))
        for name in sorted(before - after):
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=target)
        differs = bool(before - after)
        for name in sorted(after):
            with Fd(os.open(name, _ANYTHING, dir_fd=upper.fileno())) as found:
                differs |= self._entry(lower if name in before else None, upper, found, name, target)
        return differs

    def _entry(self, lower: Fd | None, upper: Fd, found: Fd, name: str, target: int) -> bool:
        status = os.fstat(found.fileno())
        old = os.stat(name, dir_fd=lower.fileno(), follow_symlinks=False) if lower is not None else None
        if not stat.S_ISDIR(status.st_mode):
            if (
                old is not None
                and _told(old) == _told(status)
                and _link(lower, name, old) == _link(upper, name, status)
            ):
                return False
            self._walk.one(found, status, target, name)
            return True
        made, _ = self._destination.subdirectory(target, name)
        try:
            with Fd(os.open(name, _DIRECTORY, dir_fd=upper.fileno())) as after:
                if lower is None or old is None or not stat.S_ISDIR(old.st_mode):
                    self._walk.contents(after, made, "")
                    differs = True
                else:
                    with Fd(os.open(name, _DIRECTORY, dir_fd=lower.fileno())) as before:
                        differs = self.directory(before, after, made) or _told(old) != _told(status)
            self._walk.like(made, status)
        finally:
            os.close(made)
        if not differs:
            os.rmdir(name, dir_fd=target)
        return differs


def _told(status: os.stat_result) -> tuple[int, ...]:
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    mtime_ns = 0 if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
    return status.st_mode, status.st_uid, status.st_gid, status.st_rdev, size, mtime_ns


def _link(directory: Fd | None, name: str, status: os.stat_result) -> str:
    if directory is None or not stat.S_ISLNK(status.st_mode):
        return ""
    return os.readlink(name, dir_fd=directory.fileno())
