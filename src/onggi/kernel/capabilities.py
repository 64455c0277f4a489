"""Capabilities: their names and numbers, and the five sets of the calling thread.

Source: capabilities(7), include/uapi/linux/capability.h. Everything here is a system call on prebuilt structures, so it
may run between clone3 and exec.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterable, Iterator

import msgspec

from onggi.errors import InvalidArgument
from onggi.kernel import syscalls

_NAMES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]

CAPS: dict[str, int] = {f"CAP_{name}": number for number, name in enumerate(_NAMES)}
"""Name with its CAP_ prefix → number, in the kernel's order."""

_VERSION_3 = 0x20080522
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_AMBIENT_RAISE = 2
_AMBIENT_CLEAR_ALL = 4


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


class CapSets(msgspec.Struct, frozen=True):
    """Masks of one thread: bit n is capability n."""

    effective: int
    permitted: int
    inheritable: int


@functools.cache
def last_cap() -> int:
    """Number of the newest capability that this kernel knows (/proc/sys/kernel/cap_last_cap)."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="utf-8") as file:
        return int(file.read())


def parse_caps(names: Iterable[str]) -> int:
    """Mask of `names`, with or without CAP_, in any case; ALL is every capability that the kernel knows.

    Raises InvalidArgument for a name that no kernel has.
    """
    mask = 0
    for name in names:
        full = name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}"
        if full == "CAP_ALL":
            mask |= (2 << last_cap()) - 1
        elif full in CAPS:
            mask |= 1 << CAPS[full]
        else:
            raise InvalidArgument(f'invalid capability: unknown capability: "{name}"')
    return mask


def names(mask: int) -> list[str]:
    """Names of the capabilities in `mask`, in the kernel's order."""
    return [name for name, number in CAPS.items() if mask >> number & 1]


def get_caps(pid: int = 0) -> CapSets:
    """Sets of thread `pid`, 0 for the caller. Raises OSError (ESRCH). Source: capget(2)."""
    header = _Header(_VERSION_3, pid)
    data = (_Data * 2)()
    syscalls.call("capget", syscalls.NR.capget, ctypes.byref(header), data)

    def joined(field: str) -> int:
        low, high = (int(getattr(half, field)) for half in data)
        return low | high << 32

    return CapSets(joined("effective"), joined("permitted"), joined("inheritable"))


def set_caps(effective: int, permitted: int, inheritable: int) -> None:
    """The three sets of the calling thread. Raises OSError EPERM when it would gain one. Source: capset(2)."""
    header = _Header(_VERSION_3, 0)
    data = (_Data * 2)()
    for half in (0, 1):
        data[half].effective = effective >> 32 * half & 0xFFFFFFFF
        data[half].permitted = permitted >> 32 * half & 0xFFFFFFFF
        data[half].inheritable = inheritable >> 32 * half & 0xFFFFFFFF
    syscalls.call("capset", syscalls.NR.capset, ctypes.byref(header), data)


@contextlib.contextmanager
def without(name: str) -> Iterator[None]:
    """The calling thread acts without this right for a while."""
    sets = get_caps()
    set_caps(sets.effective & ~(1 << CAPS[name]), sets.permitted, sets.inheritable)
    try:
        yield
    finally:
        set_caps(sets.effective, sets.permitted, sets.inheritable)


def drop_bounding(keep: int) -> None:
    """Every capability outside `keep` leaves the bounding set, for good.

    Holds:
        CAP_SETPCAP.
    """
    for number in range(last_cap() + 1):
        if not keep >> number & 1:
            syscalls.call("drop bounding set", syscalls.NR.prctl, _PR_CAPBSET_DROP, number, 0, 0, 0)


def set_ambient(mask: int) -> None:
    """The ambient set becomes `mask`, which must be permitted and inheritable already (Linux 4.3)."""
    syscalls.call("clear ambient set", syscalls.NR.prctl, _PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0)
    for number in range(last_cap() + 1):
        if mask >> number & 1:
            syscalls.call("raise ambient set", syscalls.NR.prctl, _PR_CAP_AMBIENT, _AMBIENT_RAISE, number, 0, 0)
