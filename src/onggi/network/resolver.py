"""Names in user-defined networks: answers on 127.0.0.11 of each container, without a process for each.

The sockets were made in the container's network namespace by its first process and handed out (runtime/links.py); who asks
is known by the socket that it asks at. What isn't a container's name is asked of the host's servers, from the host's network;
a container that is in internal networks alone gets no such answer (CVE-2024-29018).
Source: RFC 1035; docker's embedded server for TTL 600 and for which names there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dnslib import AAAA, PTR, QTYPE, RCODE, RR, A, DNSError, DNSHeader, DNSRecord

TTL_S = 600
FORWARD_TIMEOUT_S = 2.0
"""For each of the host's servers: an asker waits 5 s for all of them (resolv.conf(5), timeout)."""
MOST_UNDER_WAY = 512
"""Questions of one container that wait for a server of the host's; what is more is dropped, and asked again."""

MOST_STREAMS = 64
"""TCP connections of one container at a time: each costs the engine a descriptor."""

Lookup = Callable[[str, str], Sequence[str] | None]
"""(container, name without its last dot) → addresses of that name, None when it is no container's name."""
Reverse = Callable[[str, str], str | None]
"""(container, address) → name."""


@dataclass(slots=True)
class _Served:
    transports: list[asyncio.DatagramTransport] = field(default_factory=list)
    servers: list[asyncio.Server] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    streams: set[asyncio.StreamWriter] = field(default_factory=set)


class Resolver:
    """All containers' name servers of one engine."""

    def __init__(
        self,
        lookup: Lookup,
        reverse: Reverse,
        may_forward: Callable[[str], bool],
        upstream: Callable[[str], Sequence[str]],
    ) -> None:
        self._lookup, self._reverse, self._may_forward, self._upstream = lookup, reverse, may_forward, upstream
        self._served: dict[str, _Served] = {}

    async def serve(self, container_id: str, fds: Sequence[int]) -> None:
        """Answers on these sockets (UDP, TCP), which are the resolver's from now on."""
        self.forget(container_id)
        served = self._served[container_id] = _Served()
        loop = asyncio.get_running_loop()
        for fd in fds:
            sock = socket.socket(fileno=fd)
            sock.setblocking(False)
            if sock.type == socket.SOCK_DGRAM:
                transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self, container_id, served), sock=sock)
                served.transports.append(transport)
            else:
                server = await asyncio.start_server(lambda r, w: self._tcp(container_id, served, r, w), sock=sock)
                served.servers.append(server)

    def is_served(self, container_id: str) -> bool:
        return container_id in self._served

    def forget(self, container_id: str) -> None:
        served = self._served.pop(container_id, None)
        if served is None:
            return
        for transport in served.transports:
            transport.close()
        for server in served.servers:
            server.close()
        for task in served.tasks:
            task.cancel()
        for writer in served.streams:
            writer.close()

    def close(self) -> None:
        for container_id in list(self._served):
            self.forget(container_id)

    async def answer(self, container_id: str, question: bytes, *, tcp: bool = False) -> bytes | None:
        """The whole answer to a question, None for what is no question."""
        try:
            asked = DNSRecord.parse(question)
        except (DNSError, struct.error, ValueError, IndexError):
            return None
        if asked.header.qr or len(asked.questions) != 1:
            return None
        kind, name = asked.q.qtype, str(asked.q.qname).rstrip(".").lower()
        if kind in (QTYPE.A, QTYPE.AAAA, QTYPE.ANY):
            addresses = self._lookup(container_id, name)
            if addresses is not None:
                return self._addresses_answer(asked, kind, addresses)
        elif kind == QTYPE.PTR and name.endswith(".in-addr.arpa"):
            address = ".".join(reversed(name.removesuffix(".in-addr.arpa").split(".")))
            found = self._reverse(container_id, address)
            if found:
                reply = _reply(asked)
                reply.add_answer(RR(asked.q.qname, QTYPE.PTR, ttl=TTL_S, rdata=PTR(found + ".")))
                return bytes(reply.pack())
        if not self._may_forward(container_id):
            return bytes(_reply(asked, RCODE.SERVFAIL).pack())
        answer = await self._forward(container_id, question, tcp=tcp)
        return answer if answer is not None else bytes(_reply(asked, RCODE.SERVFAIL).pack())

    @staticmethod
    def _addresses_answer(asked: DNSRecord, kind: int, addresses: Sequence[str]) -> bytes:
        reply = _reply(asked)
        reply.header.aa = 1
        for text in addresses:
            address = ipaddress.ip_address(text)
            if address.version == 4 and kind in (QTYPE.A, QTYPE.ANY):
                reply.add_answer(RR(asked.q.qname, QTYPE.A, ttl=TTL_S, rdata=A(text)))
            elif address.version == 6 and kind in (QTYPE.AAAA, QTYPE.ANY):
                reply.add_answer(RR(asked.q.qname, QTYPE.AAAA, ttl=TTL_S, rdata=AAAA(text)))
        return bytes(reply.pack())

    async def _forward(self, container_id: str, question: bytes, *, tcp: bool) -> bytes | None:
        for server in list(self._upstream(container_id))[:3]:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(FORWARD_TIMEOUT_S):
                    return await (_ask_tcp if tcp else _ask_udp)(server, question)
        return None

    async def _tcp(
        self, container_id: str, served: _Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Questions with their length before them (RFC 7766), until the client is silent for 10 s."""
        if len(served.streams) >= MOST_STREAMS:
            writer.close()
            return
        served.streams.add(writer)
        try:
            while True:
                async with asyncio.timeout(10):
                    length = struct.unpack(">H", await reader.readexactly(2))[0]
                    question = await reader.readexactly(length)
                answer = await self.answer(container_id, question, tcp=True)
                if answer is None:
                    return
                writer.write(struct.pack(">H", len(answer)) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            return
        finally:
            served.streams.discard(writer)
            writer.close()


def _reply(asked: DNSRecord, code: int = 0) -> DNSRecord:
    return DNSRecord(DNSHeader(id=asked.header.id, qr=1, ra=1, rd=asked.header.rd, rcode=code), q=asked.q)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver, container_id: str, served: _Served) -> None:
        self._resolver, self._container_id, self._served = resolver, container_id, served
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if len(self._served.tasks) >= MOST_UNDER_WAY:
            return
        task = asyncio.get_running_loop().create_task(self._answer(data, address), name="a name for a container")
        self._served.tasks.add(task)
        task.add_done_callback(self._served.tasks.discard)

    async def _answer(self, data: bytes, address: tuple[str, int]) -> None:
        answer = await self._resolver.answer(self._container_id, data)
        if answer is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(answer, address)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error for an answer that came too late: its asker is gone."""


async def _ask_udp(server: str, question: bytes) -> bytes:
    """A question of our own number from a port of its own. Only an answer to it, from that server, counts (S-64)."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect((server, 53))
        number = secrets.token_bytes(2)
        await loop.sock_sendall(sock, number + question[2:])
        while True:
            answer = await loop.sock_recv(sock, 65535)
            if answer[:2] == number and is_answer_to(question, answer):
                return question[:2] + answer[2:]


def is_answer_to(question: bytes, answer: bytes) -> bool:
    """Whether it repeats the question, in whatever case (RFC 5452, section 9.1). Numbers are for the caller to compare."""
    end = 12
    while end < len(question) and question[end]:
        end += question[end] + 1
    end += 5
    return len(answer) >= end and bool(answer[2] & 0x80) and answer[12:end].lower() == question[12:end].lower()


async def _ask_tcp(server: str, question: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server, 53)
    try:
        writer.write(struct.pack(">H", len(question)) + question)
        await writer.drain()
        length = struct.unpack(">H", await reader.readexactly(2))[0]
        return await reader.readexactly(length)
    finally:
        writer.close()
