"""/dev of a container: nodes, links, the terminal's console. Runs in the child, before the pivot."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence

from onggi.kernel import mounts, paths, pty
from onggi.kernel.fds import AnyFd, Fd
from onggi.kernel.mounts import MountAttr
from onggi.oci.runtime import Box, Device
from onggi.runtime.steps import StepFailed

_DEFAULT_NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
"""Devices that each container has (config-linux.md, "Default Devices")."""

_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def make_default_nodes(root: AnyFd, *, bound: bool = False) -> None:
    """The default nodes and links in /dev; `bound` ones are the host's. What a volume has there already stays."""
    with paths.make_dirs_in_root(root, "/dev") as dev:
        fill(dev, bound=bound)


def fill(dev: Fd, *, bound: bool = False) -> None:
    """The same in a directory that will be /dev, with the places of its usual mounts."""
    for name, major, minor in _DEFAULT_NODES:
        if bound:
            _bind(dev, name, f"/dev/{name}", stat.S_IFCHR, os.makedev(major, minor))
        else:
            _node(dev, name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
    for name, target in _LINKS:
        with contextlib.suppress(FileExistsError):
            os.symlink(target, name, dir_fd=dev.fileno())
    for name in ("pts", "mqueue", "shm"):
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=dev.fileno())


def make_nodes(root: AnyFd, devices: list[Device], *, bound: bool = False, made: Sequence[Fd] = ()) -> None:
    """The spec's devices, with their parents where those are missing.

    In a user namespace nodes can't be made: `made` are mounts of those that the parent has made, else, if `bound`, the
    host's own at the same paths are bound.
    """
    mounted = iter(made)
    for device in devices:
        kind = node_type(device)
        directory, _, name = device.path.rstrip("/").rpartition("/")
        mode = kind | (0o666 if device.file_mode is None else stat.S_IMODE(device.file_mode))
        with paths.make_dirs_in_root(root, directory) as parent:
            if kind != stat.S_IFIFO and made:
                _mount_on_file(parent, name, next(mounted))
                continue
            if kind != stat.S_IFIFO and bound:
                _bind(parent, name, device.path, kind, os.makedev(device.major, device.minor))
                continue
            _node(parent, name, mode, os.makedev(device.major, device.minor))
            os.chown(name, device.uid or 0, device.gid or 0, dir_fd=parent.fileno(), follow_symlinks=False)


def node_type(device: Device) -> int:
    """Of `c`, `u`, `b` or `p`, for mknod(2). Raises StepFailed."""
    if device.type not in _TYPES:
        raise StepFailed(errno.EINVAL, f"device {device.path}: unknown type {device.type!r}")
    return _TYPES[device.type]


def _node(directory: Fd, name: str, mode: int, device: int) -> None:
    # The umask is 0 here (init.py), so the mode is as given.
    try:
        os.mknod(name, mode, device, dir_fd=directory.fileno())
    except FileExistsError:
        return


def _bind(directory: Fd, name: str, source: str, kind: int, device: int) -> None:
    """The host's node at `source`, which must be that device: a mount of it on an empty file. A node or link stays."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(name, dir_fd=directory.fileno(), follow_symlinks=False).st_mode):
            return
    with Fd(os.open(source, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)) as node:
        status = os.fstat(node.fileno())
        if stat.S_IFMT(status.st_mode) != kind or status.st_rdev != device:
            major, minor = os.major(device), os.minor(device)
            raise StepFailed(errno.ENODEV, f"device {source}: the host's node of this name is not {major}:{minor}")
        with mounts.open_tree(node, "", clone=True) as copy:
            mounts.mount_setattr(copy, set=MountAttr.NOSUID | MountAttr.NOEXEC)
            _mount_on_file(directory, name, copy)


def _mount_on_file(directory: Fd, name: str, mount: Fd) -> None:
    """On a plain file, which is made if it isn't there; never on what a link leads to."""
    with contextlib.suppress(FileExistsError):
        paths.openat2(directory, name, os.O_CREAT | os.O_WRONLY | os.O_EXCL, _PLAIN, 0o666).close()
    with paths.openat2(directory, name, os.O_PATH, _PLAIN) as target:
        mounts.move_mount(mount, target)


def open_terminal(root: AnyFd) -> tuple[Fd, Fd]:
    """(master, slave) of a terminal in the container's own devpts, which must be one (S-07)."""
    try:
        devpts = paths.open_in_root(root, "/dev/pts", os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StepFailed(
            error.errno or errno.EIO, f"terminal: no /dev/pts in the container: {error.strerror}"
        ) from None
    with devpts:
        master, slave = pty.open_pair(devpts)
        if os.major(os.fstat(slave.fileno()).st_rdev) != 136:  # UNIX98 slaves: Documentation/admin-guide/devices.txt
            raise StepFailed(errno.ENODEV, "terminal: /dev/pts of the container is no devpts")
        return master, slave


def bind_console(root: AnyFd, slave: Fd) -> None:
    """/dev/console is the terminal: mounted from its descriptor, on no link's target (CVE-2025-52565)."""
    with paths.make_dirs_in_root(root, "/dev") as dev, mounts.open_tree(slave, "", clone=True) as console:
        try:
            paths.openat2(dev, "console", os.O_CREAT | os.O_WRONLY | os.O_EXCL, _PLAIN, 0o620).close()
        except FileExistsError:
            pass
        try:
            target = paths.openat2(dev, "console", os.O_PATH, _PLAIN)
        except OSError as error:
            raise StepFailed(error.errno or errno.EIO, "terminal: /dev/console of the container is a link") from None
        with target:
            mounts.move_mount(console, target)


_PLAIN = paths.Resolve.BENEATH | paths.Resolve.NO_SYMLINKS


def set_size(slave: Fd, size: Box | None) -> None:
    if size and size.height and size.width:
        pty.set_size(slave, size.height, size.width)


def give_stdio(uid: int, gid: int) -> None:
    """Who the process runs as may open /dev/stdout and the like by name: pipes and files there become its own.

    The null device is everybody's and stays as it is; a terminal keeps its group, which is tty's.
    """
    for fd in (0, 1, 2):
        status = os.fstat(fd)
        is_null = stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3)
        if (status.st_uid, status.st_gid) != (uid, gid) and not is_null:
            # Not ours to give away (an id that isn't mapped here, a read-only file system): it works as it is, mostly.
            with contextlib.suppress(OSError):
                os.fchown(fd, uid, -1 if stat.S_ISCHR(status.st_mode) else gid)


def give_terminal(slave: Fd, uid: int) -> None:
    """The user may open what is its own terminal by name too. The group stays tty's, from the devpts's options."""
    if uid:
        os.fchown(slave.fileno(), uid, -1)
