"""Published ports: which are ours, held by bound sockets, led to containers by elements of the firewall's maps.

A port is reserved by binding it: two engines, or a program of the host, can't both have it (R-26). The sockets go to the
container's shim, which holds them while the container runs, whatever becomes of the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from onggi.errors import Conflict, InvalidArgument, OnggiError
from onggi.kernel import conntrack, nftables
from onggi.kernel.faults import point
from onggi.network.firewall import EVERYWHERE, Forward, changes_text
from onggi.rootless.hostports import HostPorts
from onggi.rootless.messages import Key, Target

log = logging.getLogger(__name__)
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@dataclass(frozen=True, slots=True)
class PortRequest:
    """A container's port to be published; `host_port` is "", a number or a range of which one is to be taken."""

    protocol: str
    port: int
    host_ip: str = ""
    host_port: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """What a request became."""

    protocol: str
    port: int
    host_ip: str
    host_port: int

    def forward(self, addresses: Addresses) -> Forward:
        """To the address of the family that `host_ip` has."""
        return Forward(self.protocol, self.host_ip, self.host_port, addresses[":" in self.host_ip], self.port)


Addresses = tuple[str, str]
"""A container's IPv4 and IPv6 address, empty where it has none."""


def _key(one: Published) -> tuple[str, str, int]:
    return one.protocol, one.host_ip, one.host_port


class Ports:
    """Published ports of one engine, by container."""

    def __init__(
        self,
        table: str,
        address6_of: Callable[[str], str],
        binding_of: Callable[[str], str],
        host: HostPorts | None = None,
        *,
        in_doubt: Callable[[], None],
    ) -> None:
        """`binding_of` a container: the host's address for ports that are published without one; empty for all of them.

        `in_doubt` is called when the table isn't what `forwards` says, and could not be made so. `host`: whom ports are asked of and who carries their connections, where this network isn't the host's.
        """
        self._in_doubt = in_doubt
        self._table, self._address6_of, self._binding_of, self._host = table, address6_of, binding_of, host
        self._published: dict[str, list[Published]] = {}
        self._addresses: dict[str, Addresses] = {}
        self._owners: dict[tuple[str, str, int], str] = {}
        self.lock = asyncio.Lock()
        """Held while the firewall's maps are changed."""

    def forwards(self) -> list[Forward]:
        """All of them, for the whole table."""
        return [one.forward(self._addresses[owner]) for owner, ports in self._published.items() for one in ports
                if self._owners.get((one.protocol, one.host_ip, one.host_port)) == owner]  # fmt: skip

    def of(self, container_id: str) -> Sequence[Published]:
        return self._published.get(container_id, [])

    def adopt(self, container_id: str, address: str, published: Sequence[Published]) -> None:
        """After a restart: a running container has these, its shim still holds the sockets."""
        self._published[container_id], self._addresses[container_id] = (
            list(published),
            (address, self._address6_of(container_id)),
        )
        for one in published:
            self._owners[(one.protocol, one.host_ip, one.host_port)] = container_id

    async def publish(
        self, container_id: str, address: str, requests: Sequence[PortRequest], *, shared_with: str = ""
    ) -> tuple[Sequence[Published], Sequence[socket.socket]]:
        """Ports of a container that is about to start, or more of one that runs, and the sockets that hold them (the caller's to close).

        `shared_with` is a container that is being replaced: its ports may be asked for, and stay its own until `move`.
        Raises Conflict in docker's words; nothing is published then.
        """
        if not requests:
            return [], []
        addresses, binding = (address, self._address6_of(container_id)), self._binding_of(container_id)
        requests = [replace(request, host_ip=request.host_ip or binding) for request in requests]
        async with self.lock:
            taken: list[tuple[Published, socket.socket | None]] = []
            try:
                for request in requests:
                    taken += self._reserve_all(request, shared_with, has_ipv6=bool(addresses[1]))
                found = [one for one, _ in taken]
                mine = [one for one, sock in taken if sock is not None]
                if mine:
                    await self._change(add=[one.forward(addresses) for one in mine])
            except BaseException:
                for one, sock in taken:
                    if sock is not None:
                        self._give_back(one, sock)
                raise
            self._published[container_id] = [*self._published.get(container_id, ()), *found]
            self._addresses[container_id] = addresses
            for one in mine:
                self._owners[(one.protocol, one.host_ip, one.host_port)] = container_id
            return found, [sock for _, sock in taken if sock is not None]

    async def withdraw(self, container_id: str, gone: Sequence[Published]) -> None:
        """Some of a running container's ports are published no more; its sockets are the caller's to let go of."""
        async with self.lock:
            addresses = self._addresses.get(container_id, ("", ""))
            mine = [one for one in gone if self._owners.get(_key(one)) == container_id]
            if mine:
                await self._change(remove=[one.forward(addresses) for one in mine])
            for one in mine:
                del self._owners[_key(one)]
            self._published[container_id] = [one for one in self._published.get(container_id, ()) if one not in gone]

    async def unpublish(self, container_id: str) -> None:
        """What was never published is fine. A port that another container waits for (it replaces this one) becomes its."""
        if container_id not in self._published:
            return
        async with self.lock:
            had, addresses = self._published.pop(container_id, []), self._addresses.pop(container_id, ("", ""))
            mine = [one for one in had if self._owners.get(_key(one)) == container_id]
            heirs = {_key(one): found for one in mine if (found := self._waiting_for(_key(one)))}
            add = [wanted.forward(self._addresses[name]) for name, wanted in heirs.values()]
            for one in mine:
                del self._owners[_key(one)]
            self._owners |= {key: name for key, (name, _) in heirs.items()}
            if mine:
                try:
                    await self._change(remove=[one.forward(addresses) for one in mine], add=add)
                except OnggiError as error:
                    log.warning("ports of container %s: %s; the whole table is written anew", container_id[:12], error)
                    self._in_doubt()

    def _waiting_for(self, key: tuple[str, str, int]) -> tuple[str, Published] | None:
        for container_id, ports in self._published.items():
            for one in ports:
                if _key(one) == key and self._owners.get(key) != container_id:
                    return container_id, one
        return None

    async def take_over(self, new: str) -> None:
        """`new` gets the ports that it asked for and that the container which it replaces still has."""
        for old in {
            owner for one in self._published.get(new, []) if (owner := self._owners.get(_key(one))) and owner != new
        }:
            await self.move(old, new)

    async def move(self, old: str, new: str) -> None:
        """New connections to the ports of `old` that `new` asked for too go to `new` from now on: one transaction.

        Connections under way stay with `old`: conntrack remembers their translation.
        """
        async with self.lock:
            wanted = {(one.protocol, one.host_ip, one.host_port): one for one in self._published.get(new, [])}
            moving = [key for key, owner in self._owners.items() if owner == old and key in wanted]
            if not moving:
                return
            before = {(one.protocol, one.host_ip, one.host_port): one for one in self._published[old]}
            await self._change(
                remove=[before[key].forward(self._addresses[old]) for key in moving],
                add=[wanted[key].forward(self._addresses[new]) for key in moving],
            )
            for key in moving:
                self._owners[key] = new

    async def _change(self, *, remove: Sequence[Forward] = (), add: Sequence[Forward] = ()) -> None:
        try:
            await asyncio.to_thread(_apply, self._table, list(remove), list(add))
            if self._host is not None:
                await asyncio.to_thread(
                    self._host.change, [_host_key(one) for one in remove], [_target(one) for one in add]
                )
        except OSError as error:
            raise OnggiError(f"failed to set up port forwarding: {error.strerror}") from error

    def _reserve_all(
        self, request: PortRequest, shared_with: str, *, has_ipv6: bool
    ) -> list[tuple[Published, socket.socket | None]]:
        """Without an address of the host's the port is taken in both families, the same number if it can be.

        A container without IPv6 is not reached by it: `::` is all of the host's IPv4 addresses then. Nothing can be led
        from ::1 to a container (the kernel routes it nowhere else).
        """
        wanted = request.host_ip or "0.0.0.0"
        if ":" in wanted and not has_ipv6:
            if wanted != "::":
                raise InvalidArgument(f"cannot publish on {wanted}: the container has no IPv6 address")
            wanted = "0.0.0.0"
        if wanted == "::1":
            raise InvalidArgument("cannot publish on ::1: publish on 127.0.0.1, or on an address of the host")
        taken = [self._reserve(request, wanted, request.host_port, shared_with)]
        if not request.host_ip and has_ipv6:
            try:
                taken.append(self._reserve(request, "::", str(taken[0][0].host_port), shared_with))
            except BaseException:
                one, sock = taken[0]
                if sock is not None:
                    self._give_back(one, sock)
                raise
        return taken

    async def keep(self) -> None:
        """After a restart: what is published, and nothing else."""
        if self._host is not None:
            try:
                await asyncio.to_thread(self._host.keep, [_target(one) for one in self.forwards()])
            except OSError as error:
                # Another program has it, or a shim from before the namespaces were lost: the others go on.
                log.warning("a published port leads nowhere: %s", error.strerror)

    async def end(self) -> None:
        """Nothing runs, and nothing will before the next engine."""
        if self._host is not None:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._host.end)

    def _bind(self, protocol: str, address: str, port: int) -> socket.socket:
        return _bind(protocol, address, port) if self._host is None else self._host.bind(Key(protocol, address, port))

    def _give_back(self, one: Published, sock: socket.socket) -> None:
        """What was reserved isn't needed."""
        sock.close()
        if self._host is not None:
            with contextlib.suppress(OSError):
                self._host.release(Key(*_key(one)))

    def _reserve(
        self, request: PortRequest, address: str, wanted: str, shared_with: str
    ) -> tuple[Published, socket.socket | None]:
        """On one address of the host; `wanted` is its port, a range, or empty for any."""
        first, _, last = wanted.partition("-")
        if not first or first == "0":
            candidates: Sequence[int] = [0]
        elif first.isdigit() and (last or first).isdigit():
            candidates = range(int(first), int(last or first) + 1)
        else:
            raise InvalidArgument(f"Invalid host port: {wanted}")
        for port in candidates:
            key = (request.protocol, address, port)
            if shared_with and self._owners.get(key) == shared_with:
                return Published(request.protocol, request.port, address, port), None
            if self._is_ours(request.protocol, address, port):
                continue
            try:
                point("network.port.bind")
                sock = self._bind(request.protocol, address, port)
            except OSError as error:
                if error.errno == errno.EADDRINUSE and len(candidates) > 1:
                    continue
                raise Conflict(
                    f"failed to bind host port for {_shown(address)}:{port}:{request.port}/{request.protocol}: "
                    f"{(error.strerror or '').lower()}"
                ) from None
            return Published(request.protocol, request.port, address, sock.getsockname()[1]), sock
        raise Conflict(f"Bind for {_shown(address)}:{wanted} failed: port is already allocated")

    def _is_ours(self, protocol: str, address: str, port: int) -> bool:
        """Taken on the same address, or on all of its family, or on one when all are asked for."""
        if not port:
            return False
        return any(
            p == protocol and n == port and (":" in a) == (":" in address) and (address in (a, *EVERYWHERE) or a in EVERYWHERE)
            for p, a, n in self._owners
        )  # fmt: skip


def _apply(table: str, remove: Sequence[Forward], add: Sequence[Forward]) -> None:
    """Changes the maps, and lets go of UDP flows that would stay with what was before.

    A flow to a container that has lost the port stays only while another takes it over (`move`): that container still runs.
    """
    if add:
        point("network.rules.add")
    if remove:
        point("network.rules.remove")
    nftables.apply(changes_text(table, remove=remove, add=add))
    addresses = {one.address for one in remove if one.protocol == "udp"} if not add else set()
    ports = {one.host_port for one in add if one.protocol == "udp"}
    if not addresses and not ports:
        return
    with contextlib.suppress(OSError):
        for ipv6 in {":" in one.host_ip for one in (*remove, *add) if one.protocol == "udp"}:
            conntrack.forget_udp(
                lambda flow: flow.answers in addresses or (flow.port in ports and flow.answers == flow.destination), ipv6=ipv6
            )  # fmt: skip


def _host_key(one: Forward) -> Key:
    return Key(one.protocol, one.host_ip, one.host_port)


def _target(one: Forward) -> Target:
    return Target(_host_key(one), one.address, one.port)


def _shown(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _bind(protocol: str, address: str, port: int) -> socket.socket:
    if protocol not in _KINDS:
        raise InvalidArgument(f"publishing {protocol} ports is not possible here: use tcp or udp")
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, _KINDS[protocol])
    try:
        if ":" in address:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        if protocol == "tcp":
            # Listening makes it a conflict for every other program, SO_REUSEADDR or not. Nobody connects: packets are
            # translated before they reach a socket.
            sock.listen(1)
    except BaseException:
        sock.close()
        raise
    return sock
