"""Rows of networks that are to be made: what is asked for, checked and completed. Pure."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable, Sequence

import msgspec

from onggi.errors import InvalidArgument
from onggi.network.addresses import Net, Pools, check_config, settle_config
from onggi.network.options import BRIDGE_NAME, MTU, check_options
from onggi.network.records import IpamConfig, Network, new_id

PREDEFINED = ("bridge", "host", "none")


def plan(
    name: str, ipam: Iterable[IpamConfig], options: dict[str, str], *, taken: Sequence[Net], pools: Pools, mtu: int, ipv6: bool
) -> Network:  # fmt: skip
    """A bridge network. Raises InvalidArgument with all that is wrong, Forbidden, Conflict for subnets that aren't free."""
    check_options(options)
    ipam = [config for config in ipam if config.subnet]
    problems = [problem for config in ipam for problem in check_config(config)]
    if problems:
        raise InvalidArgument("\n".join(["invalid network config:", *problems]))
    if sum(":" not in config.subnet for config in ipam) > 1:
        raise InvalidArgument("bridge driver doesn't support multiple subnets")
    configs = [settle_config(config, taken) for config in ipam]
    if not any(":" not in config.subnet for config in configs):
        configs.insert(0, _from_pool(pools.choose(taken)))
    identifier = new_id()
    if ipv6 and not any(":" in config.subnet for config in configs):
        # A unique local prefix of the network's own (RFC 4193): 40 random bits and a subnet of zero.
        configs.append(_from_pool(str(ipaddress.IPv6Network((0xFD << 120 | int(identifier[:10], 16) << 80, 64)))))
    bridge = options.get(BRIDGE_NAME) or f"br-{identifier[:12]}"
    mtu = int(options.get(MTU, 0)) or mtu
    return Network(identifier, name, "bridge", time.time_ns(), bridge, configs, ipv6=ipv6, options=options, mtu=mtu)


def _from_pool(subnet: str) -> IpamConfig:
    return IpamConfig(subnet, str(next(iter(ipaddress.ip_network(subnet).hosts()))), from_pool=True)


def predefined(name: str, *, bridge: str, bip: str, taken: Sequence[Net], pools: Pools, mtu: int) -> Network:
    """One of the three that are always there. `bip`: the bridge's address in CIDR, empty for one from the pools."""
    if name != "bridge":
        driver = "null" if name == "none" else name
        return Network(new_id(), name, driver, time.time_ns(), predefined=True)
    if bip:
        interface = ipaddress.ip_interface(bip)
        ipam = IpamConfig(str(interface.network), str(interface.ip))
    else:
        ipam = _from_pool(pools.choose(taken))
    options = {
        "com.docker.network.bridge.default_bridge": "true", "com.docker.network.bridge.enable_icc": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "true", "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
        BRIDGE_NAME: bridge, MTU: str(mtu),
    }  # fmt: skip
    return Network(new_id(), name, name, time.time_ns(), bridge, [ipam], options=options, predefined=True, mtu=mtu)


def moved(row: Network, default: str) -> Network:
    """With a bridge of its own, `default` for the predefined one: another engine has taken the name while we were away."""
    if not row.predefined:
        return msgspec.structs.replace(row, bridge=f"br-{row.id[:12]}")
    return msgspec.structs.replace(row, bridge=default, options=row.options | {BRIDGE_NAME: default})
