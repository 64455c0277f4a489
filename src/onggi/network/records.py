"""What is known of networks and endpoints. Pure data."""

from __future__ import annotations

import secrets

import msgspec

from onggi.network.options import option
from onggi.runtime.plan import LinkPlan
from onggi.store.database import Table


class IpamConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """One subnet of a network, in CIDR; the gateway is the bridge's own address. `from_pool`: nobody asked for this one."""

    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    auxiliary: dict[str, str] = {}
    from_pool: bool = False


class Network(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row. `bridge` is the link's name, empty for host and none."""

    id: str
    name: str
    driver: str
    created_ns: int
    bridge: str = ""
    ipam: list[IpamConfig] = []
    internal: bool = False
    attachable: bool = False
    ipv6: bool = False
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    predefined: bool = False
    mtu: int = 1500

    def subnet(self, version: int) -> str:
        """The first one of IP version 4 or 6; empty when there is none."""
        return next((config.subnet for config in self.ipam if (":" in config.subnet) == (version == 6)), "")

    @property
    def icc(self) -> bool:
        """Whether its containers may talk with each other."""
        return option(self.options, "com.docker.network.bridge.enable_icc", default=True)

    @property
    def is_user_defined(self) -> bool:
        """Names are answered there, and only there."""
        return self.driver == "bridge" and not self.predefined


TABLE = Table("networks", Network)


class EndpointRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a container asks for in a network. `names` are those it answers to there beside its own."""

    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    names: list[str] = []
    gateway_priority: int = 0


class Endpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A container in a network. Addresses in CIDR, empty where there are none."""

    id: str
    network_id: str
    container_id: str
    mac: str = ""
    ipv4: str = ""
    ipv6: str = ""
    gateway4: str = ""
    gateway6: str = ""
    names: list[str] = []
    bridge: str = ""
    host_name: str = ""
    mtu: int = 1500
    internal: bool = False
    isolated: bool = False

    @property
    def address4(self) -> str:
        return self.ipv4.partition("/")[0]

    @property
    def address6(self) -> str:
        return self.ipv6.partition("/")[0]

    def link(self, name: str, *, default_route: bool, hairpin: bool = False) -> LinkPlan:
        """What the shim makes of it. An internal network has no way out; `hairpin` for a container that publishes ports."""
        out = default_route and not self.internal
        return LinkPlan(
            host_name=self.host_name, bridge=self.bridge, name=name, mac=self.mac,
            addresses=[address for address in (self.ipv4, self.ipv6) if address],
            gateway4=self.gateway4 if out else "", gateway6=self.gateway6 if out else "", mtu=self.mtu,
            isolated=self.isolated, hairpin=hairpin,
        )  # fmt: skip


def new_id() -> str:
    return secrets.token_hex(32)


def mac_of(address: str) -> str:
    """A locally administered address that belongs to an IPv4 address: 02:42 and its bytes, as docker's were for years.

    The same address gives the same MAC, so neighbours' caches stay right when a container is replaced.
    """
    return "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))
