"""Kernel settings of the container's namespaces, written where they are meant to go.

A fake /proc/sys in the rootfs must not catch the write (CVE-2025-52881), so they go through a procfs of our own that
nothing is mounted on. Runs in the child.
"""

from __future__ import annotations

import os

from onggi.errors import InvalidArgument
from onggi.kernel import mounts
from onggi.kernel.fds import AnyFd
from onggi.kernel.paths import Resolve, openat2

_IPC = (
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
)


def check(values: dict[str, str], *, own_ipc: bool, own_net: bool, own_uts: bool, domainname: str = "") -> None:
    """Only what a namespace of the container's own holds (S-40). Raises InvalidArgument naming the first that isn't."""
    for name, value in values.items():
        key = name.replace("/", ".")
        if not all(key.split(".")):
            raise InvalidArgument(f'sysctl "{name}" is not the name of a setting')
        if key in _IPC or key.startswith("fs.mqueue."):
            allowed, kind = own_ipc, "ipc"
        elif key.startswith("net."):
            allowed, kind = own_net, "network"
        elif key == "kernel.hostname":
            raise InvalidArgument(f'sysctl "{name}" is not allowed: use the hostname of the spec')
        elif key == "kernel.domainname":
            if domainname not in ("", value):
                raise InvalidArgument(f'sysctl "{name}" and the domainname of the spec differ')
            allowed, kind = own_uts, "uts"
        else:
            raise InvalidArgument(f'sysctl "{name}" is not in a separate kernel namespace')
        if not allowed:
            raise InvalidArgument(f'sysctl "{name}" not allowed in host {kind} namespace')


def apply(values: dict[str, str], proc: AnyFd | None) -> None:
    """`proc` is the root of a procfs mount of ours, None makes one. Raises OSError with the setting's name in its step."""
    if proc is None:
        with mounts.new_mount("proc") as made:
            apply(values, made)
        return
    for name, value in values.items():
        write(proc, name if "/" in name else name.replace(".", "/"), value)


def write(proc: AnyFd, path: str, value: str) -> None:
    """One setting, by its path below /proc/sys. NO_XDEV: nothing that is mounted over the file is written to."""
    with openat2(proc, f"sys/{path}", os.O_WRONLY, Resolve.BENEATH | Resolve.NO_XDEV | Resolve.NO_SYMLINKS) as fd:
        os.write(fd.fileno(), value.encode())
