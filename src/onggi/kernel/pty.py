"""A terminal in a devpts that is ours: master and slave by descriptor, never by the slave's name.

CVE-2025-52565: a name under /dev/pts can be swapped between the look and the open. Source: ioctl_tty(2), TIOCGPTPEER
(Linux 4.13).
"""

from __future__ import annotations

import fcntl
import os
import struct

from onggi.kernel.fds import AnyFd, Fd, number
from onggi.kernel.paths import Resolve, openat2

_TIOCGPTPEER = 0x5441
_TIOCSPTLCK = 0x40045431
_TIOCSWINSZ = 0x5414
_TIOCSCTTY = 0x540E


def open_pair(devpts: AnyFd) -> tuple[Fd, Fd]:
    """(master, slave) of a new terminal in the devpts whose root directory is `devpts`."""
    master = openat2(devpts, "ptmx", os.O_RDWR | os.O_NOCTTY, Resolve.BENEATH | Resolve.NO_SYMLINKS)
    fcntl.ioctl(master.fileno(), _TIOCSPTLCK, struct.pack("i", 0))
    slave = Fd(fcntl.ioctl(master.fileno(), _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    return master, slave


def set_size(terminal: AnyFd, rows: int, columns: int) -> None:
    """Its size; the foreground process group gets SIGWINCH."""
    fcntl.ioctl(number(terminal), _TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def take_as_controlling(terminal: AnyFd) -> None:
    """The terminal becomes the controlling one of this session, whose leader the caller is."""
    fcntl.ioctl(number(terminal), _TIOCSCTTY, 0)
