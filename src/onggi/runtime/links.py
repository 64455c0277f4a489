"""A container's network: veth pairs made by the parent, addresses and routes set by the child, sockets for names."""

from __future__ import annotations

import socket

from onggi.kernel import dnsredirect, netlink
from onggi.kernel.fds import AnyFd
from onggi.runtime import loopback, sysctls
from onggi.runtime.plan import LinkPlan

_IPV6 = "net/ipv6/conf"
DNS_ADDRESS = "127.0.0.11"


def connect(links: list[LinkPlan], pid: int) -> None:
    """Parent: each pair, its host end up in its bridge, its other end already in the namespace of `pid`."""
    with netlink.Route() as route:
        for link in links:
            route.add_veth(
                link.host_name, bridge=link.bridge, peer=link.name, peer_mac=link.mac, mtu=link.mtu, peer_pid=pid
            )
            if link.isolated or link.hairpin:
                route.set_port(link.host_name, isolated=link.isolated, hairpin=link.hairpin)


def configure(links: list[LinkPlan], proc: AnyFd | None, *, ipv6_off: bool = False) -> None:
    """Child, in its network namespace: lo up, addresses, links up, routes. `proc` is the root of a procfs of ours.

    `ipv6_off`: `prepare_ipv6` has been called, before the links were there.
    """
    loopback.set_up()
    for link in links:
        _set_ipv6(link, proc, ipv6_off=ipv6_off)
    if ipv6_off:
        sysctls.apply({f"{_IPV6}/default/disable_ipv6": "0", f"{_IPV6}/default/accept_ra": "1"}, proc)
    if not links:
        return
    with netlink.Route() as route, route.together():
        for link in links:
            for address in link.addresses:
                route.add_address(link.name, address)
            route.set_up(link.name)
            for extra in link.routes:
                route.add_route(extra.destination, gateway=extra.gateway or None, link=link.name)
            for gateway, everything in ((link.gateway4, "0.0.0.0/0"), (link.gateway6, "::/0")):
                if gateway:
                    route.add_route(everything, gateway=gateway, link=link.name)


def prepare_ipv6(proc: AnyFd) -> bool:
    """Child, before it has links: they are born without IPv6, which costs nothing then and 0.4 ms later.

    False on a kernel without IPv6.
    """
    try:
        sysctls.apply({f"{_IPV6}/default/disable_ipv6": "1", f"{_IPV6}/default/accept_ra": "0"}, proc)
    except FileNotFoundError:
        return False
    return True


def _set_ipv6(link: LinkPlan, proc: AnyFd | None, *, ipv6_off: bool) -> None:
    """Without an IPv6 address of ours there is no IPv6, and router advertisements are never believed (CVE-2020-13401)."""
    wanted = any(":" in address for address in link.addresses)
    settings = {} if ipv6_off else {"accept_ra": "0"}
    if wanted == ipv6_off:
        settings["disable_ipv6"] = "0" if wanted else "1"
    try:
        sysctls.apply({f"{_IPV6}/{link.name}/{name}": value for name, value in settings.items()}, proc)
    except FileNotFoundError:
        if wanted:
            raise  # a kernel without IPv6, asked for it


def dns_sockets(*, replace: bool = False) -> list[socket.socket]:
    """Child (or a thread in its network namespace, with `replace` when there may have been such sockets): UDP and TCP on 127.0.0.11, at ports that no program asks for; port 53 there leads to them.

    Bound to 53 itself they would take it from a name server that runs in the container.
    """
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    udp.bind((DNS_ADDRESS, 0))
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    tcp.bind((DNS_ADDRESS, 0))
    tcp.listen(16)
    dnsredirect.install(udp.getsockname()[1], tcp.getsockname()[1], replace=replace)
    return [udp, tcp]
