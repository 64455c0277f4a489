"""The networks of an engine: made, mended, removed, and how containers that run come into them and leave."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
from collections.abc import Callable, Sequence

import msgspec

from onggi.errors import Conflict, Forbidden, InvalidArgument, NotFound, OnggiError
from onggi.kernel import netlink, nftables
from onggi.network import bridges, firewall
from onggi.network.addresses import Pools
from onggi.network.members import Members
from onggi.network.options import BRIDGE_NAME, option
from onggi.network.planning import PREDEFINED, moved, plan, predefined
from onggi.network.ports import Ports
from onggi.network.records import TABLE, Endpoint, IpamConfig, Network
from onggi.network.resolver import Resolver
from onggi.network.watch import Watch
from onggi.rootless.hostports import HostPorts
from onggi.store.database import Database, Delete, Put

log = logging.getLogger(__name__)
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", re.ASCII)


class Networks:
    """See the room. Networks are rows; who is in them is in `members`."""

    def __init__(
        self,
        database: Database,
        *,
        tag: str,
        bridge: str,
        bip: str = "",
        pools: Pools | None = None,
        mtu: int = 0,
        upstream: Callable[[str], Sequence[str]] = lambda _container: (),
        host_ports: HostPorts | None = None,
    ) -> None:
        """`host_ports`: where ports of the host are had when its network is not ours."""
        self._database, self._tag, self._bridge, self._bip, self._mtu = database, tag, bridge, bip, mtu
        self._pools = pools or Pools()
        self.table = self._alias = f"onggi-{tag}"
        self._rows: dict[str, Network] = {}
        self.members = Members(tag)
        self.ports = Ports(self.table, self._address6_of, self._binding_of, host_ports, in_doubt=self._look_again)
        self.resolver = Resolver(self._lookup, self._reverse, self._may_forward, upstream)
        self._lock = asyncio.Lock()
        self._skeleton: frozenset[str] = frozenset()
        """Our table without its elements, as the kernel showed it right after it was written."""
        self._undeleted: set[str] = set()
        """Links of endpoints that are gone: the kernel refused to delete them."""
        self._watch = Watch(self.repair, self._bridges)

    # Restoring

    async def restore(self) -> None:
        """Reads the rows and makes the kernel as they say: bridges and their addresses. `settle` does the rest."""
        self._rows = {row.id: row for row in self._database.load(TABLE).values()}
        with netlink.Route() as route:
            if bridges.is_anothers(route, self._bridge, self._alias):
                self._bridge = f"og-{self._tag}"
            made = [
                moved(row, self._bridge)
                for row in self._rows.values()
                if bridges.is_anothers(route, row.bridge, self._alias)
            ]
            taken, mtu = self._used(route), self._usual_mtu(route)
            made += [
                predefined(name, bridge=self._bridge, bip=self._bip, taken=taken, pools=self._pools, mtu=mtu)
                for name in PREDEFINED
                if not any(row.name == name for row in self._rows.values())
            ]
            bridges.sweep(route, {row.bridge for row in (*self._rows.values(), *made)}, self._alias)
            if made:
                await self._database.commit(*[Put(TABLE, row.id, row) for row in made])
                self._rows |= {row.id: row for row in made}
            for row in self._rows.values():
                self.members.admit_to(row)
        await asyncio.to_thread(self._mend_links)

    async def settle(self) -> None:
        """The engine has told of every container that runs: the table is written, and watched from now on.

        Until then the one that the last engine left stands, so that published ports work through a restart.
        """
        await self.repair()
        await self.ports.keep()
        self._watch.start()

    def _usual_mtu(self, route: netlink.Route) -> int:
        """As asked for, else that of the way out when it is smaller than Ethernet's."""
        return self._mtu or min(route.default_mtu() or 1500, 1500)

    def _used(self, route: netlink.Route) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        ours = [ipaddress.ip_network(config.subnet) for row in self._rows.values() for config in row.ipam]
        return ours + [ipaddress.ip_network(text, strict=False) for text in route.routes()]

    async def write_table(self) -> None:
        """The whole nft table, from what must hold now; and our pass through other programs' dropping chains."""
        rules = [
            firewall.BridgeRules(
                row.bridge, row.subnet(4), row.subnet(6), internal=row.internal, icc=row.icc,
                masquerade=option(row.options, "com.docker.network.bridge.enable_ip_masquerade", default=True),
            )
            for row in self._rows.values() if row.bridge
        ]  # fmt: skip
        # No port comes or goes between the look at them and the table that has them.
        async with self.ports.lock:
            text = firewall.table_text(self.table, rules, self.ports.forwards())
            self._skeleton = await asyncio.to_thread(self._apply_all, text, [rule.bridge for rule in rules])

    def _apply_all(self, text: str, names: Sequence[str]) -> frozenset[str]:
        nftables.apply(text)
        firewall.pass_foreign_drops(self.table, names)
        return firewall.state(self.table)[0]

    async def repair(self) -> None:
        """Makes links, switches and table as they must be; what is right is left as it is. Raises OSError.

        Cancelled: some of it is done; calling it again does the rest.
        """
        await asyncio.to_thread(self._mend_links)
        async with self.ports.lock:
            have = await asyncio.to_thread(firewall.state, self.table)
            is_whole = bool(self._skeleton) and have == (self._skeleton, firewall.elements(self.ports.forwards()))
        if is_whole:
            await asyncio.to_thread(firewall.pass_foreign_drops, self.table, self._bridges())
        else:
            if self._skeleton:
                log.warning("the nft table %s isn't what it must be: it is written anew", self.table)
            await self.write_table()
        for name in list(self._undeleted):
            await asyncio.to_thread(bridges.delete, name)
            self._undeleted.discard(name)

    def _look_again(self) -> None:
        self._watch.look()

    def _mend_links(self) -> None:
        with netlink.Route() as route:
            there = {link.name for link in route.links()} if self._skeleton else set()
            for row in list(self._rows.values()):
                if row.bridge and row.bridge not in there:
                    bridges.make(route, row, self._alias)
            bridges.rejoin(
                route,
                self.members.all(),
                lambda container_id: bool(self.ports.of(container_id)),
            )
        bridges.forward(ipv6=any(row.subnet(6) for row in self._rows.values()))

    def _bridges(self) -> Sequence[str]:
        return [row.bridge for row in self._rows.values() if row.bridge]

    async def close(self, *, remove: bool) -> None:
        """`remove`: nothing runs and nothing is to stay: table, foreign rules and bridges go."""
        await self._watch.close()
        self.resolver.close()
        if remove:
            await asyncio.to_thread(self._remove_all)
            await self.ports.end()

    def _remove_all(self) -> None:
        firewall.remove(self.table)
        firewall.pass_foreign_drops(self.table, [])
        for name in self._bridges():
            bridges.delete_own(name, self._alias)

    # Networks

    def list(self) -> Sequence[Network]:
        return sorted(self._rows.values(), key=lambda row: row.created_ns)

    def resolve(self, text: str) -> Network:
        """By id, by name, or by a beginning of the id. Raises NotFound, InvalidArgument."""
        if text == "default":
            text = "bridge"
        if text in self._rows:
            return self._rows[text]
        for row in self._rows.values():
            if row.name == text:
                return row
        found = [row for row in self._rows.values() if row.id.startswith(text)] if text else []
        if len(found) > 1:
            raise InvalidArgument(f"network {text} is ambiguous ({len(found)} matches found on ID prefix)")
        if not found:
            raise NotFound(f"network {text} not found")
        return found[0]

    async def create(
        self,
        name: str,
        *,
        driver: str = "bridge",
        ipam: Sequence[IpamConfig] = (),
        internal: bool = False,
        attachable: bool = False,
        ipv6: bool = False,
        options: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
    ) -> Network:
        """Raises Conflict for a name that is taken, InvalidArgument, Forbidden for a subnet that overlaps."""
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"invalid network name: {name!r}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed")
        if name in PREDEFINED:
            raise Forbidden(f"operation is not permitted on predefined {name} network ")
        if driver not in ("", "bridge", "default"):
            raise NotFound(f'plugin "{driver}" not found')
        async with self._lock:
            if any(row.name == name for row in self._rows.values()):
                raise Conflict(f"network with name {name} already exists")
            bridge = (options or {}).get(BRIDGE_NAME)
            other = next((row for row in self._rows.values() if bridge and row.bridge == bridge), None)
            if other is not None:
                raise Forbidden(f"conflicts with network {other.id} ({bridge}): networks have same bridge name")
            with netlink.Route() as route:
                taken, mtu = self._used(route), self._usual_mtu(route)
            row = plan(name, ipam, options or {}, taken=taken, pools=self._pools, mtu=mtu, ipv6=ipv6)
            row = msgspec.structs.replace(row, internal=internal, attachable=attachable, labels=labels or {})
            try:
                await asyncio.to_thread(self._make, row)
            except OSError as error:
                await asyncio.to_thread(bridges.delete_own, row.bridge, self._alias)
                raise OnggiError(f"failed to create network {name}: {error.strerror}") from error
            await self._database.commit(Put(TABLE, row.id, row))
            self._rows[row.id] = row
            self.members.admit_to(row)
            await self.write_table()
            return row

    def _make(self, row: Network) -> None:
        with netlink.Route() as route:
            bridges.make(route, row, self._alias)
        bridges.forward(ipv6=bool(row.subnet(6)))

    async def remove(self, text: str) -> Network:
        """Raises NotFound, Forbidden while it has endpoints or when it is predefined."""
        async with self._lock:
            row = self.resolve(text)
            if row.predefined:
                raise Forbidden(f"{row.name} is a pre-defined network and cannot be removed")
            active = self.members.within(row.id)
            if active:
                told = ", ".join(f'name:"{(e.names or [e.container_id[:12]])[0]}" id:"{e.id[:12]}"' for e in active)
                raise Forbidden(f"error while removing network: network {row.name} has active endpoints ({told})")
            await self._database.commit(Delete(TABLE, row.id))
            del self._rows[row.id]
            self.members.close(row.id)
            await self.write_table()
            await asyncio.to_thread(bridges.delete_own, row.bridge, self._alias)
            return row

    # Reaching containers

    def _address6_of(self, container_id: str) -> str:
        """By which a container is reached from outside; empty without one."""
        return next((e.address6 for e in self.members.of(container_id).values() if e.address6 and not e.internal), "")

    def _binding_of(self, container_id: str) -> str:
        """Where its ports are published when nobody says so: an option of its first network."""
        for network_id in self.members.of(container_id):
            address = self._rows[network_id].options.get("com.docker.network.bridge.host_binding_ipv4", "")
            if address:
                return "" if address == "0.0.0.0" else address
        return ""

    async def connect_running(self, endpoint: Endpoint, pid: int, name: str, *, default_route: bool = True) -> None:
        """`docker network connect`: the link comes into a network namespace that is in use. Raises OnggiError.

        `default_route`: it leads out, unless another network does already. Names are answered from now on.
        """
        if not endpoint.bridge:
            raise InvalidArgument(
                "cannot connect container to host network - container must be created in host network mode"
                if self._rows[endpoint.network_id].driver == "host"
                else "container cannot be connected to multiple networks with one of the networks in private (none) mode"
            )
        link = endpoint.link(name, default_route=default_route, hairpin=bool(self.ports.of(endpoint.container_id)))
        try:
            await asyncio.to_thread(bridges.connect, link, pid)
            await self.ensure_names(endpoint.container_id, pid)
        except OSError as error:
            await self._delete_link(endpoint)
            raise OnggiError(f"failed to connect to network: {error.strerror}") from error

    async def disconnect_running(self, endpoint: Endpoint, pid: int = 0) -> None:
        """The link goes; another network of process `pid` leads out now, if this one did."""
        if not endpoint.host_name:
            return
        others = [e for e in self.members.of(endpoint.container_id).values() if e.id != endpoint.id and not e.internal]
        gateways = [(e.gateway4, e.gateway6) for e in others]
        await self._delete_link(endpoint)
        await asyncio.to_thread(bridges.replace_gateway, pid, gateways)

    async def _delete_link(self, endpoint: Endpoint) -> None:
        """Its addresses go to others: a link that can't be deleted now is, as soon as it can be (K-11)."""
        try:
            await asyncio.to_thread(bridges.delete, endpoint.host_name)
        except OSError as error:
            log.warning("link %s of a container is not deleted yet: %s", endpoint.host_name, error.strerror)
            self._undeleted.add(endpoint.host_name)
            self._look_again()

    # Names

    async def serve_names(self, container_id: str, fds: Sequence[int]) -> None:
        await self.resolver.serve(container_id, fds)

    async def ensure_names(self, container_id: str, pid: int) -> None:
        """A container that has come into a user-defined network, or whose sockets were lost, gets new ones. Raises OSError."""
        wanted = any(self._rows[one].is_user_defined for one in self.members.of(container_id) if one in self._rows)
        if wanted and not self.resolver.is_served(container_id):
            await self.resolver.serve(container_id, await asyncio.to_thread(bridges.name_sockets, pid))

    def forget_names(self, container_id: str) -> None:
        self.resolver.forget(container_id)

    def _lookup(self, container_id: str, name: str) -> Sequence[str] | None:
        """Addresses of `name` in the networks of the container that asks; several containers may have one alias."""
        found: list[str] = []
        known = False
        for network_id in self.members.of(container_id):
            network = self._rows.get(network_id)
            if network is None or not network.is_user_defined:
                continue
            bare = name.removesuffix(f".{network.name.lower()}")
            for endpoint in self.members.within(network_id):
                if any(bare == alias.lower() for alias in endpoint.names):
                    known = True
                    found += [address for address in (endpoint.address4, endpoint.address6) if address]
        return found if known else None

    def _reverse(self, container_id: str, address: str) -> str | None:
        for network_id in self.members.of(container_id):
            for endpoint in self.members.within(network_id):
                if endpoint.address4 == address and endpoint.names:
                    return f"{endpoint.names[0]}.{self._rows[network_id].name}"
        return None

    def _may_forward(self, container_id: str) -> bool:
        return any(not endpoint.internal for endpoint in self.members.of(container_id).values())

    def host_gateway(self) -> str:
        """The host's address as seen from containers: the default bridge's."""
        for row in self._rows.values():
            if row.name == "bridge" and row.ipam:
                return row.ipam[0].gateway
        return ""
