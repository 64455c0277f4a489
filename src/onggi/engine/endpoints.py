"""A container's place in its networks: docker's EndpointSettings on one side, network's endpoints on the other."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec

from onggi.engine import links
from onggi.engine.config import EndpointSettings, PortBinding
from onggi.engine.container import TABLE, Container, PublishedPort
from onggi.engine.tasks import logged
from onggi.errors import Conflict, Forbidden, InvalidArgument, NotFound, OnggiError
from onggi.network import Endpoint, EndpointRequest, Network, PortRequest, Published, mac_of
from onggi.runtime.plan import LinkPlan
from onggi.store.database import Put

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from onggi.engine.engine import Engine


class Endpoints:
    """Attaches containers to networks and takes them away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def names(self, container: Container, settings: EndpointSettings) -> list[str]:
        """What the container answers to in a network: its name, its short id, its aliases, its host name."""
        found = [container.name, *(settings.aliases or ()), container.id[:12]]
        if container.row.config.hostname:
            found.append(container.row.config.hostname)
        return list(dict.fromkeys(found))

    def attach_all(self, container: Container) -> tuple[list[LinkPlan], dict[str, EndpointSettings], bool]:
        """Links for the start, the settings with what was given, whether names are answered. Raises; nothing is taken then."""
        links: list[LinkPlan] = []
        filled: dict[str, EndpointSettings] = {}
        user_defined = False
        ordered = sorted(container.row.endpoints.items(), key=lambda item: -item[1].gw_priority)
        try:
            for name, settings in ordered:
                network = self.network_of(name, settings)
                if network.driver == "host" and container.row.host_config.network_mode != "host":
                    raise InvalidArgument(
                        "failed to set up container networking: cannot connect container to host network - "
                        "container must be created in host network mode"
                    )
                endpoint = self._attach(container, network, settings)
                user_defined |= network.is_user_defined
                filled[name] = told(
                    settings,
                    network,
                    endpoint,
                    names=self.names(container, settings) if network.is_user_defined else None,
                )
                if network.driver == "bridge":
                    links.append(
                        endpoint.link(
                            f"eth{len(links)}",
                            default_route=not links or not any(link.gateway4 for link in links),
                            hairpin=bool(bindings_of(container)),
                        )
                    )
        except OnggiError:
            self.detach_all(container)
            raise
        return links, filled, user_defined

    def network_of(self, name: str, settings: EndpointSettings) -> Network:
        """By the id that it had when the container was made, or by its name: it may have been removed and made again."""
        networks = self._engine.networks
        if settings.network_id:
            with contextlib.suppress(NotFound):
                return networks.resolve(settings.network_id)
        try:
            return networks.resolve(name)
        except NotFound as error:
            raise NotFound(f"failed to set up container networking: {error}") from None

    def _attach(self, container: Container, network: Network, settings: EndpointSettings) -> Endpoint:
        ipam = settings.ipam_config
        request = EndpointRequest(
            ipv4=ipam.ipv4_address if ipam else "",
            ipv6=ipam.ipv6_address if ipam else "",
            mac=settings.mac_address if ipam is not None or not settings.endpoint_id else "",
            names=self.names(container, settings) if network.is_user_defined else [],
        )
        if request.ipv4 and not network.is_user_defined:
            raise InvalidArgument(
                f"invalid config for network {network.name}: invalid endpoint settings:\n"
                "user specified IP address is supported on user defined networks only"
            )
        return self._engine.networks.members.attach(container.id, network, request)

    def detach_all(self, container: Container) -> dict[str, EndpointSettings]:
        """Addresses go back; the settings as they were asked for."""
        engine = self._engine
        for network_id in list(engine.networks.members.of(container.id)):
            engine.networks.members.detach(container.id, network_id)
        return {name: asked(settings) for name, settings in container.row.endpoints.items()}

    def networks_of(self, container: Container) -> Sequence[tuple[str, Network]]:
        """Networks that still exist, by the names the container knows them by."""
        found = []
        for name, settings in container.row.endpoints.items():
            try:
                found.append((name, self.network_of(name, settings)))
            except OnggiError:
                continue
        return found

    def links_of(self, container: Container) -> list[tuple[str, str]]:
        """--link: (address, names) lines for the hosts file. Raises Conflict for one that doesn't run, in docker's words."""
        own = container.row.host_config.links or []
        words = [*own, *(word for settings in container.row.endpoints.values() for word in settings.links or ())]
        found = []
        for word in words:
            name, alias = links.parse(word)
            other = self._engine.containers.find(name)
            if other is None:
                continue  # removed since: the link went with it
            if not other.is_alive:
                raise Conflict(f"Cannot link to a non running container: /{other.name} AS /{container.name}/{alias}")
            address = self._address_for(other, container)
            if address:
                names = [alias, other.row.config.hostname or other.id[:12], other.name]
                found.append((address, " ".join(dict.fromkeys(names))))
        return found

    def _address_for(self, other: Container, container: Container) -> str:
        """Of `other`, in a network that both are in if there is one."""
        ours = self._engine.networks.members.of(container.id)
        theirs = self._engine.networks.members.of(other.id)
        ordered = sorted(theirs.items(), key=lambda item: item[0] not in ours)
        return next((endpoint.address4 for _, endpoint in ordered if endpoint.ipv4), "")

    async def connect(self, container: Container, network: Network, settings: EndpointSettings) -> None:
        """`docker network connect`. Raises Forbidden when it is there already, InvalidArgument, Conflict."""
        engine = self._engine
        mode = container.row.host_config.network_mode
        if mode == "host" or mode.startswith("container:"):
            kind = "host" if mode == "host" else "another container's"
            raise InvalidArgument(
                f"container cannot be connected to a network while it shares {kind} network namespace"
            )
        async with container.lock:
            if any(s.network_id == network.id or n == network.name for n, s in container.row.endpoints.items()):
                raise Forbidden(f"endpoint with name {container.name} already exists in network {network.name}")
            if not container.is_alive:
                filled = msgspec.structs.replace(settings, network_id=network.id)
            else:
                endpoint = self._attach(container, network, settings)
                position = len([e for e in engine.networks.members.of(container.id).values() if e.host_name]) - 1
                try:
                    await engine.networks.connect_running(endpoint, container.row.pid, f"eth{position}")
                except OnggiError:
                    engine.networks.members.detach(container.id, network.id)
                    raise
                filled = told(
                    settings,
                    network,
                    endpoint,
                    names=self.names(container, settings) if network.is_user_defined else None,
                )
                if network.is_user_defined:
                    engine.starts.preparation.use_names(container)
            container.change(endpoints=container.row.endpoints | {network.name: filled})
            await engine.database.commit(Put(TABLE, container.id, container.row))
        if container.is_alive:
            engine.events.emit(
                "network",
                "connect",
                network.id,
                {"container": container.id, "name": network.name, "type": network.driver},
            )

    async def disconnect(self, container: Container, network: Network, *, force: bool) -> None:
        """Raises Conflict when it isn't connected."""
        engine = self._engine
        async with container.lock:
            name = next(
                (n for n, s in container.row.endpoints.items() if s.network_id == network.id or n == network.name), None
            )
            if name is None:
                if force:
                    return
                raise Conflict(f"container {container.id} is not connected to the network {network.name}")
            endpoint = engine.networks.members.of(container.id).get(network.id)
            if endpoint is not None and container.is_alive:
                await engine.networks.disconnect_running(endpoint, container.row.pid)
            engine.networks.members.detach(container.id, network.id)
            container.change(endpoints={n: s for n, s in container.row.endpoints.items() if n != name})
            await engine.database.commit(Put(TABLE, container.id, container.row))
        if container.is_alive:
            engine.events.emit(
                "network",
                "disconnect",
                network.id,
                {"container": container.id, "name": network.name, "type": network.driver},
            )

    async def create_network(self, name: str, **words: Any) -> Network:
        """As Networks.create, and tells of it."""
        network = await self._engine.tasks.finish(
            self._engine.networks.create(name, **words), f"creation of network {name}"
        )
        self._engine.events.emit("network", "create", network.id, {"name": network.name, "type": network.driver})
        return network

    async def remove_network(self, text: str) -> None:
        """Raises NotFound, Forbidden while containers are in it."""
        network = await self._engine.tasks.finish(self._engine.networks.remove(text), f"removal of network {text}")
        self._engine.events.emit("network", "destroy", network.id, {"name": network.name, "type": network.driver})

    async def prune_networks(self, wanted: Callable[[Network], bool]) -> list[str]:
        """Removes networks that no container is in, running or not; their names."""
        used = {settings.network_id for one in self._engine.containers for settings in one.row.endpoints.values()}
        removed = []
        for network in self._engine.networks.list():
            if not network.predefined and network.id not in used and wanted(network):
                with logged(f"removal of network {network.name}"):
                    await self.remove_network(network.id)
                    removed.append(network.name)
        return removed

    def renamed(self, container: Container) -> None:
        """Names follow at once, running or not."""
        for name, settings in container.row.endpoints.items():
            if settings.network_id:
                self._engine.networks.members.rename(container.id, settings.network_id, self.names(container, settings))
                container.row.endpoints[name] = msgspec.structs.replace(
                    settings, dns_names=self.names(container, settings)
                )


def told(
    settings: EndpointSettings, network: Network, endpoint: Endpoint, *, names: list[str] | None
) -> EndpointSettings:
    """The settings with what the container got. An internal network's gateway is nobody's way out."""
    gateway4, gateway6 = ("", "") if endpoint.internal else (endpoint.gateway4, endpoint.gateway6)
    return msgspec.structs.replace(
        settings, network_id=network.id, endpoint_id=endpoint.id, gateway=gateway4, ip_address=endpoint.address4,
        ip_prefix_len=int(endpoint.ipv4.partition("/")[2] or 0), ipv6_gateway=gateway6, global_ipv6_address=endpoint.address6,
        global_ipv6_prefix_len=int(endpoint.ipv6.partition("/")[2] or 0), mac_address=endpoint.mac, dns_names=names,
    )  # fmt: skip


def asked(settings: EndpointSettings) -> EndpointSettings:
    """The settings without what only a running container has."""
    made_here = settings.ip_address and settings.mac_address == mac_of(settings.ip_address)
    return msgspec.structs.replace(
        settings, endpoint_id="", gateway="", ip_address="", ip_prefix_len=0, ipv6_gateway="", global_ipv6_address="",
        global_ipv6_prefix_len=0, mac_address="" if made_here else settings.mac_address,
    )  # fmt: skip


REPLACES = "onggi.replaces"
"""Label of a container that is to take another's place by hand: it may ask for the published ports of the one that has the
label's value for its name, and gets them when it takes that name (or when the other ends)."""


class Publishing:
    """Published ports of containers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def publish(self, container: Container) -> Sequence[socket.socket]:
        """Raises Conflict in docker's words."""
        requests = port_requests(bindings_of(container))
        address = next(
            (e.address4 for e in self._engine.networks.members.of(container.id).values() if e.ipv4 and not e.internal),
            "",
        )
        if not requests or not address:
            return []
        shared_with = container.row.replaces or self._replaced(container)
        try:
            found, sockets = await self._engine.networks.ports.publish(
                container.id, address, requests, shared_with=shared_with
            )
        except Conflict as error:
            raise Conflict(
                "failed to set up container networking: driver failed programming external connectivity on endpoint "
                f"{container.name} ({container.id}): {error}"
            ) from None
        container.change(published=[PublishedPort(one.protocol, one.port, one.host_ip, one.host_port) for one in found])
        return sockets

    def recorded(self, container: Container) -> Sequence[PublishedPort]:
        """As the row has them: for an engine that has just started."""
        return container.row.published

    def _replaced(self, container: Container) -> str:
        """By label, for clients that know nothing of deploys: the container whose ports this one is to take over."""
        name = (container.row.config.labels or {}).get(REPLACES, "")
        other = self._engine.containers.find(name) if name else None
        return other.id if other is not None else ""

    async def unpublish(self, container: Container) -> None:
        await self._engine.networks.ports.unpublish(container.id)

    def of(self, container: Container) -> Sequence[Published]:
        return self._engine.networks.ports.of(container.id)


def port_requests(bindings: dict[str, list[PortBinding] | None]) -> list[PortRequest]:
    """Raises InvalidArgument."""
    found = []
    for key, wanted in bindings.items():
        port, _, protocol = key.partition("/")
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise InvalidArgument(f'invalid port specification: "{key}"')
        found += [
            PortRequest(protocol or "tcp", int(port), binding.host_ip, binding.host_port) for binding in wanted or ()
        ]
    return found


def bindings_of(container: Container) -> dict[str, list[PortBinding] | None]:
    """PortBindings, and with -P a random port for each that is exposed."""
    host, config = container.row.host_config, container.row.config
    bindings: dict[str, list[PortBinding] | None] = dict(host.port_bindings or {})
    if host.publish_all_ports:
        for exposed in config.exposed_ports or {}:
            bindings.setdefault(exposed, [PortBinding()])
    return bindings
