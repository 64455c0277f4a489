"""Project quotas: how much the files of one project, which is a number, may take on their file system.

A directory gives its project to what is made in it. ext4 (features quota and project, mounted with prjquota) and xfs (pquota).
Source: quotactl(2) and quotactl_fd (Linux 5.14), FS_IOC_FSSETXATTR in ioctl_xfs_fsgetxattr(2) and linux/fs.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import struct
from typing import Final

from onggi.kernel import syscalls
from onggi.kernel.fds import AnyFd, number

_GET_ATTRIBUTES: Final = 0x801C581F
_SET_ATTRIBUTES: Final = 0x401C5820
_ATTRIBUTES: Final = struct.Struct("=5I8x")
"""struct fsxattr: xflags, extsize, nextents, projid, cowextsize."""
_INHERITED: Final = 0x200

_PROJECT: Final = 2
_GET_QUOTA: Final = 0x800007 << 8 | _PROJECT
_SET_QUOTA: Final = 0x800008 << 8 | _PROJECT
_QUOTA: Final = struct.Struct("=8QI4x")
"""struct if_dqblk: hard and soft limit in blocks of 1024, bytes used, the same of inodes, two times; what of it is meant."""
_BLOCK_LIMITS: Final = 1
_BLOCK: Final = 1024
_OFF: Final = frozenset({errno.ESRCH, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM, errno.EACCES})
"""Quotas are off, the file system or the kernel has none, or we may not ask (in a container, in a user namespace)."""


def is_on(directory: AnyFd) -> bool:
    """Whether the file system of `directory` counts and limits projects."""
    try:
        _quotactl("read a project's quota", directory, _GET_QUOTA, 0, bytearray(_QUOTA.size))
    except OSError as error:
        if error.errno in _OFF:
            return False
        if error.errno != errno.ENOENT:  # xfs, where nothing has been counted for it yet
            raise
    return True


def project_of(directory: AnyFd) -> int:
    """0 for none, as on a file system that knows no projects."""
    data = bytearray(_ATTRIBUTES.size)
    try:
        fcntl.ioctl(number(directory), _GET_ATTRIBUTES, data)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.ENOTSUP, errno.EINVAL):
            return 0
        raise
    found: int = _ATTRIBUTES.unpack(data)[3]
    return found


def put_in_project(directory: AnyFd, project: int) -> None:
    """`directory`, which is empty, and what will be made in it. Raises OSError."""
    data = bytearray(_ATTRIBUTES.size)
    fcntl.ioctl(number(directory), _GET_ATTRIBUTES, data)
    flags, extent, extents, _, copied = _ATTRIBUTES.unpack(data)
    fcntl.ioctl(
        number(directory),
        _SET_ATTRIBUTES,
        _ATTRIBUTES.pack(flags | _INHERITED, extent, extents, project, copied),
    )


def limit(directory: AnyFd, project: int, size_bytes: int) -> None:
    """What `project` may take on the file system of `directory`, in whole KiB; 0 is without a limit. Raises OSError."""
    blocks = -(-size_bytes // _BLOCK)
    data = bytearray(_QUOTA.pack(blocks, blocks, 0, 0, 0, 0, 0, 0, _BLOCK_LIMITS))
    _quotactl("set a project's quota", directory, _SET_QUOTA, project, data)


def limit_of(directory: AnyFd, project: int) -> int:
    """Bytes that `project` may take, 0 for no limit. Raises OSError."""
    data = bytearray(_QUOTA.size)
    try:
        _quotactl("read a project's quota", directory, _GET_QUOTA, project, data)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH):  # xfs knows only those that have files or a limit
            return 0
        raise
    blocks: int = _QUOTA.unpack(data)[0]
    return blocks * _BLOCK


def _quotactl(step: str, directory: AnyFd, command: int, project: int, data: bytearray) -> None:
    buffer = (ctypes.c_char * len(data)).from_buffer(data)
    syscalls.call(step, syscalls.NR.quotactl_fd, number(directory), command, project, ctypes.byref(buffer))
