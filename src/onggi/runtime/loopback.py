"""The loopback of a new network namespace: all the network that a container from a bundle gets here."""

from __future__ import annotations

import _socket  # lean.py
import fcntl
import struct

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_INTERFACE_FLAGS = struct.Struct("16sH14x")  # struct ifreq


def set_up() -> None:
    """By ioctl (netdevice(7)): half the price of netlink, and all that a container without links needs."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        fcntl.ioctl(sock.fileno(), _SIOCSIFFLAGS, _INTERFACE_FLAGS.pack(b"lo", _IFF_UP))
    finally:
        sock.close()
