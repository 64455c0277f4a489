"""Subnets and the addresses in them, in memory: rebuilt at the start from the rows of networks and containers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from onggi.errors import Conflict, Forbidden, InvalidArgument
from onggi.network.records import IpamConfig

Net = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_POOLS = (*((f"172.{n}.0.0/16", 16) for n in range(17, 32)), ("192.168.0.0/16", 20))
"""Docker's: (base, prefix length of each subnet)."""


class Pools:
    """Where subnets come from when nobody names one."""

    def __init__(self, pools: Iterable[tuple[str, int]] = DEFAULT_POOLS) -> None:
        self._pools = [(ipaddress.ip_network(base), size) for base, size in pools]

    def choose(self, taken: Iterable[Net]) -> str:
        """The first subnet that overlaps none of `taken` (our networks and the host's routes). Raises Conflict."""
        used = list(taken)
        for base, size in self._pools:
            for subnet in base.subnets(new_prefix=size) if size > base.prefixlen else [base]:
                if not any(subnet.version == other.version and subnet.overlaps(other) for other in used):
                    return str(subnet)
        raise Conflict("all predefined address pools have been fully subnetted")


def check_config(config: IpamConfig) -> Iterator[str]:
    """What is wrong with a subnet that somebody asks for, in docker's words."""
    try:
        subnet = ipaddress.ip_network(config.subnet, strict=False)
    except ValueError:
        subnet = None
    if subnet is None or "/" not in config.subnet:
        yield f"invalid subnet {config.subnet}: invalid CIDR block notation"
        return
    if config.subnet.partition("/")[0] != str(subnet.network_address):
        yield f"invalid subnet {config.subnet}: it should be {subnet}"
    kind = f"IPv{subnet.version}"
    for name, text in (("gateway", config.gateway), *(("auxiliary address", one) for one in config.auxiliary.values())):
        if not text:
            continue
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            yield f"invalid {name} {text}: invalid address"
            continue
        if address.version != subnet.version:
            yield f"invalid {name} {text}: parent subnet is an {kind} block"
        elif address not in subnet:
            yield f"invalid {name} {text}: parent subnet {subnet} doesn't contain it"
    if config.ip_range:
        try:
            part = ipaddress.ip_network(config.ip_range, strict=False)
        except ValueError:
            yield f"invalid ip-range {config.ip_range}: invalid CIDR block notation"
            return
        if part.version != subnet.version:
            yield f"invalid ip-range {config.ip_range}: parent subnet is an {kind} block"
        elif int(part.network_address) not in range(int(subnet[0]), int(subnet[-1]) + 1):
            yield f"invalid ip-range {config.ip_range}: parent subnet {subnet} doesn't contain ip-range"


def settle_config(config: IpamConfig, taken: Iterable[Net]) -> IpamConfig:
    """One that is right, with its gateway. Raises Forbidden for a subnet that isn't free."""
    subnet = ipaddress.ip_network(config.subnet)
    if any(subnet.version == other.version and subnet.overlaps(other) for other in taken):
        raise Forbidden("invalid pool request: Pool overlaps with other one on this address space")
    gateway = config.gateway or str(next(iter(subnet.hosts())))
    return IpamConfig(str(subnet), gateway, config.ip_range, config.auxiliary)


class Addresses:
    """Addresses of one subnet. Handed out in order, the one after the last given first: an address that was just freed rests."""

    def __init__(self, subnet: str, *, gateway: str = "", ip_range: str = "", reserved: Iterable[str] = ()) -> None:
        self.subnet = ipaddress.ip_network(subnet)
        self.gateway = gateway or str(next(iter(self.subnet.hosts())))
        self._range = ipaddress.ip_network(ip_range, strict=False) if ip_range else self.subnet
        self._taken: set[int] = {
            int(ipaddress.ip_address(self.gateway)),
            *(int(ipaddress.ip_address(a)) for a in reserved),
        }
        self._last = int(self._range.network_address)

    def take(self, wanted: str = "") -> str:
        """An address in CIDR. Raises InvalidArgument outside of the subnet, Conflict when taken or all are."""
        if wanted:
            return self._take_this(wanted)
        first, last = int(self._range.network_address), int(self._range.broadcast_address)
        if self._range == self.subnet:
            first += 1
            last -= 1 if self.subnet.version == 4 else 0
        size = last - first + 1
        # A v6 subnet has more than can be walked; its taken ones are few.
        for step in range(min(size, len(self._taken) + 1)):
            number = first + (self._last - first + 1 + step) % size
            if number not in self._taken:
                self._taken.add(number)
                self._last = number
                return self._text(number)
        raise Conflict(f"no available addresses on this pool: {self.subnet}")

    def _take_this(self, wanted: str) -> str:
        try:
            address = ipaddress.ip_address(wanted)
        except ValueError:
            raise InvalidArgument(f"invalid IP address: {wanted}") from None
        if address not in self.subnet:
            raise InvalidArgument(f"no configured subnet or ip-range contain the IP address {wanted}")
        if int(address) in self._taken:
            raise Forbidden("Address already in use")
        self._taken.add(int(address))
        return self._text(int(address))

    def _text(self, number: int) -> str:
        kind = ipaddress.IPv4Address if self.subnet.version == 4 else ipaddress.IPv6Address
        return f"{kind(number)}/{self.subnet.prefixlen}"

    def usage(self) -> tuple[int, int]:
        """(addresses in use in the subnet, addresses of the range that are still to be had).

        As docker counts (API 1.52): the network's own address is in use, and IPv4's broadcast address.
        """
        used = self._taken | {int(self.subnet.network_address)}
        if self.subnet.version == 4:
            used.add(int(self.subnet.broadcast_address))
        first, last = int(self._range.network_address), int(self._range.broadcast_address)
        return len(used), last - first + 1 - sum(first <= number <= last for number in used)

    def give_back(self, address: str) -> None:
        number = int(ipaddress.ip_address(address.partition("/")[0]))
        if number != int(ipaddress.ip_address(self.gateway)):
            self._taken.discard(number)
