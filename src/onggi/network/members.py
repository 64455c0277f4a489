"""Who is in which network: endpoints with their addresses and names, in memory. The engine tells of them anew at its start."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from onggi.errors import InvalidArgument, OnggiError
from onggi.network.addresses import Addresses
from onggi.network.records import Endpoint, EndpointRequest, IpamConfig, Network, mac_of, new_id


class Members:
    """Endpoints of all networks. `tag` names the host's ends of their links."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._addresses: dict[str, list[Addresses]] = {}
        self._endpoints: dict[str, dict[str, Endpoint]] = {}

    def admit_to(self, network: Network) -> None:
        """Its addresses are handed out from now on."""
        self._addresses[network.id] = [_addresses_of(config) for config in network.ipam]

    def close(self, network_id: str) -> None:
        """The network has gone."""
        self._addresses.pop(network_id, None)

    def attach(
        self, container_id: str, network: Network, request: EndpointRequest, *, endpoint_id: str = ""
    ) -> Endpoint:
        """An endpoint with its addresses, in memory. Raises InvalidArgument, Forbidden, Conflict; nothing is taken then."""
        mine = self._endpoints.setdefault(container_id, {})
        identifier = endpoint_id or new_id()
        if network.driver != "bridge":
            mine[network.id] = Endpoint(identifier, network.id, container_id, names=request.names)
            return mine[network.id]
        # An endpoint that has an id was there before: it has its address from us.
        if not endpoint_id:
            _check_wanted(network, request)
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
            isolated=not network.icc,
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

    def of(self, container_id: str) -> dict[str, Endpoint]:
        """A container's endpoints, by network id."""
        return self._endpoints.get(container_id, {})

    def within(self, network_id: str) -> Sequence[Endpoint]:
        return [mine[network_id] for mine in self._endpoints.values() if network_id in mine]

    def usage(self, network_id: str) -> dict[str, tuple[int, int]]:
        """Of each subnet: addresses in use, addresses that are still to be had."""
        return {str(addresses.subnet): addresses.usage() for addresses in self._addresses.get(network_id, ())}

    def all(self) -> Sequence[Endpoint]:
        return [endpoint for mine in list(self._endpoints.values()) for endpoint in list(mine.values())]


def _check_wanted(network: Network, request: EndpointRequest) -> None:
    """An address can be asked for where the subnet was: one from a pool may be another at the next time. Raises InvalidArgument."""
    for wanted, version in ((request.ipv4, 4), (request.ipv6, 6)):
        config = next((one for one in network.ipam if (":" in one.subnet) == (version == 6)), None)
        if wanted and (config is None or config.from_pool):
            raise InvalidArgument(
                "invalid endpoint settings:\n"
                "user specified IP address is supported only when connecting to networks with user configured subnets"
            )


def _addresses_of(config: IpamConfig) -> Addresses:
    return Addresses(
        config.subnet, gateway=config.gateway, ip_range=config.ip_range, reserved=config.auxiliary.values()
    )
