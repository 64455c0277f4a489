"""Sockets that a shim holds so that published ports stay its container's: more of them, and fewer, while it runs."""

from __future__ import annotations

import os
import socket
import stat

Name = tuple[str, str, int]
"""Protocol, address, port: as the socket is bound."""


def close_bound(fds: list[int], names: list[Name]) -> list[int]:
    """Closes those of `fds` that are bound to one of `names`; the rest."""
    kept = []
    for fd in fds:
        if _name_of(fd) in names:
            os.close(fd)
        else:
            kept.append(fd)
    return kept


def _name_of(fd: int) -> Name | None:
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return None
    sock = socket.socket(fileno=fd)
    try:
        protocol = "tcp" if sock.type == socket.SOCK_STREAM else "udp"
        address, port = sock.getsockname()[:2]
        return protocol, address, port
    except (OSError, ValueError):
        return None
    finally:
        sock.detach()
