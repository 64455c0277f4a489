"""rtnetlink: links, addresses, routes, neighbours; raw messages, nothing but socket and struct.

The shim and the container's child use it between fork and exec, so it stays small: the field's library takes 140 ms to
import. Source: rtnetlink(7), include/uapi/linux/{rtnetlink,if_link,if_addr,veth}.h.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from enum import IntEnum
from ipaddress import ip_address
from typing import Self

import msgspec

from onggi.kernel.fds import AnyFd, number

_HEADER = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBi")
_RTMSG = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")


class Message(IntEnum):
    ERROR = 2
    DONE = 3
    NEWLINK = 16
    DELLINK = 17
    GETLINK = 18
    SETLINK = 19
    NEWADDR = 20
    DELADDR = 21
    GETADDR = 22
    NEWROUTE = 24
    DELROUTE = 25
    GETROUTE = 26
    NEWRULE = 32


_REQUEST, _ACK, _EXCLUSIVE, _CREATE, _REPLACE, _DUMP = 1, 4, 0x200, 0x400, 0x100, 0x300
_NESTED = 0x8000
_IFF_UP = 1
(
    _IFLA_ADDRESS,
    _IFLA_IFNAME,
    _IFLA_MTU,
    _IFLA_MASTER,
    _IFLA_LINKINFO,
    _IFLA_NET_NS_PID,
    _IFLA_IFALIAS,
    _IFLA_NET_NS_FD,
) = 1, 3, 4, 10, 18, 19, 20, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_PROTINFO, _IFLA_BRPORT_MODE, _IFLA_BRPORT_ISOLATED = 12, 4, 33
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_GROUP_LINK = 1


def attribute(kind: int, value: bytes) -> bytes:
    """Struct rtattr with its padding to four bytes."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of each attribute in `data`."""
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


_ONE_QUEUE = attribute(31, struct.pack("=I", 1)) + attribute(32, struct.pack("=I", 1))
"""IFLA_NUM_TX_QUEUES and RX: a veth has no queue to wait in, and else gets objects in sysfs for one for each CPU."""


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


class Link(msgspec.Struct, frozen=True):
    """A network interface as the kernel shows it."""

    index: int
    name: str
    mtu: int
    master: int
    mac: str
    alias: str
    kind: str
    is_up: bool


class Route:
    """A netlink socket in the network namespace in which it was made (or of `namespace`, a descriptor)."""

    def __init__(self, namespace: int | None = None) -> None:
        if namespace is None:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        else:
            self._socket = _socket_in(namespace)
        self._sequence = 0
        self._is_here = namespace is None
        self._together: list[tuple[str, bytes]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def _ask(self, step: str, kind: int, flags: int, body: bytes) -> list[tuple[int, bytes]]:
        """One request; the (type, body) of each answer. Raises OSError with `step`."""
        self._sequence += 1
        self._socket.send(_HEADER.pack(16 + len(body), kind, flags | _REQUEST, self._sequence, 0) + body)
        found: list[tuple[int, bytes]] = []
        while True:
            data = self._socket.recv(1 << 17)
            at = 0
            while at + 16 <= len(data):
                length, answer, _, sequence, _ = _HEADER.unpack_from(data, at)
                payload = data[at + 16 : at + length]
                at += (length + 3) & ~3
                if sequence != self._sequence:
                    continue
                if answer == Message.ERROR:
                    number = -struct.unpack_from("=i", payload)[0]
                    if number:
                        raise OSError(number, f"{step}: {os.strerror(number)}")
                    return found
                if answer == Message.DONE:
                    return found
                found.append((answer, payload))
            if not flags & (_ACK | _DUMP) and found:
                return found

    def _do(self, step: str, kind: int, flags: int, body: bytes) -> None:
        if self._together is None:
            self._ask(step, kind, flags | _ACK, body)
            return
        self._sequence += 1
        header = _HEADER.pack(16 + len(body), kind, flags | _ACK | _REQUEST, self._sequence, 0)
        self._together.append((step, header + body + b"\0" * (-len(body) % 4)))

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Changes made in the block are sent at once at its end: one call instead of two for each.

        The kernel carries them out in order. Raises OSError of the first that failed; later ones were tried too.
        """
        self._together = []
        try:
            yield
            sent = self._together
        finally:
            self._together = None
        if not sent:
            return
        first = self._sequence - len(sent) + 1
        self._socket.send(b"".join(message for _, message in sent))
        failed: tuple[int, int] | None = None
        left = len(sent)
        while left:
            data, at = self._socket.recv(1 << 17), 0
            while at + 16 <= len(data):
                length, answer, _, sequence, _ = _HEADER.unpack_from(data, at)
                if answer == Message.ERROR and first <= sequence <= self._sequence:
                    left -= 1
                    number = -struct.unpack_from("=i", data, at + 16)[0]
                    if number and failed is None:
                        failed = sequence - first, number
                at += (length + 3) & ~3
        if failed is not None:
            raise OSError(failed[1], f"{sent[failed[0]][0]}: {os.strerror(failed[1])}")

    def index(self, name: str) -> int:
        """Raises OSError ENODEV."""
        if self._is_here:
            try:
                return socket.if_nametoindex(name)
            except OSError:
                raise OSError(errno.ENODEV, f"link {name}: {os.strerror(errno.ENODEV)}") from None
        return self.link(name).index

    def link(self, name: str) -> Link:
        """Raises OSError ENODEV."""
        body = _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, _text(name))
        answers = self._ask(f"link {name}", Message.GETLINK, 0, body)
        return _link(answers[0][1])

    def links(self) -> list[Link]:
        answers = self._ask("list links", Message.GETLINK, _DUMP, _IFINFO.pack(0, 0, 0, 0, 0))
        return [_link(payload) for kind, payload in answers if kind == Message.NEWLINK]

    def add_veth(
        self,
        name: str,
        *,
        bridge: str,
        peer: str,
        peer_mac: str = "",
        mtu: int = 1500,
        peer_pid: int | None = None,
        peer_ns: int | None = None,
    ) -> None:
        """A veth pair: `name` here, up and in `bridge`; `peer` in the namespace of process `peer_pid` or descriptor `peer_ns`.

        One message: there is no moment in which the peer is in this namespace. Raises OSError EEXIST, ENODEV.
        """
        inside = attribute(_IFLA_IFNAME, _text(peer)) + attribute(_IFLA_MTU, struct.pack("=I", mtu)) + _ONE_QUEUE
        if peer_mac:
            inside += attribute(_IFLA_ADDRESS, bytes.fromhex(peer_mac.replace(":", "")))
        if peer_pid is not None:
            inside += attribute(_IFLA_NET_NS_PID, struct.pack("=I", peer_pid))
        elif peer_ns is not None:
            inside += attribute(_IFLA_NET_NS_FD, struct.pack("=I", peer_ns))
        data = attribute(_VETH_INFO_PEER | _NESTED, _IFINFO.pack(0, 0, 0, 0, 0) + inside)
        info = attribute(_IFLA_INFO_KIND, b"veth") + attribute(_IFLA_INFO_DATA | _NESTED, data)
        body = _IFINFO.pack(0, 0, 0, _IFF_UP, _IFF_UP) + attribute(_IFLA_IFNAME, _text(name))
        body += attribute(_IFLA_MTU, struct.pack("=I", mtu)) + _ONE_QUEUE
        if bridge:
            body += attribute(_IFLA_MASTER, struct.pack("=I", self.index(bridge)))
        body += attribute(_IFLA_LINKINFO | _NESTED, info)
        self._do(f"add veth {name}", Message.NEWLINK, _CREATE | _EXCLUSIVE, body)

    def add_bridge(self, name: str, *, alias: str = "", mtu: int = 0, mac: str = "") -> None:
        """A bridge, not yet up. Raises OSError EEXIST."""
        info = attribute(_IFLA_INFO_KIND, b"bridge")
        body = _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, _text(name))
        if mac:
            body += attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
        if mtu:
            body += attribute(_IFLA_MTU, struct.pack("=I", mtu))
        body += attribute(_IFLA_LINKINFO | _NESTED, info)
        self._do(f"add bridge {name}", Message.NEWLINK, _CREATE | _EXCLUSIVE, body)
        if alias:
            self._change(name, attribute(_IFLA_IFALIAS, alias.encode()))

    def _change(self, name: str, extra: bytes, *, up: bool | None = None) -> None:
        flags = 0 if up is None else _IFF_UP
        body = _IFINFO.pack(0, 0, self.index(name), flags if up else 0, flags) + extra
        self._do(f"change link {name}", Message.NEWLINK, 0, body)

    def set_master(self, name: str, bridge: str) -> None:
        """Into `bridge`. Raises OSError ENODEV."""
        self._change(name, attribute(_IFLA_MASTER, struct.pack("=I", self.index(bridge))))

    def set_port(self, name: str, *, isolated: bool = False, hairpin: bool = False) -> None:
        """Flags of a bridge's port. `isolated`: no frames to other isolated ports (Linux 4.18); `hairpin`: back out of itself."""
        flags = attribute(_IFLA_BRPORT_ISOLATED, bytes([isolated])) + attribute(_IFLA_BRPORT_MODE, bytes([hairpin]))
        body = _IFINFO.pack(socket.AF_BRIDGE, 0, self.index(name), 0, 0)
        body += attribute(_IFLA_PROTINFO | _NESTED, flags)
        self._do(f"set port {name}", Message.SETLINK, 0, body)

    def set_up(self, name: str) -> None:
        self._change(name, b"", up=True)

    def rename(self, name: str, new: str) -> None:
        self._change(name, attribute(_IFLA_IFNAME, _text(new)))

    def move(self, name: str, new: str, *, pid: int, namespace: AnyFd | None = None) -> None:
        """Into another network namespace, that of `namespace` or of process `pid`, as `new`; down, without its addresses.

        Raises OSError: ENODEV, EEXIST the name is taken there, EINVAL it can't leave (loopback, a bridge's netns-local).
        """
        if namespace is not None:
            where = attribute(_IFLA_NET_NS_FD, struct.pack("=I", number(namespace)))
        else:
            where = attribute(_IFLA_NET_NS_PID, struct.pack("=I", pid))
        body = _IFINFO.pack(0, 0, self.index(name), 0, _IFF_UP) + attribute(_IFLA_IFNAME, _text(new)) + where
        self._do(f"move link {name}", Message.NEWLINK, 0, body)

    def delete(self, name: str) -> None:
        """Raises OSError ENODEV. The kernel waits for a grace period of RCU: about 16 ms."""
        body = _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, _text(name))
        self._do(f"delete link {name}", Message.DELLINK, 0, body)

    def add_address(self, name: str, address: str) -> None:
        """`address` in CIDR. IPv6 without duplicate detection: the address is ours to give. Raises OSError EEXIST."""
        family, raw, length = _parse(address)
        nodad = 0x02 if family == socket.AF_INET6 else 0
        body = _IFADDR.pack(family, length, nodad, 0, self.index(name))
        body += attribute(2, raw) + attribute(1, raw)
        if family == socket.AF_INET:
            broadcast = int.from_bytes(raw, "big") | (1 << 32 - length) - 1
            body += attribute(4, broadcast.to_bytes(4, "big"))
        self._do(f"add address {address} to {name}", Message.NEWADDR, _CREATE | _EXCLUSIVE, body)

    def addresses(self, name: str) -> list[str]:
        """Addresses of the link in CIDR."""
        wanted, found = self.index(name), []
        for kind, payload in self._ask("list addresses", Message.GETADDR, _DUMP, _IFADDR.pack(0, 0, 0, 0, 0)):
            _, prefix, _, _, index = _IFADDR.unpack_from(payload)
            if kind == Message.NEWADDR and index == wanted:
                values = dict(attributes(payload[_IFADDR.size :]))
                raw = values.get(2) or values.get(1)
                if raw:
                    found.append(f"{ip_address(raw)}/{prefix}")
        return found

    def add_route(self, destination: str, *, gateway: str | None, link: str = "") -> None:
        """`destination` in CIDR through `gateway`, or straight out of `link`; without a link, that which leads to the gateway.

        Raises OSError EEXIST, ENETUNREACH.
        """
        family, raw, length = _parse(destination)
        scope = 0 if gateway else 253  # universe, link
        body = _RTMSG.pack(family, length, 0, 0, 254, 3, scope, 1, 0)
        if length:
            host_bits = len(raw) * 8 - length
            body += attribute(1, (int.from_bytes(raw, "big") >> host_bits << host_bits).to_bytes(len(raw), "big"))
        if gateway:
            body += attribute(5, socket.inet_pton(family, gateway))
        if link:
            body += attribute(4, struct.pack("=I", self.index(link)))
        self._do(f"add route {destination}", Message.NEWROUTE, _CREATE | _EXCLUSIVE, body)

    def deliver_marked(self, family: int, mark: int, table: int) -> None:
        """Packets with `mark` are for this machine, whatever their destination: a rule that leads to `table`, a route in it.

        Source: Documentation/networking/tproxy.rst; struct fib_rule_hdr in linux/fib_rules.h. Raises OSError.
        """
        rule = struct.pack("=BBBBBxxBI", family, 0, 0, 0, table, 1, 0)
        rule += attribute(10, struct.pack("=I", mark)) + attribute(15, struct.pack("=I", table))
        self._do("add rule", Message.NEWRULE, _CREATE | _EXCLUSIVE, rule)
        route = _RTMSG.pack(family, 0, 0, 0, table, 4, 254, 2, 0)  # static, host, local
        route += attribute(4, struct.pack("=I", self.index("lo")))
        self._do("add route of marked packets", Message.NEWROUTE, _CREATE | _EXCLUSIVE, route)

    def default_mtu(self) -> int | None:
        """MTU of the link of the IPv4 default route, None without one."""
        for kind, payload in self._ask(
            "list routes", Message.GETROUTE, _DUMP, _RTMSG.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        ):
            fields = _RTMSG.unpack_from(payload)
            if kind == Message.NEWROUTE and fields[1] == 0 and fields[4] == 254:
                values = dict(attributes(payload[_RTMSG.size :]))
                if 4 in values:
                    index = struct.unpack("=I", values[4])[0]
                    return next((link.mtu for link in self.links() if link.index == index), None)
        return None

    def routes(self) -> list[str]:
        """Destinations of the IPv4 main table in CIDR: what a new subnet must not overlap."""
        found = []
        for kind, payload in self._ask(
            "list routes", Message.GETROUTE, _DUMP, _RTMSG.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        ):
            fields = _RTMSG.unpack_from(payload)
            values = dict(attributes(payload[_RTMSG.size :]))
            if kind == Message.NEWROUTE and fields[4] == 254 and 1 in values:
                found.append(f"{ip_address(values[1])}/{fields[1]}")
        return found


def watch_links() -> socket.socket:
    """A socket that tells of links that come, change and go in this network namespace; `removed_links` reads it."""
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    try:
        sock.bind((0, 0))  # one without a number of its own is told nothing (do_one_broadcast in af_netlink.c)
        sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_LINK)
    except BaseException:
        sock.close()
        raise
    return sock


def removed_links(data: bytes) -> list[str]:
    """Names of the links that a message says are gone."""
    found, at = [], 0
    while at + 32 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 32:
            break
        if kind == Message.DELLINK and data[at + 16] == socket.AF_UNSPEC:  # AF_BRIDGE: a port has left its bridge
            found.append(_link(data[at + 16 : at + length]).name)
        at += (length + 3) & ~3
    return found


def _parse(address: str) -> tuple[int, bytes, int]:
    """Family, address and prefix length. (The ipaddress module takes twenty times as long, on the way of each start.)

    Raises OSError EINVAL.
    """
    text, _, length = address.partition("/")
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        raw = socket.inet_pton(family, text)
        bits = int(length) if length else len(raw) * 8
    except (OSError, ValueError):
        raise OSError(errno.EINVAL, f"address {address}: {os.strerror(errno.EINVAL)}") from None
    return family, raw, bits


def _link(payload: bytes) -> Link:
    _, _, index, flags, _ = _IFINFO.unpack_from(payload)
    values = dict(attributes(payload[_IFINFO.size :]))
    info = dict(attributes(values.get(_IFLA_LINKINFO, b"")))
    return Link(
        index,
        values.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(),
        struct.unpack("=I", values.get(_IFLA_MTU, b"\0\0\0\0"))[0],
        struct.unpack("=I", values.get(_IFLA_MASTER, b"\0\0\0\0"))[0],
        values.get(_IFLA_ADDRESS, b"").hex(":"),
        values.get(_IFLA_IFALIAS, b"").rstrip(b"\0").decode(errors="replace"),
        info.get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode(),
        bool(flags & _IFF_UP),
    )


def _socket_in(namespace: int) -> socket.socket:
    """A netlink socket that belongs to another network namespace: made by a thread that goes there and ends.

    setns(2) moves the calling thread alone, so the process stays where it is.
    """
    import threading

    from onggi.kernel.clone import CloneFlag
    from onggi.kernel.process import setns

    made: list[socket.socket | OSError] = []

    def run() -> None:
        try:
            setns(namespace, CloneFlag.NEWNET)
            made.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=run, name="netlink socket in a namespace")
    thread.start()
    thread.join()
    result = made[0] if made else OSError(errno.EIO, "netlink: no socket")
    if isinstance(result, OSError):
        raise result
    return result
