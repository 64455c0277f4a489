"""Who reaches whom: every way between the host, a neighbour on the LAN, and containers of four networks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kernel.netlab import HOST, HOST6, NEIGHBOUR, NEIGHBOUR6, Lab, ask, on_a_machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NO_ICC = {"com.docker.network.bridge.enable_icc": "false"}


@pytest.mark.row("S-60")
@pytest.mark.row("S-63")
@pytest.mark.row("P-053")
@pytest.mark.row("P-061")
def test_only_what_is_published_or_shared_is_reached(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        one, two = await lab.networks.create("one"), await lab.networks.create("two")
        ports = ("tcp", "", "8080"), ("tcp", "127.0.0.1", "8081"), ("tcp", HOST, "8082"), ("udp", "", "8080")
        a = await lab.container("a", one, *ports)
        b, c = await lab.container("b", two), await lab.container("c", one)
        neighbour, gateway2 = lab.neighbour, two.ipam[0].gateway
        neighbour.serve()
        reached = {
            "lan → published": neighbour.ask(HOST, 8080),
            "lan → published on the host's address": neighbour.ask(HOST, 8082),
            "lan → published, udp": neighbour.ask(HOST, 8080, udp=True),
            "other network → published": b.ask(HOST, 8080),
            "other network → published, by its gateway": b.ask(gateway2, 8080),
            "same network → container": c.ask(a.address, 80),
            "same network → published": c.ask(HOST, 8080),
            "itself → published": a.ask(HOST, 8080),
            "host → published": ask("127.0.0.1", 8080),
            "host → published on loopback": ask("127.0.0.1", 8081),
            "host → published on its address": ask(HOST, 8082),
            "host → published, udp": ask("127.0.0.1", 8080, udp=True),
            "host → container": ask(a.address, 80),
        }
        assert reached == dict.fromkeys(reached, "a")
        refused = {
            "lan → loopback's port": neighbour.ask(HOST, 8081),
            "lan → loopback's port by 127.0.0.1": neighbour.ask("127.0.0.1", 8081),
            "lan → container": neighbour.ask(a.address, 80),
            "lan → container, udp": neighbour.ask(a.address, 80, udp=True),
            "other network → container": b.ask(a.address, 80),
            "other network → container, back": a.ask(b.address, 80),
            "other network → loopback's port": b.ask(gateway2, 8081),
            "host's address → loopback's port": ask(HOST, 8081),
            "loopback → the host's address' port": ask("127.0.0.1", 8082),
        }
        assert refused == dict.fromkeys(refused, "")
        assert a.ask(NEIGHBOUR, 80) == HOST, "a container goes out with the host's address"

    on_a_machine(tmp_path, scene)


@pytest.mark.row("P-012")
def test_a_network_says_where_its_ports_are_published(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        one = await lab.networks.create(
            "one", options={"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}, ipv6=True
        )
        await lab.container("a", one, ("tcp", "", "8080"), ("tcp", "0.0.0.0", "8081"))
        assert [each.host_ip for each in lab.networks.ports.of("a")] == ["127.0.0.1", "0.0.0.0"]
        assert ask("127.0.0.1", 8080) == "a"
        assert (lab.neighbour.ask(HOST, 8080), lab.neighbour.ask(HOST6, 8080)) == ("", "")
        assert lab.neighbour.ask(HOST, 8081) == "a"

    on_a_machine(tmp_path, scene)


@pytest.mark.row("S-62")
def test_an_internal_network_has_no_way_out_nor_in(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        inner, open_one = await lab.networks.create("inner", internal=True), await lab.networks.create("open")
        hidden, friend = await lab.container("hidden", inner), await lab.container("friend", inner)
        public = await lab.container("public", open_one, ("tcp", "", "8080"))
        lab.neighbour.serve()
        hidden.inside(lambda: _add_default_route(inner.ipam[0].gateway))
        assert friend.ask(hidden.address, 80) == "hidden"
        refused = {
            "out": hidden.ask(NEIGHBOUR, 80),
            "other network": hidden.ask(public.address, 80),
            "published by another network": hidden.ask(HOST, 8080),
            "published by another network, at the gateway": hidden.ask(inner.ipam[0].gateway, 8080),
            "in, from another network": public.ask(hidden.address, 80),
            "in, from the lan": lab.neighbour.ask(hidden.address, 80),
        }
        assert refused == dict.fromkeys(refused, "")
        assert lab.neighbour.ask(HOST, 8080) == "public"

    on_a_machine(tmp_path, scene)


def _add_default_route(gateway: str) -> None:
    from onggi.kernel import netlink

    with netlink.Route() as route:
        route.add_route("0.0.0.0/0", gateway=gateway, link="eth0")


@pytest.mark.row("S-63")
def test_without_icc_containers_reach_the_world_but_not_each_other(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        # The bridge's own ports keep them apart, whether or not the host passes bridged frames through its firewall.
        for name in ("iptables", "ip6tables"):
            path = Path(f"/proc/sys/net/bridge/bridge-nf-call-{name}")
            if path.exists():
                path.write_text("0")
        apart = await lab.networks.create("apart", options=NO_ICC)
        d, e = await lab.container("d", apart), await lab.container("e", apart, ("tcp", "", "8083"))
        lab.neighbour.serve()
        assert d.ask(e.address, 80) == ""
        assert d.ask(NEIGHBOUR, 80) == HOST
        assert lab.neighbour.ask(HOST, 8083) == "e"
        assert ask(e.address, 80) == "e"

    on_a_machine(tmp_path, scene)


@pytest.mark.row("S-62")
def test_ipv6_is_filtered_as_ipv4_is(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        one, two = await lab.networks.create("one", ipv6=True), await lab.networks.create("two", ipv6=True)
        a = await lab.container("a", one, ("tcp", "", "8080"), ("udp", "::", "8080"), ("tcp", HOST6, "8081"))
        b, c = await lab.container("b", two), await lab.container("c", one)
        lab.neighbour.serve()
        reached = {
            "lan → published": lab.neighbour.ask(HOST6, 8080),
            "lan → published, IPv4": lab.neighbour.ask(HOST, 8080),
            "lan → published, udp": lab.neighbour.ask(HOST6, 8080, udp=True),
            "lan → published on the host's address": lab.neighbour.ask(HOST6, 8081),
            "host → published": ask(HOST6, 8080),
            "other network → published": b.ask(HOST6, 8080),
            "itself → published": a.ask(HOST6, 8080),
        }
        assert reached == dict.fromkeys(reached, "a")
        shown = [(one.protocol, one.host_ip, one.host_port) for one in lab.networks.ports.of("a")]
        assert shown == [("tcp", "0.0.0.0", 8080), ("tcp", "::", 8080), ("udp", "::", 8080), ("tcp", HOST6, 8081)]
        assert c.ask(a.address6, 80) == "a"
        assert ask(a.address6, 80) == "a"
        refused = {
            "lan → container": lab.neighbour.ask(a.address6, 80),
            "other network → container": b.ask(a.address6, 80),
        }
        assert refused == dict.fromkeys(refused, "")
        assert a.ask(NEIGHBOUR6, 80) == HOST6, "a container goes out with the host's address"

    on_a_machine(tmp_path, scene)


@pytest.mark.row("S-63")
def test_a_container_cannot_send_with_anothers_address(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        one, two = await lab.networks.create("one"), await lab.networks.create("two")
        a, b = await lab.container("a", one), await lab.container("b", two)
        got: list[bytes] = []

        def listen() -> None:
            import socket
            import threading

            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("0.0.0.0", 99))
            threading.Thread(target=lambda: got.append(sock.recv(100)), daemon=True).start()

        lab.neighbour.inside(listen)

        def send(source: str) -> None:
            import socket

            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
                sock.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT
                sock.bind((source, 0))
                sock.sendto(source.encode(), (NEIGHBOUR, 99))

        a.inside(lambda: send(b.address))
        assert a.ask(NEIGHBOUR, 1, udp=True) == ""
        assert got == []
        a.inside(lambda: send(a.address))
        a.ask(NEIGHBOUR, 1, udp=True)
        assert got == [a.address.encode()]

    on_a_machine(tmp_path, scene)
