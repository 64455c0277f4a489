"""The container's root becomes `/`, and the host's tree is out of reach (S-10). Runs in the child, as the last of the mounts."""

from __future__ import annotations

import contextlib
import os

from onggi.kernel import mounts
from onggi.kernel.fds import Fd
from onggi.kernel.mounts import MountFlag
from onggi.runtime.options import parse_options


def pivot(root: Fd, propagation: str) -> None:
    """`root` becomes `/`; the host's tree is gone from this namespace. The working directory is `/`."""
    os.fchdir(root.fileno())
    mounts.pivot_root(".", ".")
    # The old root now lies on top of the new one; it has been private since the start (make_private), so nobody hears of its end.
    mounts.umount2(".", mounts.MNT_DETACH)
    os.chdir("/")
    _propagate(propagation)


def move_over(root: Fd, propagation: str) -> None:
    """Without a pivot, which a root on a ramdisk refuses (pivot_root(2), EINVAL): `root` is moved on top of it.

    The host's root stays below, where who may call chroot can get; so nothing but that may be left of the host's mounts.
    """
    # Children come after their parents.
    entries = mounts.mountinfo()
    kept = {_mount_id(root)}
    for mount in entries:
        if mount.parent in kept:
            kept.add(mount.id)
    for mount in reversed(entries):
        if mount.id not in kept and mount.target != "/":
            # Another one may have gone with the one above it.
            with contextlib.suppress(OSError):
                mounts.umount2(mount.target, mounts.MNT_DETACH)
    os.fchdir(root.fileno())
    with Fd(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as slash:
        mounts.move_mount(root, slash)
    os.chroot(".")
    os.chdir("/")
    _propagate(propagation)


def _mount_id(fd: Fd) -> int:
    with open(f"/proc/self/fdinfo/{fd.fileno()}", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("mnt_id:"))


def _propagate(propagation: str) -> None:
    if propagation:
        for flag, recursive in parse_options([propagation]).propagation:
            if flag in (MountFlag.SHARED, MountFlag.UNBINDABLE):
                mounts.mount(None, "/", None, flag | (MountFlag.REC if recursive else MountFlag.NONE))
