"""What others do to our table and bridges is put right; what is theirs stays theirs."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from onggi.kernel import netlink, nftables
from onggi.network import EndpointRequest, PortRequest
from onggi.network.firewall import Forward, changes_text
from onggi.network.watch import Watch
from tests.kernel.netlab import HOST, NEIGHBOUR, Lab, ask, connected, on_a_machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


async def _comes(wanted: Callable[[], bool], within_s: float = 2.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if await asyncio.to_thread(wanted):
            return True
    return False


def _by_another(commands: str) -> None:
    """In a process of its own, as nft is."""
    pid = os.fork()
    if not pid:
        try:
            nftables.apply(commands)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


@pytest.mark.row("S-61")
@pytest.mark.row("R-26")
@pytest.mark.parametrize(
    "harm",
    [
        "flush ruleset",
        "delete table inet onggi-1ab00000",
        "flush table inet onggi-1ab00000",
        "flush map inet onggi-1ab00000 tcp_any",
        "delete chain inet onggi-1ab00000 forward",
    ],
)
def test_a_table_that_another_program_changes_is_put_right(tmp_path: Path, harm: str) -> None:
    async def scene(lab: Lab) -> None:
        one = await lab.networks.create("one")
        a = await lab.container("a", one, ("tcp", "", "8080"))
        assert ask("127.0.0.1", 8080) == "a"
        _by_another(harm)
        assert await _comes(lambda: lab.neighbour.ask(HOST, 8080) == "a")
        assert lab.neighbour.ask(a.address, 80) == ""

    on_a_machine(tmp_path, scene)


@pytest.mark.row("R-26")
def test_a_bridge_that_is_deleted_comes_back_with_its_containers(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        one = await lab.networks.create("one")
        a = await lab.container("a", one, ("tcp", "", "8080"))
        b = await lab.container("b", one)
        with netlink.Route() as route:
            route.delete(one.bridge)
        assert await _comes(lambda: ask("127.0.0.1", 8080) == "a")
        assert await _comes(lambda: b.ask(a.address, 80) == "a")

    on_a_machine(tmp_path, scene)


@pytest.mark.row("S-61")
def test_other_programs_tables_are_left_as_they_are(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        nftables.apply(
            "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; ip daddr 10.9.0.7 drop; }; }"
        )
        before = nftables.query("list table ip filter")
        one = await lab.networks.create("one")
        lab.neighbour.serve()
        a = await lab.container("a", one, ("tcp", "", "8080"))
        assert lab.neighbour.ask(HOST, 8080) == "a", "a policy of drop is for what nobody knows"
        assert a.ask(NEIGHBOUR, 80) == HOST
        rules = [item["rule"] for item in nftables.query("list chain ip filter FORWARD") if "rule" in item]
        assert "comment" not in rules[0], "an administrator's rules come before ours"
        await lab.networks.ports.unpublish("a")
        await lab.networks.close(remove=True)
        assert nftables.query("list table ip filter") == before
        assert ("inet", lab.networks.table) not in nftables.tables()

    on_a_machine(tmp_path, scene)


@pytest.mark.row("S-61")
def test_a_firewall_that_comes_later_is_passed_too(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        one = await lab.networks.create("one")
        lab.neighbour.serve()
        a = await lab.container("a", one)
        _by_another("table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }")
        assert await _comes(lambda: a.ask(NEIGHBOUR, 80) == HOST)

    on_a_machine(tmp_path, scene)


@pytest.mark.row("R-26")
def test_published_ports_work_through_a_restart_of_the_engine(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        one = await lab.networks.create("one")
        a = await lab.container("a", one, ("tcp", "", "8080"))
        endpoint, ports = lab.networks.members.of("a")[one.id], lab.networks.ports.of("a")
        await lab.networks.close(remove=False)
        assert ask("127.0.0.1", 8080) == "a"
        again = lab.engine()
        await again.restore()
        assert ask("127.0.0.1", 8080) == "a"
        again.members.attach(
            "a", again.resolve("one"), EndpointRequest(ipv4=endpoint.address4), endpoint_id=endpoint.id
        )
        again.ports.adopt("a", a.address, ports)
        await again.settle()
        assert ask("127.0.0.1", 8080) == "a"

    on_a_machine(tmp_path, scene)


def test_a_port_that_moves_takes_new_connections_and_leaves_old_ones(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        one = await lab.networks.create("one")
        await lab.container("old", one, ("tcp", "", "8080"))
        new = await lab.container("new", one)
        with connected("127.0.0.1", 8080) as kept:
            assert kept.recv(100) == b"old"
            request = PortRequest("tcp", 80, "", "8080")
            await lab.networks.ports.publish("new", new.address, [request], shared_with="old")
            assert ask("127.0.0.1", 8080) == "old"
            await lab.networks.ports.move("old", "new")
            assert ask("127.0.0.1", 8080) == "new"
            kept.sendall(b"?")
            assert kept.recv(100) == b"old"

    on_a_machine(tmp_path, scene)


def test_a_udp_client_is_led_to_the_container_that_has_the_port_now(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        one = await lab.networks.create("one")

        def client() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((NEIGHBOUR, 5555))
            sock.settimeout(0.25)
            return sock

        with lab.neighbour.inside(client) as sock:

            def answer() -> bytes:
                sock.sendto(b"?", (HOST, 8080))
                try:
                    return sock.recv(100)
                except OSError:
                    return b""

            # The host's own server keeps the flow in the kernel's memory, untranslated.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
                server.bind(("0.0.0.0", 8080))
                assert answer() == b""
            await lab.container("a", one, ("udp", "", "8080"))
            assert answer() == b"a"
            await lab.networks.ports.unpublish("a")
            for held in lab.held:
                held.close()
            await lab.container("b", one, ("udp", "", "8080"))
            assert answer() == b"b"

    on_a_machine(tmp_path, scene)


def test_our_own_changes_are_not_taken_for_others(tmp_path: Path) -> None:
    async def scene(lab: Lab) -> None:
        calls = 0

        async def repair() -> None:
            nonlocal calls
            calls += 1

        watch = Watch(repair, lambda: ["lab0"])
        watch.start()
        for number in range(3):
            forward = Forward("tcp", "0.0.0.0", 9000 + number, "172.30.0.2", 80)
            await asyncio.to_thread(nftables.apply, changes_text(lab.networks.table, add=[forward]))
        await asyncio.sleep(0.1)
        assert calls == 0
        _by_another("add table ip somebody")
        await asyncio.sleep(0.1)
        assert calls == 1
        await watch.close()

    on_a_machine(tmp_path, scene)
