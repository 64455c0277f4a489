"""Messages of the log drivers, as their protocols have them; and output cut into messages as docker's copier cuts it."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.runtime.logdrivers.carrier import HEADER, carry
from onggi.runtime.logdrivers.fluentd import Fluentd
from onggi.runtime.logdrivers.gelf import Gelf
from onggi.runtime.logdrivers.journald import Journald
from onggi.runtime.logdrivers.lines import PIECE_BYTES, STDERR, STDOUT, Lines, Message
from onggi.runtime.logdrivers.syslog import Syslog
from onggi.runtime.protocol import CarrierPlan

NOW = 1_795_531_635_915_123_456


def plan(driver: Any, address: str = "udp://127.0.0.1:1", **options: str) -> CarrierPlan:
    words = {name.replace("_", "-"): value for name, value in options.items()}
    return CarrierPlan(driver=driver, address=address, tag="web", fields={"FOO": "bar"}, options=words)


@pytest.mark.parametrize(
    ("form", "head"),
    [
        ("", r"<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d web\[\d+\]: hello\n"),
        ("rfc3164", r"<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ web\[\d+\]: hello\n"),
        ("rfc5424", r"<30>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d) \S+ web \d+ web - hello\n"),
        ("rfc5424micro", r"<30>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d) \S+ web \d+ web - hello\n"),
    ],
)
@pytest.mark.row("E-309")
def test_a_syslog_message_has_the_form_that_was_asked_for(form: str, head: str) -> None:
    text = Syslog(plan("syslog", format=form, facility="3"), None).encode(Message(STDOUT, b"hello", NOW))
    assert re.fullmatch(head, text.decode())


def test_stderr_is_an_error_of_the_facility() -> None:
    assert Syslog(plan("syslog", facility="19"), None).encode(Message(STDERR, b"x", NOW)).startswith(b"<155>")


def test_over_tls_rfc_5424_messages_are_counted() -> None:
    data = Syslog(plan("syslog", "tcp+tls://h:1", format="rfc5424"), None).encode(Message(STDOUT, b"x", NOW))
    size, _, rest = data.partition(b" ")
    assert int(size) == len(rest)


@pytest.mark.row("E-310")
def test_a_fluentd_event_has_tag_time_record_and_options() -> None:
    driver = Fluentd(plan("fluentd", request_ack="true"), None)
    tag, when, record, options = msgspec.msgpack.decode(driver.encode(Message(STDERR, b"oops", NOW), "c1"))
    assert (tag, when, options) == ("web", NOW // 10**9, {"chunk": "c1"})
    assert record == {"container_id": "", "container_name": "", "source": "stderr", "log": "oops", "FOO": "bar"}


def test_parts_of_a_long_line_say_so_and_time_may_have_nanoseconds() -> None:
    driver = Fluentd(plan("fluentd", sub_second_precision="true"), None)
    data = driver.encode(Message(STDOUT, b"x" * 20_000, NOW, "id", 2, last=True))
    _, when, record, _ = msgspec.msgpack.decode(data)
    assert struct.unpack(">II", when.data) == (NOW // 10**9, NOW % 10**9)
    assert (record["partial_ordinal"], record["partial_last"], len(record["log"])) == ("2", "true", 20_000)


@given(st.binary(max_size=70_000))
def test_any_bytes_are_one_value_for_fluentd(text: bytes) -> None:
    data = Fluentd(plan("fluentd"), None).encode(Message(STDOUT, text, NOW))
    assert text in data


@pytest.mark.parametrize("kind", ["gzip", "zlib", "none"])
@pytest.mark.row("E-310")
def test_gelf_chunks_are_put_together_again(kind: str) -> None:
    driver = Gelf(plan("gelf", compression_type=kind, compression_level="0"), None)
    datagrams = driver.datagrams(driver.encode(Message(STDOUT, b"y" * 9000, NOW)))
    assert len(datagrams) > 1
    assert all(part[:2] == b"\x1e\x0f" and part[11] == len(datagrams) and len(part) <= 1420 for part in datagrams)
    assert len({part[2:10] for part in datagrams}) == 1
    whole = b"".join(part[12:] for part in sorted(datagrams, key=lambda part: part[10]))
    found = json.loads(whole if kind == "none" else zlib.decompress(whole, 47))
    assert (found["version"], found["short_message"], found["level"]) == ("1.1", "y" * 9000, 6)
    assert (found["timestamp"], found["FOO"]) == (1795531635.915, "bar")


def test_a_gelf_message_beyond_128_chunks_is_refused() -> None:
    driver = Gelf(plan("gelf", compression_type="none"), None)
    with pytest.raises(OSError, match="chunks"):
        driver.datagrams(bytes(1408 * 129))


@pytest.mark.row("E-309")
def test_a_journal_entry_counts_values_with_line_feeds() -> None:
    data = Journald(plan("journald"), None).encode(Message(STDERR, b"two\nlines", NOW, "id", 1))
    assert data.startswith(b"MESSAGE\n" + struct.pack("<Q", 9) + b"two\nlines\n")
    for line in (b"PRIORITY=3", b"CONTAINER_PARTIAL_MESSAGE=true", b"CONTAINER_LOG_ORDINAL=1", b"FOO=bar"):
        assert line + b"\n" in data


@pytest.mark.row("E-309")
def test_an_entry_that_no_datagram_holds_goes_in_a_sealed_file(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "journal"))
        driver = Journald(plan("journald", f"unixgram://{tmp_path}/journal"), None)
        driver.send(Message(STDOUT, b"z" * 1_000_000, NOW))
        data, fds, _, _ = socket.recv_fds(server, 64, 1)
        driver.close()
    assert data == b""
    with open(fds[0], "rb") as file:
        file.seek(0)
        assert b"z" * 1_000_000 in file.read()


@given(st.binary(max_size=3 * PIECE_BYTES), st.integers(1, 5000))
def test_messages_hold_every_byte_of_the_output_once(output: bytes, step: int) -> None:
    lines, found = Lines(STDOUT), []
    for begin in range(0, len(output), step):
        found += lines.feed(output[begin : begin + step], NOW)
    found += lines.end(NOW)
    text = b"".join(m.text + (b"" if m.part_id and not m.last else b"\n") for m in found)
    assert text.removesuffix(b"\n") == output.removesuffix(b"\n")
    assert all(len(message.text) <= PIECE_BYTES for message in found)


class Kept:
    """A driver that keeps what it is given; the first message fails."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.failed = False

    def send(self, message: Message) -> None:
        if not self.failed:
            self.failed = True
            raise OSError("away")
        self.messages.append(message)

    def close(self) -> None:
        pass


def test_a_message_that_is_lost_does_not_end_the_carrier() -> None:
    ours, theirs = socket.socketpair()
    kept = Kept()
    reader = threading.Thread(target=carry, args=(theirs, kept))
    reader.start()
    for stream, text in ((STDOUT, b"lost\none\n"), (STDERR, b"two\n"), (STDOUT, b"three"), (STDOUT, b"")):
        ours.sendall(HEADER.pack(stream, NOW, len(text)) + text)
    ours.close()
    reader.join(10)
    theirs.close()
    assert [(m.stream, m.text) for m in kept.messages] == [(STDOUT, b"one"), (STDERR, b"two"), (STDOUT, b"three")]
