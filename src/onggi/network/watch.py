"""Somebody flushes our table or deletes a bridge: noticed by netlink, put right at once (S-61, R-26).

A firewall that reloads takes the rules of everybody with it; what was published would be closed, and what was closed open
(CVE-2025-54388, CVE-2025-54410). Our own transactions are told from others' by the thread that made them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Collection

from onggi.errors import OnggiError
from onggi.kernel import netlink, nftables

log = logging.getLogger(__name__)
BETWEEN_S = 0.2
"""Two looks are this far apart at least: a firewall that reloads makes many transactions."""
_LONGEST_S = 30.0
"""Between two tries of a repair that fails."""


class Watch:
    """Calls `repair` when something that is not ours has changed a table, or a bridge of ours has gone."""

    def __init__(self, repair: Callable[[], Awaitable[None]], bridges: Callable[[], Collection[str]]) -> None:
        self._repair, self._bridges = repair, bridges
        self._sockets: list[socket.socket] = []
        self._changed = asyncio.Event()
        self._busy = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """In the network namespace of the calling thread. Raises OSError."""
        loop = asyncio.get_running_loop()
        for sock, notice in ((netlink.watch_links(), self._is_bridge_gone), (nftables.watch(), _is_of_others)):
            self._sockets.append(sock)
            loop.add_reader(sock, self._read, sock, notice)
        self._task = loop.create_task(self._run(), name="watch over table and bridges")

    def look(self) -> None:
        """Something of ours could not be made as it must be: tried again, later and later."""
        self._changed.set()

    async def close(self) -> None:
        """A repair under way ends first: its thread can't be stopped, and would write what the caller may remove."""
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        self._sockets.clear()
        if self._task is not None:
            async with self._busy:
                self._task.cancel()
            self._task = None

    def _read(self, sock: socket.socket, notice: Callable[[bytes], bool]) -> None:
        try:
            data = sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:  # ENOBUFS: events were lost
            self._changed.set()
            return
        if notice(data):
            self._changed.set()

    def _is_bridge_gone(self, data: bytes) -> bool:
        return any(name in self._bridges() for name in netlink.removed_links(data))

    async def _run(self) -> None:
        """Ends when cancelled; a repair under way may be half done then, and is done again at the next start."""
        pause_s = BETWEEN_S
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                async with self._busy:
                    await self._repair()
                pause_s = BETWEEN_S
            except (OSError, OnggiError) as error:
                log.warning("networks could not be repaired: %s; tried again in %s s", error, pause_s)
                self._changed.set()
                pause_s = min(pause_s * 2, _LONGEST_S)
            await asyncio.sleep(pause_s)


def _is_of_others(data: bytes) -> bool:
    return any(not os.path.exists(f"/proc/self/task/{thread}") for thread in nftables.authors(data))
