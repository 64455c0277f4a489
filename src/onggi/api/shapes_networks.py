"""Networks as clients read them, and which of them a filter means. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onggi.api.matching import label_test, name_test, only_flag
from onggi.api.times import parse_moment, rfc3339_nano
from onggi.errors import InvalidArgument

if TYPE_CHECKING:
    from onggi.api.query import Filters
    from onggi.engine.engine import Engine
    from onggi.network import Network

Document = dict[str, Any]


def document(network: Network, version: int, containers: dict[str, Document] | None) -> Document:
    """`containers` None is a list's entry: only a look at one network tells who is in it (1.28)."""
    found: Document = {
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339_nano(network.created_ns),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": True,
        "EnableIPv6": network.ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": None if network.predefined else {},
            "Config": [_ipam(config) for config in network.ipam] or (None if network.predefined else []),
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": containers or {},
        "Options": dict(sorted(network.options.items())),
        "Labels": dict(sorted(network.labels.items())),
    }
    if version < 48:
        del found["EnableIPv4"]
    return found


def _ipam(config: Any) -> Document:
    found = {"Subnet": config.subnet}
    if config.ip_range:
        found["IPRange"] = config.ip_range
    if config.gateway:
        found["Gateway"] = config.gateway
    if config.auxiliary:
        found["AuxiliaryAddresses"] = config.auxiliary
    return found


def status(network: Network, engine: Engine) -> Document:
    """What a look at one network tells from 1.52 on."""
    subnets = {
        subnet: {"IPsInUse": used, "DynamicIPsAvailable": left}
        for subnet, (used, left) in engine.networks.members.usage(network.id).items()
    }
    return {"IPAM": {"Subnets": subnets}}


def members(network: Network, engine: Engine) -> dict[str, Document]:
    """Running containers in it, by id."""
    return {
        endpoint.container_id: {
            "Name": engine.containers.get(endpoint.container_id).name,
            "EndpointID": endpoint.id,
            "MacAddress": endpoint.mac,
            "IPv4Address": endpoint.ipv4,
            "IPv6Address": endpoint.ipv6,
        }
        for endpoint in engine.networks.members.within(network.id)
    }


def network_test(filters: Filters, engine: Engine) -> Callable[[Network], bool]:
    """Different names all, values of one name any. Raises InvalidArgument."""
    labels, names = label_test(filters), name_test(filters.get("name", []))
    kinds = filters.get("type", [])
    for kind in kinds:
        if kind not in ("custom", "builtin"):
            raise InvalidArgument(f"invalid filter 'type={kind}'")
    dangling = only_flag(filters, "dangling")

    def test(network: Network) -> bool:
        is_dangling = not network.predefined and not engine.networks.members.within(network.id)
        return (
            labels(network.labels)
            and names(network.name)
            and _among(filters.get("driver"), network.driver)
            and _among(filters.get("scope"), "local")
            and (not filters.get("id") or any(network.id.startswith(value) for value in filters["id"]))
            and (not kinds or ("builtin" if network.predefined else "custom") in kinds)
            and dangling in (None, is_dangling)
        )

    return test


def prune_test(filters: Filters) -> Callable[[Network], bool]:
    """Which unused networks a prune means. Raises InvalidArgument."""
    labels, before = label_test(filters), until_of(filters)
    return lambda network: labels(network.labels) and (not before or network.created_ns < before)


def until_of(filters: Filters) -> int:
    """Nanoseconds since 1970 of the filter `until`; 0 when there is none. Raises InvalidArgument."""
    values = filters.get("until", [])
    if len(values) > 1:
        raise InvalidArgument("more than one until filter specified")
    return parse_moment(values[0], time.time_ns()) if values else 0


def _among(values: list[str] | None, value: str) -> bool:
    return not values or value in values
