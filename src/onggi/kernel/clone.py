"""clone3: a child in new namespaces and in its cgroup from its first instruction, with a pidfd for the parent.

Source: clone3(2), Linux 5.3; CLONE_INTO_CGROUP 5.7.
"""

from __future__ import annotations

import _signal as signal  # lean.py
import ctypes
import os
from enum import IntFlag

from onggi.kernel import syscalls
from onggi.kernel.fds import Fd


class CloneFlag(IntFlag):
    """include/uapi/linux/sched.h."""

    NONE = 0
    NEWTIME = 0x00000080
    PIDFD = 0x00001000
    PARENT = 0x00008000
    NEWNS = 0x00020000
    NEWCGROUP = 0x02000000
    NEWUTS = 0x04000000
    NEWIPC = 0x08000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000
    INTO_CGROUP = 0x200000000


class _CloneArgs(ctypes.Structure):
    """struct clone_args, version 2 (88 bytes)."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls", "set_tid",
            "set_tid_size", "cgroup",
        )
    )  # fmt: skip


# PyDLL keeps the GIL over the call: the child begins with it held, as after os.fork.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def clone3(flags: CloneFlag, *, cgroup: int | None = None, exit_signal: int = signal.SIGCHLD) -> tuple[int, Fd] | None:
    """(pid, pidfd) in the parent, None in the child. `cgroup` is a descriptor of a v2 directory.

    Holds:
        one thread: the child has a copy of everything, other threads' locks included.
        the child ends in exec or os._exit, and runs no finalizer.
    The memory is copied on write (no CLONE_VM), so Python goes on in the child as after fork. CPython's own hooks for
    the child are not run: they reseed and restart what a child that only execs never uses.
    Raises OSError: EPERM, ENOSPC (limit of namespaces), EAGAIN (pids), EBUSY, EOPNOTSUPP (domain of the cgroup).
    """
    prepared = Clone(flags, cgroup=cgroup, exit_signal=exit_signal)
    pid = prepared()
    return (pid, Fd(prepared.pidfd)) if pid else None


class Clone:
    """A clone3 with its arguments made: calling it touches hardly a page, which counts where processes share them."""

    __slots__ = ("_args", "_pidfd", "_words")

    def __init__(self, flags: CloneFlag, *, cgroup: int | None = None, exit_signal: int = signal.SIGCHLD) -> None:
        self._pidfd = ctypes.c_int(-1)
        # With PARENT the signal is that of the caller itself; the kernel refuses another (clone3(2), EINVAL).
        sent = 0 if flags & CloneFlag.PARENT else int(exit_signal)
        flags |= CloneFlag.PIDFD if cgroup is None else CloneFlag.PIDFD | CloneFlag.INTO_CGROUP
        self._args = _CloneArgs(flags=flags, pidfd=ctypes.addressof(self._pidfd), exit_signal=sent, cgroup=cgroup or 0)
        number, size = ctypes.c_long(syscalls.NR.clone3), ctypes.c_long(ctypes.sizeof(self._args))
        self._words = (number, ctypes.byref(self._args), size)

    def __call__(self) -> int:
        """As clone3: the pid in the parent, whose descriptor is `pidfd` then, 0 in the child."""
        pid: int = _libc.syscall(*self._words)
        if pid == -1:
            error = ctypes.get_errno()
            raise OSError(error, f"clone3: {os.strerror(error)}")
        return pid

    @property
    def pidfd(self) -> int:
        """The caller's to close."""
        return self._pidfd.value


_NO_ARGUMENT = ctypes.c_long(0)
_FORK = (ctypes.c_long(syscalls.NR.clone), ctypes.c_long(int(signal.SIGCHLD)), *[_NO_ARGUMENT] * 4)


def bare_fork() -> int:
    """As os.fork, with hardly a page written: 0 in the child.

    Holds:
        as for clone3.
    os.fork runs the C library's and CPython's hooks in both processes, which costs every child 0.1 MB that it doesn't
    share. Raises OSError: EAGAIN, ENOMEM. Source: clone(2).
    """
    pid: int = _libc.syscall(*_FORK)
    if pid == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"clone: {os.strerror(error)}")
    return pid
