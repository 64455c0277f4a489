"""Connections from the host's network to containers, whose addresses exist in our network namespace alone.

The container sees the client's own address, not ours: the second half of a connection is bound to it (IP_TRANSPARENT, ip(7))
and marked, and what comes back with that mark in conntrack is delivered here, not routed out
(Documentation/networking/tproxy.rst has the same with another match). A client on the host's loopback can't be shown so:
the container sees its gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable
from typing import Final

from onggi.kernel import netlink, nftables
from onggi.rootless.messages import Key, Target

_OUT, _BACK = 0x6F67, 0x6F68
"""Marks of packets to containers, and of what comes back: one for both would lead the first out of the loopback too."""

_TABLE: Final = 100
_SO_MARK, _IP_TRANSPARENT, _IPV6_TRANSPARENT = 36, 19, 75
_PIECE: Final = 1 << 18
_UDP_IDLE_S: Final = 90.0
"""As conntrack keeps a stream of datagrams by default and docker-proxy its clients."""

_MOST_FLOWS: Final = 4096
"""Clients of one UDP port at a time. Sources can be invented: without a bound they would take every descriptor."""

_CONNECT_S: Final = 10.0
_RULES: Final = f"""
table inet onggi-relay {{}}
delete table inet onggi-relay
table inet onggi-relay {{
    chain out {{ type filter hook output priority -150; policy accept; meta mark {_OUT} ct mark set meta mark; }}
    chain in {{ type filter hook prerouting priority -150; policy accept; ct mark {_OUT} meta mark set {_BACK}; }}
}}
"""

log = logging.getLogger(__name__)


def prepare_network() -> bool:
    """Whether containers will see the addresses of clients: rules and a table of routes for it are there."""
    try:
        nftables.apply(_RULES)
        with netlink.Route() as route:
            for family in (socket.AF_INET, socket.AF_INET6):
                route.deliver_marked(family, _BACK, _TABLE)
    except OSError:
        return False
    return True


class Relay:
    """Which port leads where, and what runs between them."""

    def __init__(self, *, keeps_addresses: bool) -> None:
        self._keeps_addresses = keeps_addresses
        self._targets: dict[Key, Target] = {}
        self._serving: dict[Key, asyncio.Task[None]] = {}
        self._connections: set[asyncio.Task[None]] = set()

    def leads(self, key: Key) -> bool:
        return key in self._targets

    def lead(self, sock: socket.socket, target: Target) -> None:
        """New connections go to `target` from now on; those under way stay where they are."""
        self._targets[target.key] = target
        if target.key not in self._serving:
            serve = self._accept if target.key.protocol == "tcp" else self._datagrams
            self._serving[target.key] = asyncio.get_running_loop().create_task(serve(sock, target.key))

    def stop(self, key: Key) -> None:
        self._targets.pop(key, None)
        if task := self._serving.pop(key, None):
            task.cancel()

    async def _accept(self, listener: socket.socket, key: Key) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, client = await loop.sock_accept(listener)
            except OSError:
                # No descriptor left: the backlog keeps the client while others end.
                await asyncio.sleep(0.05)
                continue
            task = loop.create_task(self._connect(sock, client[:2], self._targets[key]))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _connect(self, near: socket.socket, client: tuple[str, int], target: Target) -> None:
        loop = asyncio.get_running_loop()
        with near, self._socket(socket.SOCK_STREAM, client, target) as far:
            near.setblocking(False)
            try:
                async with asyncio.timeout(_CONNECT_S):
                    await loop.sock_connect(far, (target.address, target.port))
            except (OSError, TimeoutError):
                # As it would have been answered without us in between: refused.
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(near, far))
                both.create_task(_pump(far, near))

    async def _datagrams(self, sock: socket.socket, key: Key) -> None:
        loop = asyncio.get_running_loop()
        flows: dict[tuple[str, int], _Flow] = {}
        try:
            while True:
                data, address = await loop.sock_recvfrom(sock, 1 << 16)
                client, target = (address[0], address[1]), self._targets[key]
                flow = flows.get(client)
                if flow is None and len(flows) >= _MOST_FLOWS:
                    continue  # lost, as any datagram may be
                if flow is None or flow.target != target:
                    if flow is not None:
                        flow.close()
                    far = self._socket(socket.SOCK_DGRAM, client, target)
                    far.connect((target.address, target.port))
                    flow = flows[client] = _Flow(sock, far, address, target, lambda gone: flows.pop(gone, None))
                flow.send(data)
        finally:
            for flow in list(flows.values()):
                flow.close()

    def _socket(self, kind: int, client: tuple[str, int], target: Target) -> socket.socket:
        """Towards the container, with the client's address if it can be."""
        family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
        sock = socket.socket(family, kind)
        sock.setblocking(False)
        if self._keeps_addresses and not ipaddress.ip_address(client[0].partition("%")[0]).is_loopback:
            level, option = (
                (socket.IPPROTO_IPV6, _IPV6_TRANSPARENT) if family == socket.AF_INET6 else (socket.IPPROTO_IP, _IP_TRANSPARENT)
            )  # fmt: skip
            with contextlib.suppress(OSError):
                sock.setsockopt(level, option, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(client)
                sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, _OUT)
        return sock


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Until the end of `source`, which is told to `sink`. An error ends both ways."""
    loop = asyncio.get_running_loop()
    try:
        while data := await loop.sock_recv(source, _PIECE):
            await loop.sock_sendall(sink, data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class _Flow:
    """Datagrams of one client, until none has come or gone for a while."""

    def __init__(
        self,
        near: socket.socket,
        far: socket.socket,
        client: tuple[str, int],
        target: Target,
        forget: Callable[[tuple[str, int]], object],
    ) -> None:
        self.target = target
        self._near, self._far, self._client, self._forget = near, far, client, forget
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(far, self._back)
        self._timer = self._loop.call_later(_UDP_IDLE_S, self.close)

    def send(self, data: bytes) -> None:
        self._touch()
        # The network may lose a datagram, and so may we: a full buffer, or nobody there.
        with contextlib.suppress(OSError):
            self._far.send(data)

    def _back(self) -> None:
        self._touch()
        with contextlib.suppress(OSError):
            self._near.sendto(self._far.recv(1 << 16), self._client)

    def _touch(self) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_later(_UDP_IDLE_S, self.close)

    def close(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._far)
        self._far.close()
        self._forget((self._client[0], self._client[1]))
