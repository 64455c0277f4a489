"""Interfaces of the host that become a container's: `linux.netDevices` (config-linux.md, "Network Devices").

The parent moves them, the child gives them back the addresses that a move takes. They go back to the host, physical ones,
or away, virtual ones, with the container's network namespace.
"""

from __future__ import annotations

from ipaddress import ip_interface
from typing import NamedTuple

from onggi.kernel import netlink
from onggi.kernel.fds import Fd
from onggi.oci.runtime import NetDevice


class Moved(NamedTuple):
    """One interface: `host_name` here, `name` there, its addresses in CIDR."""

    host_name: str
    name: str
    addresses: tuple[str, ...]


def read(devices: dict[str, NetDevice]) -> list[Moved]:
    """What is to be moved, before anything is made. Raises OSError ENODEV for one that isn't there."""
    if not devices:
        return []
    with netlink.Route() as route:
        return [
            Moved(
                name,
                device.name or name,
                # Link-local ones belong to the link, and come anew.
                tuple(address for address in route.addresses(name) if not ip_interface(address).is_link_local),
            )
            for name, device in devices.items()
        ]


def move(moved: list[Moved], pid: int, namespace: Fd | None) -> None:
    """Into the network namespace of `pid`, or the one that it is about to join. Raises OSError."""
    with netlink.Route() as route:
        for device in moved:
            route.move(device.host_name, device.name, pid=pid, namespace=namespace)


def settle(moved: list[Moved]) -> None:
    """Child, in its network namespace: addresses, and up."""
    if not moved:
        return
    with netlink.Route() as route:
        for device in moved:
            for address in device.addresses:
                route.add_address(device.name, address)
            route.set_up(device.name)
