"""The networks of an engine, and the endpoints of its containers in them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import re
import time
from collections.abc import Callable, Sequence

import msgspec

from onggi.errors import Conflict, Forbidden, InvalidArgument, NotFound, OnggiError
from onggi.kernel import netlink, nftables
from onggi.kernel.namespaces import NamespaceKind, open_of
from onggi.network import firewall
from onggi.network.addresses import Addresses, Pools, check_subnet
from onggi.network.ports import Ports
from onggi.network.records import TABLE, Endpoint, EndpointRequest, IpamConfig, Network, mac_of, new_id, option
from onggi.network.resolver import Resolver
from onggi.store.database import Database, Delete, Put

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", re.ASCII)
PREDEFINED = ("bridge", "host", "none")


class Networks:
    """See the room. Networks are rows; endpoints live in memory, told anew by the engine at its start."""

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
    ) -> None:
        self._database, self._tag, self._bridge, self._bip, self._mtu = database, tag, bridge, bip, mtu
        self._pools = pools or Pools()
        self.table = f"onggi-{tag}"
        self._rows: dict[str, Network] = {}
        self._addresses: dict[str, list[Addresses]] = {}
        self._endpoints: dict[str, dict[str, Endpoint]] = {}
        self.ports = Ports(self.table)
        self.resolver = Resolver(self._lookup, self._reverse, self._may_forward, upstream)
        self._lock = asyncio.Lock()

    # Restoring

    async def restore(self) -> None:
        """Reads the rows and makes the kernel as they say: bridges, their addresses, the firewall table."""
        self._rows = {row.id: row for row in self._database.load(TABLE).values()}
        with netlink.Route() as route:
            mtu = self._mtu or min(route.default_mtu() or 1500, 1500)
            missing = [name for name in PREDEFINED if not any(row.name == name for row in self._rows.values())]
            made = [self._predefined(name, route, mtu) for name in missing]
            if made:
                await self._database.commit(*[Put(TABLE, row.id, row) for row in made])
                self._rows |= {row.id: row for row in made}
            for row in self._rows.values():
                self._addresses[row.id] = [_addresses_of(config) for config in row.ipam]
                if row.bridge:
                    self._make_bridge(route, row)
        _write_sysctl("net/ipv4/ip_forward", "1")
        await self.write_table()

    def _predefined(self, name: str, route: netlink.Route, mtu: int) -> Network:
        driver = "null" if name == "none" else name
        if name != "bridge":
            return Network(new_id(), name, driver, time.time_ns(), predefined=True)
        if self._bip:
            interface = ipaddress.ip_interface(self._bip)
            ipam = IpamConfig(str(interface.network), str(interface.ip))
        else:
            subnet = self._pools.choose(self._used(route))
            ipam = IpamConfig(subnet, str(next(ipaddress.ip_network(subnet).hosts())))
        options = {
            "com.docker.network.bridge.default_bridge": "true", "com.docker.network.bridge.enable_icc": "true",
            "com.docker.network.bridge.enable_ip_masquerade": "true", "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
            "com.docker.network.bridge.name": self._bridge, "com.docker.network.driver.mtu": str(mtu),
        }  # fmt: skip
        return Network(
            new_id(), name, driver, time.time_ns(), self._bridge, [ipam], options=options, predefined=True, mtu=mtu
        )

    def _make_bridge(self, route: netlink.Route, row: Network) -> None:
        """The link with its gateway addresses, up. What is there already is taken over."""
        try:
            route.add_bridge(row.bridge, alias=f"onggi-{self._tag}", mtu=row.mtu)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
        have = set(route.addresses(row.bridge))
        for config in row.ipam:
            network = ipaddress.ip_network(config.subnet)
            address = f"{config.gateway}/{network.prefixlen}"
            if address not in have:
                route.add_address(row.bridge, address)
        route.set_up(row.bridge)
        # For 127.0.0.1:PORT of the host; packets with such an address from outside are dropped in chain raw (S-60).
        _write_sysctl(f"net/ipv4/conf/{row.bridge}/route_localnet", "1")
        _write_sysctl(f"net/ipv6/conf/{row.bridge}/accept_ra", "0")

    def _used(self, route: netlink.Route) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        ours = [ipaddress.ip_network(config.subnet) for row in self._rows.values() for config in row.ipam]
        return ours + [ipaddress.ip_network(text, strict=False) for text in route.routes()]

    async def write_table(self) -> None:
        """The whole nft table, from what must hold now; and our pass through other programs' dropping chains."""
        rules = [
            firewall.BridgeRules(
                row.bridge,
                next((config.subnet for config in row.ipam if ":" not in config.subnet), ""),
                internal=row.internal,
                icc=option(row.options, "com.docker.network.bridge.enable_icc", default=True),
                masquerade=option(row.options, "com.docker.network.bridge.enable_ip_masquerade", default=True),
            )
            for row in self._rows.values() if row.bridge
        ]  # fmt: skip
        text = firewall.table_text(self.table, rules, self.ports.forwards())
        await asyncio.to_thread(self._apply_all, text, [rule.bridge for rule in rules])

    def _apply_all(self, text: str, bridges: Sequence[str]) -> None:
        nftables.apply(text)
        self._pass_foreign_drops(bridges)

    def _pass_foreign_drops(self, bridges: Sequence[str]) -> None:
        for family, table, chain in firewall.foreign_forward_drops():
            self._remove_foreign(family, table, chain)
            lines = [
                f'insert rule {family} {table} {chain} {side} "{bridge}" accept comment "{self.table}"'
                for bridge in bridges for side in ("iifname", "oifname")
            ]  # fmt: skip
            nftables.apply("\n".join(lines))

    def _remove_foreign(self, family: str, table: str, chain: str) -> None:
        """Takes our rules out of another's chain, and nothing else."""
        for item in nftables.query(f"list chain {family} {table} {chain}"):
            rule = item.get("rule")
            if isinstance(rule, dict) and rule.get("comment") == self.table:
                nftables.apply(f"delete rule {family} {table} {chain} handle {rule['handle']}")

    async def is_whole(self) -> bool:
        """Whether table and bridges are there; somebody may have flushed or deleted them."""

        def look() -> bool:
            with netlink.Route() as route:
                links = {link.name for link in route.links()}
            return firewall.exists(self.table) and all(row.bridge in links for row in self._rows.values() if row.bridge)

        return await asyncio.to_thread(look)

    async def close(self, *, remove: bool) -> None:
        """`remove`: nothing runs and nothing is to stay: table, foreign rules and bridges go."""
        self.resolver.close()
        if remove:
            await asyncio.to_thread(self._remove_all)

    def _remove_all(self) -> None:
        firewall.remove(self.table)
        for family, table, chain in firewall.foreign_forward_drops():
            self._remove_foreign(family, table, chain)
        with netlink.Route() as route:
            for row in self._rows.values():
                if row.bridge:
                    with contextlib.suppress(OSError):
                        route.delete(row.bridge)

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
            raise NotFound(f'could not find a network driver with name "{driver}": plugin "{driver}" not found')
        async with self._lock:
            if any(row.name == name for row in self._rows.values()):
                raise Conflict(f"network with name {name} already exists")
            row = await asyncio.to_thread(self._plan, name, list(ipam), options or {}, ipv6=ipv6)
            row = msgspec.structs.replace(row, internal=internal, attachable=attachable, labels=labels or {})
            try:
                await asyncio.to_thread(self._make, row)
            except OSError as error:
                raise OnggiError(f"failed to create network {name}: {error.strerror}") from error
            await self._database.commit(Put(TABLE, row.id, row))
            self._rows[row.id] = row
            self._addresses[row.id] = [_addresses_of(config) for config in row.ipam]
            await self.write_table()
            return row

    def _plan(self, name: str, ipam: Sequence[IpamConfig], options: dict[str, str], *, ipv6: bool) -> Network:
        identifier = new_id()
        with netlink.Route() as route:
            taken = self._used(route)
            mtu = (
                int(options.get("com.docker.network.driver.mtu", 0))
                or self._mtu
                or min(route.default_mtu() or 1500, 1500)
            )
        configs = []
        for config in ipam:
            if not config.subnet:
                continue
            subnet = check_subnet(config.subnet, taken if ":" not in config.subnet else [])
            gateway = config.gateway or str(next(subnet.hosts()))
            if ipaddress.ip_address(gateway) not in subnet:
                raise InvalidArgument(f"invalid network config:\ninvalid gateway {gateway}: parent subnet is {subnet}")
            configs.append(IpamConfig(str(subnet), gateway, config.ip_range, config.auxiliary))
        if not any(":" not in config.subnet for config in configs):
            subnet_text = self._pools.choose(taken)
            configs.insert(0, IpamConfig(subnet_text, str(next(ipaddress.ip_network(subnet_text).hosts()))))
        if ipv6 and not any(":" in config.subnet for config in configs):
            # A unique local prefix of the network's own (RFC 4193): 40 random bits and a subnet of zero.
            prefix = int(identifier[:10], 16)
            subnet6 = ipaddress.IPv6Network((0xFD << 120 | prefix << 80, 64))
            configs.append(IpamConfig(str(subnet6), str(next(subnet6.hosts()))))
        bridge = options.get("com.docker.network.bridge.name") or f"br-{identifier[:12]}"
        return Network(identifier, name, "bridge", time.time_ns(), bridge, configs, ipv6=ipv6, options=options, mtu=mtu)

    def _make(self, row: Network) -> None:
        with netlink.Route() as route:
            self._make_bridge(route, row)

    async def remove(self, text: str) -> Network:
        """Raises NotFound, Forbidden while it has endpoints or when it is predefined."""
        async with self._lock:
            row = self.resolve(text)
            if row.predefined:
                raise Forbidden(f"{row.name} is a pre-defined network and cannot be removed")
            active = self.endpoints_in(row.id)
            if active:
                raise Forbidden(f"error while removing network: network {row.name} has active endpoints")
            await self._database.commit(Delete(TABLE, row.id))
            del self._rows[row.id]
            self._addresses.pop(row.id, None)
            await self.write_table()
            await asyncio.to_thread(_delete_link, row.bridge)
            return row

    # Endpoints

    def attach(
        self, container_id: str, network: Network, request: EndpointRequest, *, endpoint_id: str = ""
    ) -> Endpoint:
        """An endpoint with its addresses, in memory. Raises InvalidArgument, Forbidden, Conflict; nothing is taken then."""
        mine = self._endpoints.setdefault(container_id, {})
        identifier = endpoint_id or new_id()
        if network.driver != "bridge":
            mine[network.id] = Endpoint(identifier, network.id, container_id, names=request.names)
            return mine[network.id]
        taken: list[tuple[Addresses, str]] = []
        try:
            for addresses in self._addresses[network.id]:
                wanted = request.ipv4 if addresses.subnet.version == 4 else request.ipv6
                taken.append((addresses, addresses.take(wanted)))
        except OnggiError:
            for addresses, address in taken:
                addresses.give_back(address)
            raise
        v4 = next(((a.gateway, t) for a, t in taken if a.subnet.version == 4), ("", ""))
        v6 = next(((a.gateway, t) for a, t in taken if a.subnet.version == 6), ("", ""))
        mine[network.id] = Endpoint(
            identifier, network.id, container_id, request.mac or mac_of(v4[1].partition("/")[0]), v4[1], v6[1], v4[0], v6[0],
            request.names, network.bridge, f"og{self._tag[:3]}{identifier[:9]}", network.mtu, network.internal,
        )  # fmt: skip
        return mine[network.id]

    def rename(self, container_id: str, network_id: str, names: Sequence[str]) -> None:
        """The names that the endpoint answers to from now on."""
        endpoint = self._endpoints.get(container_id, {}).get(network_id)
        if endpoint is not None:
            self._endpoints[container_id][network_id] = msgspec.structs.replace(endpoint, names=[*names])

    def detach(self, container_id: str, network_id: str) -> None:
        """The endpoint's addresses are free again. What isn't there is fine."""
        mine = self._endpoints.get(container_id, {})
        endpoint = mine.pop(network_id, None)
        if not mine:
            self._endpoints.pop(container_id, None)
        if endpoint is None or network_id not in self._addresses:
            return
        for addresses in self._addresses[network_id]:
            address = endpoint.ipv4 if addresses.subnet.version == 4 else endpoint.ipv6
            if address:
                addresses.give_back(address)

    def endpoints(self, container_id: str) -> dict[str, Endpoint]:
        """By network id."""
        return self._endpoints.get(container_id, {})

    def endpoints_in(self, network_id: str) -> Sequence[Endpoint]:
        return [mine[network_id] for mine in self._endpoints.values() if network_id in mine]

    async def connect_running(self, endpoint: Endpoint, pid: int, name: str, *, default_route: bool) -> None:
        """`docker network connect`: the link comes into a network namespace that is in use. Raises OnggiError."""
        link = endpoint.link(name, default_route=default_route)

        def connect() -> None:
            with open_of(pid, NamespaceKind.NETWORK) as namespace:
                with netlink.Route() as route:
                    route.add_veth(
                        link.host_name,
                        bridge=link.bridge,
                        peer=name,
                        peer_mac=link.mac,
                        mtu=link.mtu,
                        peer_ns=namespace.fileno(),
                    )
                with netlink.Route(namespace.fileno()) as inside:
                    for address in link.addresses:
                        inside.add_address(name, address)
                    inside.set_up(name)
                    if link.gateway4:
                        with contextlib.suppress(FileExistsError):
                            inside.add_route("0.0.0.0/0", gateway=link.gateway4, link=name)

        try:
            await asyncio.to_thread(connect)
        except OSError as error:
            await asyncio.to_thread(_delete_link, link.host_name)
            raise OnggiError(f"failed to connect to network: {error.strerror}") from error

    async def disconnect_running(self, endpoint: Endpoint) -> None:
        """The link goes; its other end goes with it."""
        if endpoint.host_name:
            await asyncio.to_thread(_delete_link, endpoint.host_name)

    # Names

    async def serve_names(self, container_id: str, fds: Sequence[int]) -> None:
        await self.resolver.serve(container_id, fds)

    def forget_names(self, container_id: str) -> None:
        self.resolver.forget(container_id)

    def _lookup(self, container_id: str, name: str) -> Sequence[str] | None:
        """Addresses of `name` in the networks of the container that asks; several containers may have one alias."""
        found: list[str] = []
        known = False
        for network_id in self.endpoints(container_id):
            network = self._rows.get(network_id)
            if network is None or not network.is_user_defined:
                continue
            bare = name.removesuffix(f".{network.name.lower()}")
            for endpoint in self.endpoints_in(network_id):
                if any(bare == alias.lower() for alias in endpoint.names):
                    known = True
                    found += [address for address in (endpoint.address4, endpoint.address6) if address]
        return found if known else None

    def _reverse(self, container_id: str, address: str) -> str | None:
        for network_id in self.endpoints(container_id):
            for endpoint in self.endpoints_in(network_id):
                if endpoint.address4 == address and endpoint.names:
                    return f"{endpoint.names[0]}.{self._rows[network_id].name}"
        return None

    def _may_forward(self, container_id: str) -> bool:
        return any(not endpoint.internal for endpoint in self.endpoints(container_id).values())

    def host_gateway(self) -> str:
        """The host's address as seen from containers: the default bridge's."""
        for row in self._rows.values():
            if row.name == "bridge" and row.ipam:
                return row.ipam[0].gateway
        return ""


def _addresses_of(config: IpamConfig) -> Addresses:
    return Addresses(
        config.subnet, gateway=config.gateway, ip_range=config.ip_range, reserved=config.auxiliary.values()
    )


def _delete_link(name: str) -> None:
    with netlink.Route() as route, contextlib.suppress(OSError):
        route.delete(name)


def _write_sysctl(path: str, value: str) -> None:
    """What the kernel doesn't have (IPv6 switched off) is left; a value that stands already is not written."""
    full = f"/proc/sys/{path}"
    with contextlib.suppress(FileNotFoundError):
        with open(full, encoding="ascii") as file:
            if file.read().strip() == value:
                return
        fd = os.open(full, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
