"""rtnetlink: links, addresses and routes as asked, errors with their step."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator

import pytest

from onggi.kernel import netlink
from onggi.kernel.netlink import Route
from tests.kernel.netlab import Box

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def there() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Runs a piece of the test in a network namespace of its own."""
    box = Box()
    yield box.inside
    box.end()


def test_a_veth_pair_is_born_in_its_bridge_and_its_namespace(there: Callable[[Callable[[], None]], None]) -> None:
    def work() -> None:
        other = Box()
        try:
            with Route() as route:
                route.add_bridge("br", alias="ours", mtu=1400)
                route.add_veth(
                    "host", bridge="br", peer="eth0", peer_mac="02:42:0a:00:00:02", mtu=1400, peer_pid=other.pid
                )
                bridge, host = route.link("br"), route.link("host")
                assert (bridge.kind, bridge.alias, bridge.mtu) == ("bridge", "ours", 1400)
                assert (host.master, host.is_up, host.mtu) == (bridge.index, True, 1400)
                assert {link.name for link in route.links()} == {"lo", "br", "host"}
            other.inside(_look)
        finally:
            other.end()

    def _look() -> None:
        with Route() as inside:
            link = inside.link("eth0")
            assert (link.mac, link.mtu, link.is_up) == ("02:42:0a:00:00:02", 1400, False)

    there(work)


def test_changes_made_together_are_carried_out_in_order(there: Callable[[Callable[[], None]], None]) -> None:
    def work() -> None:
        with Route() as route:
            route.add_veth("a", bridge="", peer="b")
            with route.together():
                route.add_address("a", "10.7.0.1/24")
                route.add_address("a", "fd07::1/64")
                route.set_up("a")
                route.set_up("b")
                route.add_route("10.8.0.0/16", gateway="10.7.0.9", link="a")
                route.add_route("0.0.0.0/0", gateway="10.7.0.9")
            assert {"10.7.0.1/24", "fd07::1/64"} <= set(route.addresses("a"))
            assert {"10.7.0.0/24", "10.8.0.0/16"} <= set(route.routes())
            assert route.default_mtu() == 1500

            def again() -> None:
                with route.together():
                    route.add_address("a", "10.7.0.1/24")
                    route.add_address("a", "10.7.0.2/24")

            with pytest.raises(OSError, match=r"add address 10\.7\.0\.1/24 to a: File exists") as caught:
                again()
            assert caught.value.errno == errno.EEXIST

    there(work)


@pytest.mark.parametrize(
    ("wrong", "number"),
    [
        (lambda route: route.delete("nothing"), errno.ENODEV),
        (lambda route: route.set_up("nothing"), errno.ENODEV),
        (lambda route: route.add_veth("a", bridge="nothing", peer="b"), errno.ENODEV),
        (lambda route: route.add_address("lo", "10.0.0.300/24"), errno.EINVAL),
        (lambda route: route.add_route("10.8.0.0/16", gateway="203.0.113.1", link="lo"), errno.ENETUNREACH),
    ],
)
def test_an_error_has_its_number_and_its_step(
    there: Callable[[Callable[[], None]], None], wrong: Callable[[Route], None], number: int
) -> None:
    def work() -> None:
        with Route() as route, pytest.raises(OSError, match=r"\w+ .*: ") as caught:
            wrong(route)
        assert caught.value.errno == number

    there(work)


def test_a_watcher_hears_of_links_that_go(there: Callable[[Callable[[], None]], None]) -> None:
    def work() -> None:
        with netlink.watch_links() as watch, Route() as route:
            route.add_bridge("br")
            route.add_veth("a", bridge="br", peer="b")
            route.delete("a")
            route.delete("br")
            gone: list[str] = []
            end = time.monotonic() + 5
            while "br" not in gone and time.monotonic() < end:
                try:
                    gone += netlink.removed_links(watch.recv(1 << 16))
                except BlockingIOError:
                    time.sleep(0.001)
            assert sorted(set(gone)) == ["a", "b", "br"]
            assert len(gone) == 3, "that a port leaves its bridge is no removal"

    there(work)


def test_ports_of_a_bridge_have_their_flags(there: Callable[[Callable[[], None]], None]) -> None:
    def work() -> None:
        with Route() as route:
            route.add_bridge("br")
            route.add_veth("a", bridge="", peer="b")
            route.set_master("a", "br")
            assert route.link("a").master == route.link("br").index
            route.set_port("a", isolated=True, hairpin=True)

    there(work)
