"""Networks that a running container joins and leaves."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from dnslib import DNSRecord

from onggi.kernel import netlink
from onggi.network import EndpointRequest
from tests.kernel.netlab import HOST, NEIGHBOUR, Box, Lab, on_a_machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def names(box: Box) -> set[str]:
    def look() -> set[str]:
        with netlink.Route() as route:
            return {link.name for link in route.links()} - {"lo"}

    return box.inside(look)


@pytest.mark.row("E-064")
def test_another_network_leads_out_when_the_first_is_left(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        one, two = await lab.networks.create("one"), await lab.networks.create("two")
        lab.neighbour.serve()
        a = await lab.container("a", one)
        second = lab.networks.members.attach("a", two, EndpointRequest())
        await lab.networks.connect_running(second, a.pid, "eth1")
        assert names(a) == {"eth0", "eth1"}
        await lab.networks.disconnect_running(lab.networks.members.of("a")[one.id], a.pid)
        lab.networks.members.detach("a", one.id)
        assert names(a) == {"eth1"}
        assert a.ask(NEIGHBOUR, 80) == HOST
        again = lab.networks.members.attach("a", one, EndpointRequest())
        await lab.networks.connect_running(again, a.pid, "eth1")
        assert names(a) == {"eth0", "eth1"}, "the name that was asked for is taken: the next one is given"

    on_a_machine(tmp_path, scene)


@pytest.mark.row("E-063")
def test_names_are_answered_in_a_network_that_is_joined_later(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        one = await lab.networks.create("one")
        web = await lab.container("web", one)
        late = await lab.container("late", lab.networks.resolve("bridge"))

        def resolve() -> str:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(1)
                sock.connect(("127.0.0.11", 53))
                sock.send(DNSRecord.question("web").pack())
                try:
                    return str(DNSRecord.parse(sock.recv(512)).rr[0].rdata)
                except OSError:
                    return ""

        assert await asyncio.to_thread(late.inside, resolve) == ""
        endpoint = lab.networks.members.attach("late", one, EndpointRequest(names=["late"]))
        await lab.networks.connect_running(endpoint, late.pid, "eth1")
        assert await asyncio.to_thread(late.inside, resolve) == web.address
        lab.networks.forget_names("late")  # as when an engine starts whose shim has lost the sockets
        await lab.networks.ensure_names("late", late.pid)
        assert await asyncio.to_thread(late.inside, resolve) == web.address

    on_a_machine(tmp_path, scene)
