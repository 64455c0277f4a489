"""Namespaces by kind: their clone flags, their names in /proc, and descriptors of those of a process."""

from __future__ import annotations

import functools
import os
from enum import Enum
from typing import TYPE_CHECKING, Final

from onggi.kernel.clone import CloneFlag
from onggi.kernel.fds import Fd
from onggi.kernel.process import setns

if TYPE_CHECKING:
    import socket


class NamespaceKind(Enum):
    """Values are the runtime spec's words (config-linux.md, "Namespaces")."""

    PID = "pid"
    NETWORK = "network"
    MOUNT = "mount"
    IPC = "ipc"
    UTS = "uts"
    USER = "user"
    CGROUP = "cgroup"
    TIME = "time"

    @property
    def flag(self) -> CloneFlag:
        return _FLAGS[self]

    @property
    def proc_name(self) -> str:
        """File in /proc/PID/ns."""
        return {"network": "net", "mount": "mnt"}.get(self.value, self.value)


_FLAGS = {
    NamespaceKind.PID: CloneFlag.NEWPID,
    NamespaceKind.NETWORK: CloneFlag.NEWNET,
    NamespaceKind.MOUNT: CloneFlag.NEWNS,
    NamespaceKind.IPC: CloneFlag.NEWIPC,
    NamespaceKind.UTS: CloneFlag.NEWUTS,
    NamespaceKind.USER: CloneFlag.NEWUSER,
    NamespaceKind.CGROUP: CloneFlag.NEWCGROUP,
    NamespaceKind.TIME: CloneFlag.NEWTIME,
}


def open_of(pid: int, kind: NamespaceKind) -> Fd:
    """Raises OSError: ENOENT the process is gone or the kernel lacks the kind."""
    return Fd(os.open(f"/proc/{pid}/ns/{kind.proc_name}", os.O_RDONLY | os.O_CLOEXEC))


_FIRST_USER: Final = 0xEFFFFFFD
"""PROC_USER_INIT_INO in include/linux/proc_ns.h: the number of the user namespace that the kernel begins with."""


@functools.cache
def is_rootless() -> bool:
    """Whether this process's rights end where its user namespace does: what it makes is refused more than root's."""
    return os.stat("/proc/self/ns/user").st_ino != _FIRST_USER


def inode(pid: int | str, kind: NamespaceKind) -> int:
    """The number that tells one namespace from another while it lives."""
    return os.stat(f"/proc/{pid}/ns/{kind.proc_name}").st_ino


def socket_in(pid: int, family: int) -> socket.socket:
    """A TCP socket that lives in the network namespace of `pid`, whoever uses it later. Call it in a thread: setns(2) is a thread's.

    Raises OSError.
    """
    import socket

    with (
        open_of(pid, NamespaceKind.NETWORK) as theirs,
        Fd(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)) as own,
    ):
        setns(theirs, CloneFlag.NEWNET)
        try:
            return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        finally:
            setns(own, CloneFlag.NEWNET)
