"""The engine's side of published ports when rootless: asks `inside` for them. Blocking, a few messages a start."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable

from onggi.rootless import messages
from onggi.rootless.messages import Answer, Bind, Change, End, Keep, Key, Message, Release, Target

SOCKET = "ports.sock"


class HostPorts:
    """A connection to `inside`, made anew when that has gone."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, SOCKET)
        self._lock = threading.Lock()

    def bind(self, key: Key) -> socket.socket:
        """Bound in the host's network; with port 0 the kernel has chosen one. Raises OSError EADDRINUSE, EACCES (below 1024)."""
        [fd] = self._ask(Bind(key))
        return socket.socket(fileno=fd)

    def release(self, key: Key) -> None:
        self._ask(Release(key))

    def change(self, remove: Iterable[Key], add: Iterable[Target]) -> None:
        self._ask(Change(list(remove), list(add)))

    def keep(self, targets: Iterable[Target]) -> None:
        """All that are published; whatever else an engine that was killed has left is let go."""
        self._ask(Keep(list(targets)))

    def end(self) -> None:
        """Nothing runs any more: the namespaces may go."""
        self._ask(End())

    def _ask(self, message: Message) -> list[int]:
        with self._lock, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(20)
            sock.connect(self._path)
            messages.send(sock, message)
            received = messages.receive(sock)
        answer, fds = received or (None, [])
        if not isinstance(answer, Answer):
            raise OSError(32, "rootless: the process that holds the namespaces has gone")
        if answer.errno:
            raise OSError(answer.errno, os.strerror(answer.errno))
        return fds
