"""What the kernel holds for networks besides the table: bridges, their ports, switches below /proc/sys. Blocking."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import threading
from collections.abc import Callable, Collection, Iterable

from onggi.kernel import netlink
from onggi.kernel.clone import CloneFlag
from onggi.kernel.faults import point
from onggi.kernel.namespaces import NamespaceKind, open_of
from onggi.kernel.process import setns
from onggi.network.records import Endpoint, Network
from onggi.runtime.links import dns_sockets
from onggi.runtime.plan import LinkPlan


def make(route: netlink.Route, row: Network, alias: str) -> None:
    """The link with its gateway addresses, up. A bridge that is there already is used; another engine's is refused (EEXIST)."""
    try:
        route.add_bridge(row.bridge, alias=alias, mtu=row.mtu)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
        if is_anothers(route, row.bridge, alias):
            raise OSError(errno.EEXIST, f"bridge {row.bridge} belongs to another engine") from None
    have = set(route.addresses(row.bridge))
    for config in row.ipam:
        network = ipaddress.ip_network(config.subnet)
        address = f"{config.gateway}/{network.prefixlen}"
        if address not in have:
            route.add_address(row.bridge, address)
    # The kernel asks for containers' link addresses from the bridge's own link-local one, which would be looked for twice
    # on the link first (DAD): no container could be reached by IPv6 in the first two seconds.
    write_sysctl(f"net/ipv6/conf/{row.bridge}/accept_dad", "0")
    route.set_up(row.bridge)
    # For 127.0.0.1:PORT of the host; packets with such an address from outside are dropped in chain raw (S-60).
    write_sysctl(f"net/ipv4/conf/{row.bridge}/route_localnet", "1")
    write_sysctl(f"net/ipv6/conf/{row.bridge}/accept_ra", "0")


def is_anothers(route: netlink.Route, name: str, alias: str) -> bool:
    """Whether a link is there that another engine has made."""
    try:
        found = route.link(name).alias
    except OSError:
        return False
    return found.startswith("onggi-") and found != alias


def delete_own(name: str, alias: str) -> None:
    """A bridge that was there before us stays. What isn't there is fine."""
    with netlink.Route() as route, contextlib.suppress(OSError):
        if route.link(name).alias == alias:
            route.delete(name)


def sweep(route: netlink.Route, wanted: Collection[str], alias: str) -> None:
    """Removes bridges of ours that no network explains: made, and not committed."""
    for link in route.links():
        if link.kind == "bridge" and link.alias == alias and link.name not in wanted:
            with contextlib.suppress(OSError):
                route.delete(link.name)


def rejoin(route: netlink.Route, endpoints: Iterable[Endpoint], is_published: Callable[[str], bool]) -> int:
    """Links of running containers that have lost their bridge come back into it; how many."""
    links = {link.name: link for link in route.links()}
    lost = [e for e in endpoints if e.host_name in links and e.bridge in links and not links[e.host_name].master]
    for endpoint in lost:
        route.set_master(endpoint.host_name, endpoint.bridge)
        route.set_port(endpoint.host_name, isolated=endpoint.isolated, hairpin=is_published(endpoint.container_id))
    return len(lost)


def connect(link: LinkPlan, pid: int) -> None:
    """A link into the network namespace of a process that runs, under its name or the next one that is free.

    It brings a default route where there is none. Raises OSError; half of it may be there then.
    """
    with open_of(pid, NamespaceKind.NETWORK) as namespace, netlink.Route(namespace.fileno()) as inside:
        name = _free_name(link.name, {one.name for one in inside.links()})
        with netlink.Route() as route:
            route.add_veth(
                link.host_name, bridge=link.bridge, peer=name, peer_mac=link.mac, mtu=link.mtu, peer_ns=namespace.fileno()
            )  # fmt: skip
            if link.isolated or link.hairpin:
                route.set_port(link.host_name, isolated=link.isolated, hairpin=link.hairpin)
        for address in link.addresses:
            inside.add_address(name, address)
        inside.set_up(name)
        _add_default_routes(inside, [(link.gateway4, link.gateway6)])


def replace_gateway(pid: int, gateways: Iterable[tuple[str, str]]) -> None:
    """A link has gone: the first of the `gateways` (IPv4, IPv6) takes the default route if it went too."""
    with (
        contextlib.suppress(OSError),  # the process may have ended
        open_of(pid, NamespaceKind.NETWORK) as namespace,
        netlink.Route(namespace.fileno()) as inside,
    ):
        _add_default_routes(inside, gateways)


def _free_name(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    prefix = name.rstrip("0123456789")
    return next(f"{prefix}{n}" for n in range(len(taken) + 1) if f"{prefix}{n}" not in taken)


def _add_default_routes(inside: netlink.Route, gateways: Iterable[tuple[str, str]]) -> None:
    for pair in gateways:
        for gateway, everything in zip(pair, ("0.0.0.0/0", "::/0"), strict=True):
            if gateway:
                with contextlib.suppress(FileExistsError):
                    inside.add_route(everything, gateway=gateway)


def name_sockets(pid: int) -> list[int]:
    """Sockets for names in the network namespace of a process that runs, as its start makes them. Raises OSError."""
    made: list[int] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            with open_of(pid, NamespaceKind.NETWORK) as namespace:
                setns(namespace, CloneFlag.NEWNET)
            made.extend(sock.detach() for sock in dns_sockets(replace=True))
        except OSError as error:
            failed.append(error)

    # setns(2) moves one thread, which ends there.
    thread = threading.Thread(target=run, name="name sockets in a namespace")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made


def delete(name: str) -> None:
    """What isn't there is fine. Raises OSError."""
    point("network.link.delete")
    with netlink.Route() as route:
        try:
            route.delete(name)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise


def forward(*, ipv6: bool) -> None:
    """The host passes packets on between its links.

    With IPv6 forwarding on, the kernel would no longer believe the router advertisements that the host lives by, unless
    accept_ra is 2 (Documentation/networking/ip-sysctl.rst).
    """
    write_sysctl("net/ipv4/ip_forward", "1")
    if not ipv6 or _read_sysctl("net/ipv6/conf/all/forwarding") in ("", "1"):
        return
    for name in os.listdir("/proc/sys/net/ipv6/conf"):
        if _read_sysctl(f"net/ipv6/conf/{name}/accept_ra") == "1":
            write_sysctl(f"net/ipv6/conf/{name}/accept_ra", "2")
    write_sysctl("net/ipv6/conf/all/forwarding", "1")


def _read_sysctl(path: str) -> str:
    try:
        with open(f"/proc/sys/{path}", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def write_sysctl(path: str, value: str) -> None:
    """What the kernel doesn't have (IPv6 switched off) is left; a value that stands already is not written."""
    if _read_sysctl(path) in ("", value):
        return
    fd = os.open(f"/proc/sys/{path}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
