"""What a container must not see or change of the kernel's: masked and read-only paths.

Runs in the child, before the pivot, when everything else is mounted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from typing import Protocol

from onggi.kernel import mounts
from onggi.kernel.fds import Fd
from onggi.kernel.mounts import MountAttr
from onggi.runtime.steps import StepFailed

_DIRECTORY, _FILE = "directory", "file"


class Find(Protocol):
    """`path` in a root (O_PATH), None when there is none."""

    def __call__(self, path: str, /) -> Fd | None: ...


def set_readonly(find: Find, wanted: Iterable[str]) -> None:
    """Each of `wanted` that exists becomes a read-only mount of itself, with what is mounted below."""
    for path in wanted:
        found = find(path)
        if found is None:
            continue
        with found, mounts.open_tree(found, "", clone=True, recursive=True) as copy:
            mounts.mount_setattr(copy, set=MountAttr.RDONLY, recursive=True)
            mounts.move_mount(copy, found)


def mask(find: Find, wanted: Iterable[str]) -> None:
    """Each of `wanted` that exists shows nothing: a directory an empty read-only tmpfs, a file the null device.

    The null device is the host's, looked at before it is used: an image may bring a /dev/null that leads elsewhere
    (CVE-2025-31133). A mask that cannot be placed fails the start; only what isn't there needs none.
    """
    with contextlib.ExitStack() as covers:
        made: dict[str, Fd] = {}
        for path in wanted:
            found = find(path)
            if found is None:
                continue
            with found:
                kind = _DIRECTORY if stat.S_ISDIR(os.fstat(found.fileno()).st_mode) else _FILE
                if kind not in made:
                    made[kind] = covers.enter_context(_empty_directory() if kind == _DIRECTORY else _null_device())
                    if kind == _DIRECTORY:
                        # Itself the first cover: before Linux 6.15 there is no copy of a mount that is mounted nowhere.
                        mounts.move_mount(made[kind], found)
                        continue
                with mounts.open_tree(made[kind], "", clone=True) as cover:
                    mounts.move_mount(cover, found)


def _empty_directory() -> Fd:
    return mounts.new_mount("tmpfs", {"source": "tmpfs", "size": "0", "nr_inodes": "2"}, MountAttr.RDONLY)


def _null_device() -> Fd:
    fd = Fd(os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC))
    status = os.fstat(fd.fileno())
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(1, 3):
        fd.close()
        raise StepFailed(errno.EINVAL, "mask: /dev/null of the host is not the null device")
    return fd
