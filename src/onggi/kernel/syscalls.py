"""system calls by number, through libc's syscall(2): what CPython and glibc have no function for.

Numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h. From 424 on they are the same
on every architecture.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

libc: Final = ctypes.CDLL(None, use_errno=True)

# Every argument as a pointer: that takes integers whole (a C int would cut them to 32 bits), bytes, structures and None.
_syscall: Final = libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, *[ctypes.c_void_p] * 6)
_NOTHING: Final = (0, 0, 0, 0, 0, 0)

_X86_64: Final = os.uname().machine == "x86_64"


class NR:
    """Numbers of this machine's architecture (x86_64, else the generic table of arm64 and riscv64)."""

    rt_sigaction = 13 if _X86_64 else 134
    prctl = 157 if _X86_64 else 167
    capget = 125 if _X86_64 else 90
    capset = 126 if _X86_64 else 91
    seccomp = 317 if _X86_64 else 277
    keyctl = 250 if _X86_64 else 219
    setns = 308 if _X86_64 else 268
    unshare = 272 if _X86_64 else 97
    pivot_root = 155 if _X86_64 else 41
    mount = 165 if _X86_64 else 40
    umount2 = 166 if _X86_64 else 39
    getcwd = 79 if _X86_64 else 17
    setfsuid = 122 if _X86_64 else 151
    setfsgid = 123 if _X86_64 else 152
    personality = 135 if _X86_64 else 92
    prlimit64 = 302 if _X86_64 else 261
    ioprio_set = 251 if _X86_64 else 30
    sched_setattr = 314 if _X86_64 else 274
    set_mempolicy = 238 if _X86_64 else 237
    execveat = 322 if _X86_64 else 281
    bpf = 321 if _X86_64 else 280
    pidfd_send_signal = 424
    open_tree = 428
    move_mount = 429
    fsopen = 430
    fsconfig = 431
    fsmount = 432
    pidfd_open = 434
    clone = 56 if _X86_64 else 220
    clone3 = 435
    close_range = 436
    openat2 = 437
    pidfd_getfd = 438
    mount_setattr = 442
    quotactl_fd = 443


def call(step: str, number: int, *arguments: object) -> int:
    """The call's result. Raises OSError with `step` in its text when it fails."""
    result: int = _syscall(number, *arguments, *_NOTHING[len(arguments) :])
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{step}: {os.strerror(error)}")
    return result
