"""A shim whose container is silent has not even read what its starter left for it.

Each page that a fork writes is its own, and all that a shim does to supervise a container writes 0.5 MB of them (reference
counts of code, most of it). So a spare goes to sleep before it knows what it is for: on an epoll instance that its starter
has too, which puts everything into it that can happen to the container, and leaves the handover in their socket. What is
watched is open as long as the message that carries it is (epoll(7), Q6), also when the starter has closed it.

A starter that is gone without a word wakes the spare too: the spare's end of their socket is told of a hang-up. After a
handover it isn't: the starter's end travels in the message, and stays open with it.
"""

from __future__ import annotations

import _socket
import os
import select
import socket
from collections.abc import Mapping
from typing import Final

READABLE: Final = int(select.EPOLLIN)
URGENT: Final = int(select.EPOLLPRI)
AT_ONCE: Final = int(select.EPOLLOUT)
"""An event that a connected socket has at any time."""

_WHOLE_MACHINE: Final = [b"0", b"0", b"4294967295"]


def is_allowed() -> bool:
    """Whether a handover may wait in its socket for months.

    Descriptors on their way are counted for each user, and beyond RLIMIT_NOFILE of them nobody may send any, but for root
    of the machine (too_many_unix_fds in net/unix/garbage.c): a rootless engine's shims read theirs at once.
    """
    fd = os.open("/proc/self/uid_map", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096).split() == _WHOLE_MACHINE
    finally:
        os.close(fd)


# What the module `socket` wraps: its names for numbers and its methods in Python are made of pages (protocol.py).
_UNIX: Final = int(socket.AF_UNIX)
_SEQPACKET: Final = int(socket.SOCK_SEQPACKET)


def pair() -> tuple[_socket.socket, _socket.socket]:
    """For the handover: the spare's end and its starter's."""
    return _socket.socketpair(_UNIX, _SEQPACKET)


class Alarm:
    """The spare's side."""

    __slots__ = ("_epoll",)

    def __init__(self, handover: _socket.socket) -> None:
        self._epoll = select.epoll()
        # Only its end: what comes there can wait.
        self._epoll.register(handover.fileno(), 0)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def sleep(self) -> None:
        """Until there is something to do, or nothing will ever be."""
        self._epoll.poll(-1, 1)
        self._epoll.close()


def set_alarm(alarm: int, watched: Mapping[int, int]) -> None:
    """The starter's side, after the handover is sent: wake when one of these descriptors has one of its events."""
    epoll = select.epoll.fromfd(os.dup(alarm))
    try:
        for fd, events in watched.items():
            epoll.register(fd, events)
    finally:
        epoll.close()
