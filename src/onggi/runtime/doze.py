"""A shim whose container is silent has not even read what its starter left for it.

Each page that a fork writes is its own, and all that a shim does to supervise a container writes 0.5 MB of them (reference
counts of code, most of it). So a spare goes to sleep before it knows what it is for: on an epoll instance that it shares with
its starter, which puts everything into it that can happen to the container, and leaves the handover in their socket. What is
watched is open as long as the message that carries it is (epoll(7), Q6), also when the starter is gone.

A starter that ends without a word wakes the spare too: its end of the socket is watched until there is something better.
"""

from __future__ import annotations

import _socket
import os
import select
import socket
from collections.abc import Mapping
from typing import Final

_IN: Final = int(select.EPOLLIN)

# What the module `socket` wraps: its names for numbers and its methods in Python are made of pages (protocol.py).
_UNIX: Final = int(socket.AF_UNIX)
_SEQPACKET: Final = int(socket.SOCK_SEQPACKET)


def pair() -> tuple[_socket.socket, _socket.socket]:
    """For the handover: the spare's end and its starter's."""
    return _socket.socketpair(_UNIX, _SEQPACKET)


def whole(sock: _socket.socket) -> socket.socket:
    """`sock` with all of its methods, in its place."""
    return socket.socket(_UNIX, _SEQPACKET, 0, sock.detach())


class Alarm:
    """Made by a spare before it forks its starter; both have it then."""

    __slots__ = ("_epoll", "_handover")

    def __init__(self, handover: _socket.socket) -> None:
        self._handover = handover.fileno()
        self._epoll = select.epoll()
        # Only its end: what comes there can wait.
        self._epoll.register(self._handover, 0)

    def set(self, watched: Mapping[int, int]) -> None:
        """The starter's side, after the handover is sent: sleep until one of these descriptors has one of its events."""
        for fd, events in watched.items():
            self._epoll.register(fd, events)
        self._epoll.unregister(self._handover)

    def wake(self) -> None:
        """The starter's side, before the handover is sent: it is to be read at once."""
        self._epoll.modify(self._handover, _IN)

    def sleep(self, starter: int) -> bool:
        """The spare's side: until there is something to do, or nothing will ever be. Whether `starter` is reaped already."""
        pidfd = os.pidfd_open(starter)
        self._epoll.register(pidfd, _IN)
        ended = False
        while self._epoll.poll(-1, 1)[0][0] == pidfd:
            os.waitpid(starter, 0)
            os.close(pidfd)
            ended = True
        if not ended:
            os.close(pidfd)
        self._epoll.close()
        return ended
