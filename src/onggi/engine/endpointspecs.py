"""EndpointsConfig of a create body: which networks, and whether what is asked of each can be. Pure.

Source of rules and texts: moby daemon/container_operations.go, validateEndpointSettings and updateContainerNetworkSettings.
"""

from __future__ import annotations

import ipaddress
import re

from onggi.engine.config import EndpointIPAMConfig, EndpointSettings
from onggi.errors import InvalidArgument
from onggi.network import Network

PREDEFINED = frozenset({"default", "bridge", "host", "none"})
_MAC = re.compile(r"[0-9a-f]{2}([:-])[0-9a-f]{2}(\1[0-9a-f]{2}){4}", re.ASCII | re.IGNORECASE)
_SYSCTLS = "com.docker.network.endpoint.sysctls"
_SYSCTL = re.compile(r"net\.(ipv4|ipv6|mpls)\.[^.]+\.(IFNAME|ifname)\..+")


def wanted_networks(mode: str, endpoints: dict[str, EndpointSettings | None]) -> dict[str, EndpointSettings]:
    """Name → settings of the networks that a create body asks for, the mode's first. Raises InvalidArgument for a null."""
    if mode.startswith("container:"):
        return {}
    given: dict[str, EndpointSettings] = {}
    for name, settings in endpoints.items():
        if settings is None:
            raise InvalidArgument(f"invalid config for network {name}: EndpointsConfig is nil")
        given["bridge" if name == "default" else name] = settings
    first = "bridge" if mode in ("", "default") else mode
    if not given:
        return {first: EndpointSettings()}
    return {name: given[name] for name in sorted(given, key=lambda name: name != first)}


def check(name: str, settings: EndpointSettings, network: Network | None) -> None:
    """Raises InvalidArgument with everything that is wrong; `network` is None for one that isn't there yet."""
    if settings.mac_address and not _MAC.fullmatch(settings.mac_address):
        raise InvalidArgument(f"invalid config for network {name}: invalid MAC address {settings.mac_address}")
    problems = _problems(name, settings, network)
    if problems:
        text = problems[0] if len(problems) == 1 else "\n".join(f"* {problem}" for problem in problems)
        raise InvalidArgument(f"invalid config for network {name}: invalid endpoint settings:\n{text}")


def _problems(name: str, settings: EndpointSettings, network: Network | None) -> list[str]:
    ipam, found = settings.ipam_config or EndpointIPAMConfig(), []
    if name in PREDEFINED:
        if ipam.ipv4_address or ipam.ipv6_address:
            found.append("user specified IP address is supported on user defined networks only")
        if settings.aliases:
            found.append("network-scoped alias is supported only for containers in user defined networks")
    for text, version in ((ipam.ipv4_address, 4), (ipam.ipv6_address, 6)):
        if text and not _is_address(text, version):
            found.append(f"invalid IPv{version} address: {text}")
    found += [f"invalid link-local IP address: {text}" for text in ipam.link_local_ips if not _is_address(text, 0)]
    if network is not None:
        for text, version in ((ipam.ipv4_address, 4), (ipam.ipv6_address, 6)):
            found += _out_of_range(text, version, network)
    for sysctl in filter(None, (settings.driver_opts or {}).get(_SYSCTLS, "").split(",")):
        if not _SYSCTL.fullmatch(sysctl):
            found.append(
                f"unrecognised network interface sysctl '{sysctl}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', "
                "'X' must be 'ipv4', 'ipv6' or 'mpls'"
            )
    return found


def _is_address(text: str, version: int) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not address.is_unspecified and version in (0, address.version)


def _out_of_range(text: str, version: int, network: Network) -> list[str]:
    if not text:
        return []
    subnets = [config for config in network.ipam if (":" in config.subnet) == (version == 6)]
    if not subnets or (all(config.from_pool for config in subnets) and not network.predefined):
        return ["user specified IP address is supported only when connecting to networks with user configured subnets"]
    if _is_address(text, version) and any(
        ipaddress.ip_address(text) in ipaddress.ip_network(config.subnet) for config in subnets
    ):
        return []
    return [f"no configured subnet or ip-range contain the IP address {text}"]
