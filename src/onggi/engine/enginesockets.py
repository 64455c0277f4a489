"""Sockets of container engines that a container was given: whoever is in it is root on this machine (S-74).

Found by what the kernel knows of listening sockets: those of this process, and those called as other engines call theirs. A
directory that holds one gives it, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from onggi.engine.config import MountPoint

_NAMES = frozenset({"docker.sock", "onggi.sock", "podman.sock", "containerd.sock", "crio.sock"})
_LISTENS = "00010000"
"""__SO_ACCEPTCON in the flags of /proc/net/unix (proc_net(5))."""


def given(points: Iterable[MountPoint]) -> list[str]:
    """Paths on the host of engine sockets that lie in what is bound."""
    sources = [os.path.realpath(point.source) for point in points if point.type == "bind"]
    return sorted({path for path in _listening() for source in sources if _holds(source, path)}) if sources else []


def _holds(source: str, path: str) -> bool:
    return source in (path, "/") or path.startswith(f"{source}/")


def _listening() -> set[str]:
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
        # Num RefCount Protocol Flags Type St Inode Path
        rows = [line.rstrip("\n").split(maxsplit=7) for line in file]
    found = [(row[6], row[7]) for row in rows if len(row) == 8 and row[3] == _LISTENS and row[7].startswith("/")]
    if not found:
        return set()
    own = _own_sockets()
    return {os.path.realpath(path) for inode, path in found if inode in own or os.path.basename(path) in _NAMES}


def _own_sockets() -> set[str]:
    """Inodes."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
        if target is not None:
            found.add(target[1])
    return found
