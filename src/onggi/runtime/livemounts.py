"""Mounts that come into a running container, and those that leave it.

A copy of the source is made in our mount namespace, detached, and moved into the container's by a thread that has entered it:
nothing of the container is opened by name but through its root (S-05, S-20). Blocking.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from typing import Final

from onggi.errors import Conflict
from onggi.kernel import mounts, paths
from onggi.kernel.clone import CloneFlag
from onggi.kernel.fds import AT_FDCWD, Fd
from onggi.kernel.mounts import MountAttr, MountFlag
from onggi.kernel.namespaces import NamespaceKind, open_of
from onggi.kernel.process import setns, unshare

_FS: Final = 0x200
"""CLONE_FS: a thread with a root of its own may enter a mount namespace (setns(2))."""


def attach(pid: int, source: str, destination: str, *, read_only: bool, recursive: bool) -> None:
    """`source`, a path of the host, is at `destination` in the container of `pid` from now on. Raises Conflict, OSError."""

    def work() -> None:
        with mounts.open_tree(AT_FDCWD, source, clone=True, recursive=recursive) as tree:
            mounts.mount_setattr(tree, propagation=MountFlag.PRIVATE, recursive=True)
            if read_only:
                mounts.mount_setattr(tree, set=MountAttr.RDONLY, recursive=recursive)
            is_directory = stat.S_ISDIR(os.fstat(tree.fileno()).st_mode)
            _enter(pid)
            with (
                _root() as root,
                paths.make_target_in_root(root, destination, is_directory=is_directory) as target,
            ):
                mounts.move_mount(tree, target)

    _in_thread(work, destination)


def attach_tmpfs(pid: int, destination: str, options: dict[str, str | None]) -> None:
    """An empty tmpfs at `destination`. Raises Conflict, OSError."""

    def work() -> None:
        attributes = MountAttr.NOSUID | MountAttr.NODEV | MountAttr.NOEXEC
        with mounts.new_mount("tmpfs", {"source": "tmpfs", **options}, attributes) as tree:
            _enter(pid)
            with _root() as root, paths.make_target_in_root(root, destination, is_directory=True) as target:
                mounts.move_mount(tree, target)

    _in_thread(work, destination)


def detach(pid: int, destination: str) -> None:
    """What is mounted at `destination` goes; who has files of it open keeps them. Raises Conflict, OSError."""

    def work() -> None:
        _enter(pid)
        above, name = os.path.split(destination)
        with _root() as root, paths.open_in_root(root, above, os.O_PATH | os.O_DIRECTORY) as parent:
            os.fchdir(parent.fileno())
            mounts.umount2(name, mounts.MNT_DETACH | mounts.UMOUNT_NOFOLLOW)

    _in_thread(work, destination)


def _root() -> Fd:
    return Fd(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


def _enter(pid: int) -> None:
    unshare(CloneFlag(_FS))
    with open_of(pid, NamespaceKind.MOUNT) as namespace:
        setns(namespace, CloneFlag.NEWNS)


def _in_thread(work: Callable[[], None], destination: str) -> None:
    """In a thread that ends with it: what it has entered it never leaves."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            raised.append(error)

    thread = threading.Thread(target=run, name="live mount")
    thread.start()
    thread.join()
    if not raised:
        return
    error = raised[0]
    if isinstance(error, OSError) and error.errno in (
        errno.EROFS,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENOENT,
        errno.ELOOP,
    ):
        raise Conflict(
            f"{destination} can't be a mount point while it runs: {(error.strerror or '').lower()}"
        ) from error
    raise error
