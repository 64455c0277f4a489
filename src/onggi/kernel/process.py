"""A process's own attributes: prctl, resource limits, keyring, descriptors at exec, signals by pidfd.

Source: the man page of each call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

from onggi.kernel import syscalls
from onggi.kernel.clone import CloneFlag
from onggi.kernel.fds import AnyFd, Fd, number

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_SET_NAME = 15
_PR_SET_NO_NEW_PRIVS = 38
_IOPRIO_WHO_PROCESS = 1
_KEYCTL_JOIN_SESSION_KEYRING = 1
CLOSE_RANGE_CLOEXEC = 4
AT_EMPTY_PATH = 0x1000
_MAX_FD = 0xFFFFFFFF


def _prctl(step: str, option: int, value: int | bytes = 0) -> None:
    syscalls.call(step, syscalls.NR.prctl, option, value, 0, 0, 0)


def set_no_new_privs() -> None:
    """No exec of this process or its children gains rights any more (Linux 3.5)."""
    _prctl("no_new_privs", _PR_SET_NO_NEW_PRIVS, 1)


def set_dumpable(on: bool) -> None:
    """Whether a process with the same ids may trace this one and read its memory and descriptors."""
    _prctl("dumpable", _PR_SET_DUMPABLE, int(on))


def set_pdeathsig(signal_number: int) -> None:
    """The signal that comes when the parent dies; cleared by an exec that gains rights and by changes of ids."""
    _prctl("pdeathsig", _PR_SET_PDEATHSIG, signal_number)


def set_keepcaps(on: bool) -> None:
    """Whether the permitted set survives the change from uid 0; cleared by exec."""
    _prctl("keepcaps", _PR_SET_KEEPCAPS, int(on))


def set_name(name: str) -> None:
    """The command name in ps and top, 15 bytes."""
    _prctl("set name", _PR_SET_NAME, name.encode()[:15] + b"\0")


class Words:
    """Where this process's arguments and environment lie, for whoever looks into /proc/PID (proc_pid_stat(5), 48 to 51).

    Asked while /proc is the host's; a fork has them at the same place.
    """

    __slots__ = ("_arguments", "_environment")

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as file:
            content = file.read()
        fields = [int(word) for word in content[content.rindex(b")") + 2 :].split()[45:49]]
        self._arguments, self._environment = (fields[0], fields[1]), (fields[2], fields[3])

    def replace(self, title: bytes) -> None:
        """The command line is `title`, the environment is empty."""
        for begin, end in (self._arguments, self._environment):
            ctypes.memset(begin, 0, max(end - begin, 0))
        begin, end = self._arguments
        ctypes.memmove(begin, title[: max(end - begin - 1, 0)], min(len(title), max(end - begin - 1, 0)))


def set_oom_score_adj(value: int) -> None:
    """-1000 never … 1000 first, of this process. Lowering it needs CAP_SYS_RESOURCE."""
    with open("/proc/self/oom_score_adj", "w", encoding="utf-8") as file:
        file.write(str(value))


class _Rlimit64(ctypes.Structure):
    _fields_ = (("soft", ctypes.c_uint64), ("hard", ctypes.c_uint64))


RLIMITS = {
    f"RLIMIT_{name}": value
    for value, name in enumerate(
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split()
    )
}
"""Name → number (include/uapi/asm-generic/resource.h)."""


def set_rlimit(resource: int, soft: int, hard: int) -> None:
    """Limits of this process; 2**64 - 1 is without limit. Source: prlimit(2)."""
    syscalls.call(
        "setrlimit", syscalls.NR.prlimit64, 0, resource, ctypes.byref(_Rlimit64(soft % 2**64, hard % 2**64)), None
    )


def set_io_priority(priority: int) -> None:
    """Class in the upper bits, from 13 on, and 0 to 7 below them, of this process. Source: ioprio_set(2)."""
    syscalls.call("ioprio_set", syscalls.NR.ioprio_set, _IOPRIO_WHO_PROCESS, 0, priority)


def join_session_keyring(name: str) -> None:
    """A fresh session keyring called `name`: the caller's is out of reach from now on. Source: keyctl(2)."""
    syscalls.call("join session keyring", syscalls.NR.keyctl, _KEYCTL_JOIN_SESSION_KEYRING, name.encode())


def close_range(first: int, last: int = _MAX_FD, *, on_exec: bool) -> None:
    """Closes descriptors `first` to `last` now, or at exec (Linux 5.9 and 5.11)."""
    syscalls.call("close_range", syscalls.NR.close_range, first, last, CLOSE_RANGE_CLOEXEC if on_exec else 0)


def close_others(keep: Iterable[int]) -> None:
    """Closes every descriptor that isn't in `keep`, now."""
    first = 0
    for fd in sorted({fd for fd in keep if fd >= 0}):
        if fd > first:
            close_range(first, fd - 1, on_exec=False)
        first = fd + 1
    close_range(first, on_exec=False)


def pidfd_open(pid: int) -> Fd:
    """Raises OSError ESRCH when there is no such process (Linux 5.3)."""
    return Fd(syscalls.call(f"pidfd_open {pid}", syscalls.NR.pidfd_open, pid, 0))


def pidfd_getfd(pidfd: AnyFd, fd: int) -> Fd:
    """A copy of descriptor `fd` of another process. Raises OSError: EPERM who may not trace it, EBADF. Linux 5.6."""
    return Fd(syscalls.call("pidfd_getfd", syscalls.NR.pidfd_getfd, number(pidfd), fd, 0))


def pidfd_send_signal(pidfd: AnyFd, signal_number: int) -> None:
    """Raises OSError ESRCH when the process has been reaped: never another process with its number."""
    syscalls.call("pidfd_send_signal", syscalls.NR.pidfd_send_signal, number(pidfd), signal_number, None, 0)


def setns(fd: AnyFd, flags: CloneFlag) -> None:
    """Enter one namespace by its descriptor, or several at once of the process of a pidfd (Linux 5.8)."""
    syscalls.call("setns", syscalls.NR.setns, number(fd), int(flags))


def unshare(flags: CloneFlag) -> None:
    syscalls.call("unshare", syscalls.NR.unshare, int(flags))


def set_personality(persona: int) -> None:
    syscalls.call("personality", syscalls.NR.personality, persona)


def execveat(fd: AnyFd, arguments: list[bytes], environment: list[bytes]) -> None:
    """Becomes the program in the file `fd`. Returns only by raising OSError."""
    argv = (ctypes.c_char_p * (len(arguments) + 1))(*arguments, None)
    envp = (ctypes.c_char_p * (len(environment) + 1))(*environment, None)
    syscalls.call("execveat", syscalls.NR.execveat, number(fd), b"", argv, envp, AT_EMPTY_PATH)


def reset_internal_signals() -> None:
    """Default action for signals 32 and 33, which glibc keeps for itself: its sigaction refuses them.

    posix_spawn of some C libraries leaves them ignored in what they start (GNU make does), and ignored goes on over exec.
    Source: rt_sigaction(2); struct kernel_sigaction is handler, flags, restorer, mask: 32 bytes of zero are SIG_DFL.
    """
    default = ctypes.create_string_buffer(32)
    for internal in (32, 33):
        syscalls.call("rt_sigaction", syscalls.NR.rt_sigaction, internal, default, None, 8)
