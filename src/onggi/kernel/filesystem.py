"""Calls on file systems that CPython lacks: syncfs, renameat2, the kind of one."""

from __future__ import annotations

import ctypes
import os
import sys
from enum import IntFlag
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syncfs.argtypes = [ctypes.c_int]
_libc.fstatfs.argtypes = [ctypes.c_int, ctypes.c_char_p]
_libc.renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]


class RenameFlag(IntFlag):
    NONE = 0
    NOREPLACE = 1
    EXCHANGE = 2
    WHITEOUT = 4


def _check(result: int, step: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{step}: {os.strerror(number)}")


def syncfs(fd: int) -> None:
    """Everything of the file system that `fd` lies on is on the disk. Write errors are reported since Linux 5.8."""
    _check(_libc.syncfs(fd), "syncfs")


def renameat2(old_dir: int, old: str, new_dir: int, new: str, flags: RenameFlag = RenameFlag.NONE) -> None:
    """A rename between two directories. Raises OSError: EEXIST with NOREPLACE, ENOENT with EXCHANGE when one is missing. Source: renameat2(2)."""
    _check(_libc.renameat2(old_dir, os.fsencode(old), new_dir, os.fsencode(new), flags), f"rename {old} to {new}")


PROC_MAGIC: Final = 0x9FA0
"""What `magic` answers on procfs (statfs(2))."""


def magic(fd: int) -> int:
    """Kind of the file system that `fd` lies on: f_type of fstatfs(2), the first word of its structure."""
    buffer = ctypes.create_string_buffer(256)
    _check(_libc.fstatfs(fd, buffer), "fstatfs")
    return int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)
