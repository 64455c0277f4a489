"""A container's network: its link, addresses and routes, and the sockets for names."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator

import pytest

from onggi.errors import RuntimeStepError
from onggi.kernel.netlink import Route
from onggi.runtime.plan import LinkPlan, RoutePlan
from tests.kernel.spawning import Box

pytestmark = pytest.mark.root


@pytest.fixture
def bridge() -> Iterator[str]:
    name = f"ogt{uuid.uuid4().hex[:8]}"
    with Route() as route:
        route.add_bridge(name)
        route.add_address(name, "10.213.7.1/24")
        route.set_up(name)
        try:
            yield name
        finally:
            route.delete(name)


def link(bridge: str, **changes: object) -> LinkPlan:
    values: dict[str, object] = {
        "host_name": f"ogt{uuid.uuid4().hex[:8]}",
        "bridge": bridge,
        "addresses": ["10.213.7.2/24"],
        "gateway4": "10.213.7.1",
        "mac": "02:42:0a:d5:07:02",
        "mtu": 1400,
    }
    return LinkPlan(**{**values, **changes})  # type: ignore[arg-type]


def test_a_link_has_its_name_addresses_route_and_mac(container: Box, bridge: str) -> None:
    container.links = [link(bridge, routes=[RoutePlan("10.99.0.0/16", "10.213.7.9")])]
    out = container.sh("ip addr show eth0; ip route; cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6").out
    assert "inet 10.213.7.2/24" in out
    assert "02:42:0a:d5:07:02" in out
    assert "mtu 1400" in out
    assert "default via 10.213.7.1 dev eth0" in out
    assert "10.99.0.0/16 via 10.213.7.9 dev eth0" in out
    assert out.endswith("\n1\n")


def test_ipv6_is_there_when_an_address_is_and_no_advertisement_is_believed(container: Box, bridge: str) -> None:
    container.links = [link(bridge, addresses=["10.213.7.2/24", "fd00:213::2/64"], gateway6="fd00:213::1")]
    out = container.sh("ip -6 addr show eth0; ip -6 route; cat /proc/sys/net/ipv6/conf/eth0/accept_ra").out
    assert "inet6 fd00:213::2/64" in out
    assert "default via fd00:213::1 dev eth0" in out
    assert out.endswith("\n0\n")


def test_a_container_without_links_has_loopback_alone(container: Box) -> None:
    assert container.sh("ls /sys/class/net; ip addr show lo | grep -c 127.0.0.1/8").out.split()[-2:] == ["lo", "1"]


def test_a_link_to_a_bridge_that_is_missing_fails_the_start_and_leaves_no_link(container: Box) -> None:
    container.links = [link("ogt-missing")]
    with pytest.raises(RuntimeStepError) as refused:
        container.start("true")
    assert refused.value.exit_code == 128
    with Route() as route:
        assert not [found for found in route.links() if found.name == container.links[0].host_name]


def test_names_are_asked_at_sockets_that_are_handed_out(container: Box, bridge: str) -> None:
    container.links, container.dns = [link(bridge)], True
    resolv = container.scratch / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.11\n")
    container.mount(resolv, "/etc/resolv.conf")
    with open(os.devnull, "wb") as null:
        spawned = container.start("nslookup", "some.name", stdout=null.fileno())
    assert len(spawned.dns_fds) == 2
    udp = socket.socket(fileno=spawned.dns_fds[0].detach())
    tcp = socket.socket(fileno=spawned.dns_fds[1].detach())
    with udp, tcp:
        udp.setblocking(True)
        udp.settimeout(5)
        query, sender = udp.recvfrom(512)
        assert b"\x04some\x04name\x00" in query
        assert sender[0] in ("127.0.0.11", "127.0.0.1")
        assert tcp.getsockname()[0] == "127.0.0.11"


def test_a_name_server_in_the_container_can_have_port_53(container: Box, bridge: str) -> None:
    container.links, container.dns = [link(bridge)], True
    script = "nc -l -p 53 < /dev/null & sleep 0.1; cat /proc/net/tcp /proc/net/tcp6 | grep -c ':0035 .* 0A '; kill $!"
    assert container.sh(script).out == "1\n"
