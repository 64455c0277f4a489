"""The process that holds the namespaces: root in there, the user to everybody else.

It makes them fit to live in, then carries connections to published ports (relay.py). An engine that ends or is killed
leaves it alone; it goes when an engine says that nothing runs, or with `outside`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

from onggi.kernel import mounts, netlink, process
from onggi.kernel.mounts import MountFlag
from onggi.rootless import messages
from onggi.rootless.hostports import SOCKET
from onggi.rootless.messages import Answer, Bind, Change, End, Keep, Key, Message, Release, Target
from onggi.rootless.relay import Relay, prepare_network


def run(link: socket.socket, directory: str, let_go: Callable[[], None]) -> None:
    """Until an engine says End. `link` leads to `outside`, which writes our id maps before it says a word."""
    name_server = link.recv(256).decode().removeprefix("-")
    process.set_name("onggi-inside")
    os.setgroups([])
    os.umask(0o077)
    # What the host mounts later is seen here; what is mounted here is not seen there.
    mounts.mount(None, "/", None, MountFlag.REC | MountFlag.SLAVE)
    with netlink.Route() as route:
        route.set_up("lo")
    _name_servers(directory, name_server)
    keeps_addresses = prepare_network()
    let_go()
    link.send(b"1")
    asyncio.run(_serve(link, os.path.join(directory, SOCKET), keeps_addresses=keeps_addresses))


def _name_servers(directory: str, server: str) -> None:
    """A server on the host's loopback isn't reached from here: the uplink's own stands in for it."""
    with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    servers = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    if not server or any(not one.startswith("127.") and one != "::1" for one in servers):
        return
    path = os.path.join(directory, "resolv.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join([f"nameserver {server}", *(line for line in lines if not line.startswith("nameserver"))]))
        file.write("\n")
    os.chmod(path, 0o644)
    mounts.mount(path, "/etc/resolv.conf", None, MountFlag.BIND)


async def _serve(link: socket.socket, path: str, *, keeps_addresses: bool) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    ports = _Ports(link, Relay(keeps_addresses=keeps_addresses), ended)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(64)
        listener.setblocking(False)
        loop.add_reader(listener, ports.answer, listener)
        loop.add_reader(link, ended.set)  # outside says nothing unasked: it has gone
        await ended.wait()
        loop.remove_reader(listener)
        loop.remove_reader(link)
    ports.close()
    os.unlink(path)


class _Ports:
    """The host's ports that are held, and where they lead."""

    def __init__(self, link: socket.socket, relay: Relay, ended: asyncio.Event) -> None:
        self._link, self._relay, self._ended = link, relay, ended
        self._held: dict[Key, socket.socket] = {}

    def close(self) -> None:
        for key in list(self._held):
            self._drop(key)

    def answer(self, listener: socket.socket) -> None:
        """One request of the engine's: it sends it right after it has connected."""
        with contextlib.suppress(OSError):
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(5)
                received = messages.receive(sock)
                if received is not None:
                    answer, fds = self._do(received[0])
                    messages.send(sock, answer, fds)

    def _do(self, message: Message) -> tuple[Answer, list[int]]:
        try:
            match message:
                case Bind(key):
                    return Answer(), [self._bind(key).fileno()]
                case Release(key):
                    if not self._relay.leads(key):
                        self._drop(key)
                case Change(remove, add):
                    wanted = {target.key for target in add}
                    for key in remove:
                        if key not in wanted:
                            self._drop(key)
                    for target in add:
                        self._relay.lead(self._bind(target.key), target)
                case Keep(targets):
                    for key in set(self._held) - {target.key for target in targets}:
                        self._drop(key)
                    return self._lead_all(targets), []
                case End():
                    self._ended.set()
        except OSError as error:
            return Answer(error.errno or 5), []
        return Answer(), []

    def _lead_all(self, targets: list[Target]) -> Answer:
        """As many as can be; the errno of the last that can't."""
        answer = Answer()
        for target in targets:
            try:
                self._relay.lead(self._bind(target.key), target)
            except OSError as error:
                answer = Answer(error.errno or 5)
        return answer

    def _bind(self, key: Key) -> socket.socket:
        if key in self._held:
            return self._held[key]
        messages.send(self._link, Bind(key))
        received = messages.receive(self._link)
        if received is None:
            raise ConnectionResetError(104, "outside has gone")
        answer, fds = received
        if isinstance(answer, Answer) and answer.errno:
            raise OSError(answer.errno, os.strerror(answer.errno))
        sock = socket.socket(fileno=fds[0])
        sock.setblocking(False)
        key = Key(key.protocol, key.address, sock.getsockname()[1])
        self._held[key] = sock
        return sock

    def _drop(self, key: Key) -> None:
        self._relay.stop(key)
        if sock := self._held.pop(key, None):
            sock.close()
