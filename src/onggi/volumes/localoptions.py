"""Options of docker's `local` driver: what `type`, `o`, `device` and `size` mean as a mount (volume/local, mount/flags)."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from onggi.errors import InvalidArgument
from onggi.kernel.mounts import MountFlag
from onggi.sizes import memory_size

_KNOWN: Final = ("type", "o", "device", "size")
_REQUIRED: Final = {"device": ("type",), "type": ("device",), "o": ("device", "type")}

_SET: Final = {
    "ro": MountFlag.RDONLY,
    "nosuid": MountFlag.NOSUID,
    "nodev": MountFlag.NODEV,
    "noexec": MountFlag.NOEXEC,
    "sync": MountFlag.SYNCHRONOUS,
    "dirsync": MountFlag.DIRSYNC,
    "mand": MountFlag.NONE,
    "noatime": MountFlag.NOATIME,
    "nodiratime": MountFlag.NODIRATIME,
    "relatime": MountFlag.RELATIME,
    "strictatime": MountFlag.STRICTATIME,
    "bind": MountFlag.BIND,
    "rbind": MountFlag.BIND | MountFlag.REC,
    "remount": MountFlag.REMOUNT,
}
_CLEAR: Final = {
    "rw": MountFlag.RDONLY,
    "suid": MountFlag.NOSUID,
    "dev": MountFlag.NODEV,
    "exec": MountFlag.NOEXEC,
    "async": MountFlag.SYNCHRONOUS,
    "atime": MountFlag.NOATIME,
    "diratime": MountFlag.NODIRATIME,
    "norelatime": MountFlag.RELATIME,
    "nostrictatime": MountFlag.STRICTATIME,
}
_NOTHING: Final = frozenset({"", "defaults", "nomand"})


@dataclass(frozen=True, slots=True)
class MountRequest:
    """Arguments of mount(2)."""

    device: str
    fstype: str
    flags: MountFlag
    data: str


def check_options(options: Mapping[str, str], *, limits: bool = False) -> None:
    """`limits`: the disk can keep a `size`. Raises InvalidArgument with docker's words."""
    for name in options:
        if name not in _KNOWN:
            raise InvalidArgument(f'invalid option: "{name}"')
    for name, required in _REQUIRED.items():
        for other in required if name in options else ():
            if other not in options:
                raise InvalidArgument(f'missing required option: "{other}"')
    if "size" in options:
        if not limits or "device" in options:
            raise InvalidArgument("quota size requested but no quota support")
        if size_of(options) <= 0:
            raise InvalidArgument(f"invalid size: '{options['size']}'")


def size_of(options: Mapping[str, str] | None) -> int:
    """Bytes that the volume may have, 0 for as many as there is room for. Raises InvalidArgument."""
    return memory_size(options["size"]) if options and "size" in options else 0


def mount_request(options: Mapping[str, str]) -> MountRequest | None:
    """The mount that `options` ask for; None when the volume is a plain directory."""
    if "device" not in options:
        return None
    flags = MountFlag.NONE
    data: list[str] = []
    for word in options.get("o", "").split(","):
        if word in _SET:
            flags |= _SET[word]
        elif word in _CLEAR:
            flags &= ~_CLEAR[word]
        elif word not in _NOTHING:
            data.append(word)
    return MountRequest(options["device"], options["type"], flags, ",".join(data))


def with_addresses(request: MountRequest) -> MountRequest:
    """`addr=` of network file systems as an address: the kernel doesn't resolve names. Blocks. Raises OSError."""
    if not request.fstype.startswith(("nfs", "cifs")):
        return request
    words = []
    for word in request.data.split(","):
        key, _, value = word.partition("=")
        words.append(f"addr={_address(value)}" if key == "addr" else word)
    return MountRequest(request.device, request.fstype, request.flags, ",".join(words))


def _address(host: str) -> str:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return str(found[0][4][0])
