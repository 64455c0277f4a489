"""127.0.0.11:53 in a container's network leads to other ports there: three rules of nf_tables, set by raw netlink.

Runs in the child, in its own network namespace, where loading libnftables would cost more than the whole start.
Source: include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h. A batch is one transaction: all of it or nothing.
"""

from __future__ import annotations

import os
import socket
import struct

from onggi.kernel.netlink import attribute

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10 << 8
_BATCH_BEGIN, _BATCH_END = 16, 17
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE = _SUBSYSTEM | 0, _SUBSYSTEM | 2, _SUBSYSTEM | 3, _SUBSYSTEM | 6
_REQUEST, _ACK, _CREATE, _APPEND = 1, 4, 0x400, 0x800
_NESTED = 0x8000
_IPV4 = 2
_REG1, _REG2 = 1, 2
_ADDRESS = socket.inet_aton("127.0.0.11")
TABLE = "onggi-names"


def _message(kind: int, flags: int, sequence: int, family: int, body: bytes, resource: int = 0) -> bytes:
    payload = struct.pack("=BBH", family, 0, socket.htons(resource)) + body
    return struct.pack("=IHHII", 16 + len(payload), kind, flags | _REQUEST, sequence, 0) + payload


def _u32(value: int) -> bytes:
    return struct.pack(">I", value)


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _nest(kind: int, value: bytes) -> bytes:
    return attribute(kind | _NESTED, value)


def _expression(name: str, data: bytes) -> bytes:
    """NFTA_LIST_ELEM with NFTA_EXPR_NAME and NFTA_EXPR_DATA."""
    return _nest(1, attribute(1, _text(name)) + _nest(2, data))


def _compare(value: bytes) -> bytes:
    return _expression("cmp", attribute(1, _u32(_REG1)) + attribute(2, _u32(0)) + _nest(3, attribute(1, value)))


def _payload(base: int, offset: int, length: int) -> bytes:
    return _expression(
        "payload",
        attribute(1, _u32(_REG1)) + attribute(2, _u32(base)) + attribute(3, _u32(offset)) + attribute(4, _u32(length)),
    )


def _immediate(register: int, value: bytes) -> bytes:
    return _expression("immediate", attribute(1, _u32(register)) + _nest(2, attribute(1, value)))


def _rule(protocol: int, port: int) -> bytes:
    """Ip daddr 127.0.0.11, this protocol, dport 53: dnat to 127.0.0.11:`port`."""
    expressions = (
        _payload(1, 16, 4) + _compare(_ADDRESS)  # network header, destination address
        + _expression("meta", attribute(2, _u32(16)) + attribute(1, _u32(_REG1))) + _compare(bytes([protocol]))  # l4proto
        + _payload(2, 2, 2) + _compare(struct.pack(">H", 53))  # transport header, destination port
        + _immediate(_REG1, _ADDRESS) + _immediate(_REG2, struct.pack(">H", port))
        # type dnat, family, address from register 1, port from register 2
        + _expression("nat", attribute(1, _u32(1)) + attribute(2, _u32(_IPV4)) + attribute(3, _u32(_REG1)) + attribute(5, _u32(_REG2)))
    )  # fmt: skip
    return attribute(1, _text(TABLE)) + attribute(2, _text("output")) + _nest(4, expressions)


def install(udp_port: int, tcp_port: int, *, replace: bool = False) -> None:
    """Raises OSError with its step; the namespace is as before then.

    `replace`: rules that are there already, of sockets that are gone, make room. (A new namespace has none, and a deleted
    table costs a grace period of RCU.)
    """
    table = attribute(1, _text(TABLE))
    # hook output (3) at the priority of destination NAT (-100)
    hook = _nest(4, attribute(1, _u32(3)) + attribute(2, struct.pack(">i", -100)))
    chain = attribute(1, _text(TABLE)) + attribute(3, _text("output")) + hook + attribute(7, _text("nat"))
    batch = [
        _message(_BATCH_BEGIN, 0, 0, 0, b"", 10),
        *((_message(_NEWTABLE, _CREATE, 6, _IPV4, table), _message(_DELTABLE, 0, 7, _IPV4, table)) if replace else ()),
        _message(_NEWTABLE, _CREATE | _ACK, 1, _IPV4, table),
        _message(_NEWCHAIN, _CREATE | _ACK, 2, _IPV4, chain),
        _message(_NEWRULE, _CREATE | _APPEND | _ACK, 3, _IPV4, _rule(socket.IPPROTO_UDP, udp_port)),
        _message(_NEWRULE, _CREATE | _APPEND | _ACK, 4, _IPV4, _rule(socket.IPPROTO_TCP, tcp_port)),
        _message(_BATCH_END, 0, 5, 0, b"", 10),
    ]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as sock:
        sock.send(b"".join(batch))
        missing = {1, 2, 3, 4}
        while missing:
            data, at = sock.recv(65536), 0
            while at + 16 <= len(data):
                length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, at)
                if kind == 2:
                    number = -struct.unpack_from("=i", data, at + 16)[0]
                    if number:
                        raise OSError(number, f"dns redirect, message {sequence}: {os.strerror(number)}")
                    missing.discard(sequence)
                at += (length + 3) & ~3
