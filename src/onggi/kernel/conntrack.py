"""Connection tracking over netlink: UDP flows whose translation is out of date are forgotten.

A UDP flow has no end: while its client goes on sending, it stays with the translation (or the lack of one) that its first
packet got. Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h; NFNL_SUBSYS_CTNETLINK.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from onggi.kernel.netlink import attribute, attributes

_NETLINK_NETFILTER = 12
_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_ERROR, _DONE = 2, 3
_NESTED = 0x8000
_TUPLE_ORIG, _TUPLE_REPLY, _ZONE = 1, 2, 18
_HEADER = struct.Struct("=IHHII")


@dataclass(frozen=True, slots=True)
class Flow:
    """A UDP flow: to which address and port its client sends, and who answers."""

    destination: str
    port: int
    answers: str


def forget_udp(is_stale: Callable[[Flow], bool], *, ipv6: bool = False) -> int:
    """Deletes the UDP flows of this network namespace that `is_stale`; how many. Raises OSError."""
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as sock:
        stale = [key for flow, key in _udp_flows(sock, family) if is_stale(flow)]
        for key in stale:
            sock.send(_message(_DELETE, _REQUEST | _ACK, family, key))
            # ENOENT: it has ended by itself meanwhile.
            sock.recv(4096)
    return len(stale)


def _message(kind: int, flags: int, family: int, body: bytes) -> bytes:
    return _HEADER.pack(20 + len(body), kind, flags, 1, 0) + struct.pack("=BBH", family, 0, 0) + body


def _udp_flows(sock: socket.socket, family: int) -> list[tuple[Flow, bytes]]:
    """Each with the attributes by which it is deleted."""
    sock.send(_message(_GET, _REQUEST | _DUMP, family, b""))
    found: list[tuple[Flow, bytes]] = []
    while True:
        data, at = sock.recv(1 << 17), 0
        while at + 16 <= len(data):
            length, kind, _, _, _ = _HEADER.unpack_from(data, at)
            if kind == _DONE:
                return found
            if kind == _ERROR:
                number = -struct.unpack_from("=i", data, at + 16)[0]
                raise OSError(number, f"list connections: {os.strerror(number)}")
            values = dict(attributes(data[at + 20 : at + length]))
            flow = _flow(values)
            if flow is not None:
                key = attribute(_TUPLE_ORIG | _NESTED, values[_TUPLE_ORIG])
                if _ZONE in values:
                    key += attribute(_ZONE, values[_ZONE])
                found.append((flow, key))
            at += (length + 3) & ~3


def _flow(values: dict[int, bytes]) -> Flow | None:
    """None for what isn't UDP."""
    original, reply = (dict(attributes(values.get(kind, b""))) for kind in (_TUPLE_ORIG, _TUPLE_REPLY))
    ports = dict(attributes(original.get(2, b"")))
    if ports.get(1) != bytes([socket.IPPROTO_UDP]) or 3 not in ports:
        return None
    to, back = dict(attributes(original.get(1, b""))), dict(attributes(reply.get(1, b"")))
    return Flow(_address(to, 2), struct.unpack(">H", ports[3])[0], _address(back, 1))


def _address(values: dict[int, bytes], which: int) -> str:
    """`which`: 1 source, 2 destination; IPv6 has the numbers after IPv4's."""
    if which in values:
        return socket.inet_ntop(socket.AF_INET, values[which])
    return socket.inet_ntop(socket.AF_INET6, values[which + 2]) if which + 2 in values else ""
