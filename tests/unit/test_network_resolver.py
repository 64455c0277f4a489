"""Names for containers: what is answered to whom, and what strangers may send."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Sequence

import pytest
from dnslib import QTYPE, RCODE, DNSRecord

from onggi.network.resolver import Resolver, is_answer_to

NAMES = {"asker": {"web": ["10.1.0.2"], "two": ["10.1.0.3", "10.1.0.4"], "six": ["10.1.0.5", "fd00::5"]}}


def resolver(*, may_forward: bool = False, upstream: Sequence[str] = ()) -> Resolver:
    return Resolver(
        lambda container, name: NAMES.get(container, {}).get(name),
        lambda container, address: "web.net" if (container, address) == ("asker", "10.1.0.2") else None,
        lambda _container: may_forward,
        lambda _container: upstream,
    )


def ask(name: str, kind: str = "A", container: str = "asker", **words: object) -> DNSRecord:
    answer = asyncio.run(resolver(**words).answer(container, DNSRecord.question(name, kind).pack()))  # type: ignore[arg-type]
    assert answer is not None
    return DNSRecord.parse(answer)


@pytest.mark.row("P-034")
@pytest.mark.parametrize(("name", "addresses"), [("web", ["10.1.0.2"]), ("WEB.", ["10.1.0.2"]), ("two", ["10.1.0.3", "10.1.0.4"])])  # fmt: skip
def test_a_name_has_the_addresses_of_its_containers(name: str, addresses: list[str]) -> None:
    assert [str(rr.rdata) for rr in ask(name).rr] == addresses


def test_each_family_has_its_own_question() -> None:
    assert [str(rr.rdata) for rr in ask("six", "AAAA").rr] == ["fd00::5"]
    empty = ask("web", "AAAA")
    assert (empty.header.rcode, empty.rr) == (RCODE.NOERROR, [])


def test_an_address_has_a_name() -> None:
    assert [str(rr.rdata) for rr in ask("2.0.1.10.in-addr.arpa", "PTR").rr] == ["web.net."]


@pytest.mark.row("S-64")
@pytest.mark.row("P-044")
def test_names_are_for_those_on_the_network() -> None:
    assert ask("web", container="stranger").header.rcode == RCODE.SERVFAIL


@pytest.mark.row("S-62")
def test_nothing_is_asked_outside_for_a_container_of_an_internal_network() -> None:
    assert ask("example.com", upstream=["203.0.113.1"]).header.rcode == RCODE.SERVFAIL


@pytest.mark.row("S-64")
def test_whatever_is_sent_gets_an_answer_or_silence() -> None:
    asked = resolver()
    dice = random.Random(64)
    whole = DNSRecord.question("web", "A").pack()
    loop = whole[:12] + b"\xc0\x0c" + b"\0\1\0\1"

    async def send() -> None:
        for number in range(3000):
            data = bytearray(whole)
            for _ in range(dice.randrange(1, 6)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            if number % 3 == 0:
                data = data[: dice.randrange(len(data))]
            await asked.answer("asker", bytes(data))
        assert await asked.answer("asker", loop) is None

    asyncio.run(send())


@pytest.mark.row("S-64")
def test_only_an_answer_to_the_question_counts() -> None:
    question = DNSRecord.question("example.com", "A")
    other = DNSRecord.question("example.org", "A").reply()
    assert is_answer_to(question.pack(), question.reply().pack())
    assert not is_answer_to(question.pack(), other.pack())
    assert not is_answer_to(question.pack(), question.pack())
    assert not is_answer_to(question.pack(), b"")


def test_questions_come_by_udp_and_tcp_and_the_sockets_close() -> None:
    async def test() -> None:
        asked = resolver()
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        tcp = socket.create_server(("127.0.0.1", 0))
        udp_to, tcp_to = udp.getsockname(), tcp.getsockname()
        await asked.serve("asker", [udp.detach(), tcp.detach()])
        question = DNSRecord.question("web", "A").pack()

        def by_udp() -> bytes:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(2)
                sock.sendto(question, udp_to)
                return sock.recv(512)

        assert DNSRecord.parse(await asyncio.to_thread(by_udp)).rr[0].rtype == QTYPE.A
        reader, writer = await asyncio.open_connection(*tcp_to)
        writer.write(struct.pack(">H", len(question)) + question)
        length = struct.unpack(">H", await reader.readexactly(2))[0]
        assert str(DNSRecord.parse(await reader.readexactly(length)).rr[0].rdata) == "10.1.0.2"
        asked.close()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*tcp_to)

    asyncio.run(test())
