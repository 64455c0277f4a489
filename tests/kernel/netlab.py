"""A machine's network for one test: a namespace that plays the host, neighbours and containers in namespaces of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

from onggi.kernel import netlink
from onggi.kernel.clone import CloneFlag
from onggi.kernel.namespaces import NamespaceKind, open_of
from onggi.kernel.process import setns, unshare
from onggi.network import EndpointRequest, Network, Networks, PortRequest
from onggi.store.database import Database

T = TypeVar("T")
Scene = Callable[["Lab"], Awaitable[None]]
HOST, NEIGHBOUR = "10.9.0.1", "10.9.0.2"
HOST6, NEIGHBOUR6 = "fd09::1", "fd09::2"


class Box:
    """A network namespace with a process in it, which waits."""

    def __init__(self) -> None:
        ready, told = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                unshare(CloneFlag.NEWNET)
                os.write(told, b"x")
                while True:
                    signal.pause()
            finally:
                os._exit(1)
        os.close(told)
        assert os.read(ready, 1)
        os.close(ready)
        self.address = self.address6 = ""

    def inside(self, work: Callable[[], T]) -> T:
        """`work` in a thread that has gone there; sockets that it makes stay there."""
        found: list[T | BaseException] = []

        def run() -> None:
            try:
                with open_of(self.pid, NamespaceKind.NETWORK) as namespace:
                    setns(namespace.fileno(), CloneFlag.NEWNET)
                found.append(work())
            except BaseException as error:  # handed over to the caller
                found.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if isinstance(found[0], BaseException):
            raise found[0]
        return found[0]

    def serve(self, port: int = 80, text: bytes = b"") -> None:
        """Answers each connection, and each datagram, with the address that it came from (or `text`)."""

        def listen() -> tuple[socket.socket, socket.socket]:
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True), _udp(port)

        tcp, udp = self.inside(listen)
        threading.Thread(target=_answer_tcp, args=(tcp, text), daemon=True).start()
        threading.Thread(target=_answer_udp, args=(udp, text), daemon=True).start()

    def ask(self, address: str, port: int, *, udp: bool = False, wait_s: float = 0.25) -> str:
        """The server's answer; empty when none comes."""
        return self.inside(lambda: ask(address, port, udp=udp, wait_s=wait_s))

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def _udp(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind(("::", port))
    return sock


def _answer_tcp(listener: socket.socket, text: bytes) -> None:
    while True:
        sock, peer = listener.accept()
        threading.Thread(target=_talk, args=(sock, text or peer[0].encode()), daemon=True).start()


def _talk(sock: socket.socket, text: bytes) -> None:
    with sock, contextlib.suppress(OSError):
        sock.sendall(text)
        while sock.recv(100):
            sock.sendall(text)


def _answer_udp(sock: socket.socket, text: bytes) -> None:
    while True:
        _, peer = sock.recvfrom(100)
        sock.sendto(text or peer[0].encode(), peer)


def ask(address: str, port: int, *, udp: bool = False, wait_s: float = 0.25) -> str:
    """From the host."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as sock:
        sock.settimeout(wait_s)
        try:
            sock.connect((address, port))
            if udp:
                sock.send(b"?")
            return sock.recv(100).decode().removeprefix("::ffff:")
        except OSError:
            return ""


class Lab:
    """The engine's networks on a host with one neighbour on its LAN."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.boxes: list[Box] = []
        self.held: list[socket.socket] = []
        self.database = Database.open(root / "state.db")
        self.networks = self.engine()
        self.neighbour = self.box()
        with netlink.Route() as route:
            route.set_up("lo")
            route.add_veth("lan0", bridge="", peer="lan1", peer_pid=self.neighbour.pid)
            route.add_address("lan0", f"{HOST}/24")
            route.add_address("lan0", f"{HOST6}/64")
        self.neighbour.inside(_settle_neighbour)

    def engine(self, tag: str = "1ab00000", database: Database | None = None) -> Networks:
        return Networks(database or self.database, tag=tag, bridge="lab0")

    def box(self) -> Box:
        self.boxes.append(Box())
        return self.boxes[-1]

    async def container(self, name: str, network: Network, *bindings: tuple[str, str, str]) -> Box:
        """A container called `name` with a server on port 80, published at each (protocol, host's address, its port)."""
        box = self.box()
        endpoint = self.networks.members.attach(name, network, EndpointRequest(names=[name]))
        requests = [PortRequest(protocol, 80, host_ip, port) for protocol, host_ip, port in bindings]
        self.held += (await self.networks.ports.publish(name, endpoint.address4, requests))[1]
        box.inside(_set_loopback_up)
        await self.networks.connect_running(endpoint, box.pid, "eth0", default_route=True)
        box.address, box.address6 = endpoint.address4, endpoint.address6
        box.serve(text=name.encode())
        return box


def _set_loopback_up() -> None:
    with netlink.Route() as route:
        route.set_up("lo")


def _settle_neighbour() -> None:
    """It knows routes to everything behind the host, which an honest neighbour wouldn't."""
    with netlink.Route() as route:
        route.add_address("lan1", f"{NEIGHBOUR}/24")
        route.add_address("lan1", f"{NEIGHBOUR6}/64")
        route.set_up("lan1")
        Path("/proc/sys/net/ipv4/conf/all/route_localnet").write_text("1")
        for destination in ("172.16.0.0/12", "192.168.0.0/16", "127.0.0.1/32"):
            route.add_route(destination, gateway=HOST, link="lan1")
        route.add_route("fd00::/9", gateway=HOST6, link="lan1")


def on_a_machine(root: Path, scene: Scene) -> None:
    """Plays `scene` in a process of its own, whose network namespace is the host's. Raises AssertionError with its traceback."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.close(reader)
            unshare(CloneFlag.NEWNET)
            asyncio.run(_play(root, scene))
            code = 0
        except BaseException:  # told to the parent
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read().decode()
    assert os.waitpid(pid, 0)[1] == 0, text


async def _play(root: Path, scene: Scene) -> None:
    with netlink.Route() as route:
        route.set_up("lo")
    lab = Lab(root)
    try:
        with netlink.Route() as route:
            route.set_up("lan0")
        await lab.networks.restore()
        await lab.networks.settle()
        await scene(lab)
    finally:
        for box in lab.boxes:
            box.end()


@contextlib.contextmanager
def connected(address: str, port: int) -> Iterator[socket.socket]:
    """A connection that stays open."""
    with socket.create_connection((address, port), 2) as sock:
        yield sock
