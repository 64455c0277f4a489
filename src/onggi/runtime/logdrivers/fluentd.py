"""Fluentd's forward protocol, one event a message: msgpack over TCP, TLS or a unix socket.

Source: github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1 (message mode, `chunk` and `ack`, EventTime).
"""

from __future__ import annotations

import base64
import os
import struct
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from onggi.runtime.logdrivers.connection import Connection

if TYPE_CHECKING:
    import socket

    from onggi.runtime.logdrivers.lines import Message
    from onggi.runtime.protocol import CarrierPlan

_EVENT_TIME: Final = 0
_ARRAY_OF_4: Final = b"\x94"
_LONGEST_WAIT_S: Final = 60.0

_encode: Final = msgspec.msgpack.Encoder().encode


class Fluentd:
    """Sends messages; a server that is away is tried again, longer and longer apart, `max-retries` times."""

    def __init__(self, plan: CarrierPlan, sock: socket.socket | None) -> None:
        self._connection = Connection(plan.address, plan.options, sock)
        options = plan.options
        self._tag, self._fields = plan.tag, plan.fields
        self._acknowledged = "request-ack" in options
        self._sub_second = "sub-second-precision" in options
        self._retry_wait_s = float(options.get("retry-wait", "1"))
        self._max_retries = int(options.get("max-retries", str(2**31 - 1)))
        self._write_timeout_s = float(options.get("write-timeout", "0")) or None
        self._read_timeout_s = float(options.get("read-timeout", "0")) or None

    def send(self, message: Message) -> None:
        """Raises OSError once all tries are used up."""
        chunk = base64.b64encode(os.urandom(16)).decode() if self._acknowledged else ""
        data = self.encode(message, chunk)
        tries = 0
        while True:
            try:
                self._connection.send(data, timeout_s=self._write_timeout_s)
                if chunk:
                    self._await(chunk)
                return
            except OSError:
                if tries >= self._max_retries:
                    raise
                # 1.5 to the power of the tries, as fluentd's own client waits.
                time.sleep(min(self._retry_wait_s * 1.5 ** min(tries, 20), _LONGEST_WAIT_S))
                tries += 1

    def encode(self, message: Message, chunk: str = "") -> bytes:
        seconds, nanoseconds = divmod(message.time_ns, 1_000_000_000)
        when: Any = seconds
        if self._sub_second:
            when = msgspec.msgpack.Ext(_EVENT_TIME, struct.pack(">II", seconds & 0xFFFFFFFF, nanoseconds))
        record = {
            b"container_id": self._fields.get("container_id", "").encode(),
            b"container_name": self._fields.get("container_name", "").encode(),
            b"source": message.source.encode(),
            b"log": message.text,
        } | {name.encode(): value.encode() for name, value in self._fields.items()}
        if message.part_id:
            record |= {
                b"partial_message": b"true",
                b"partial_id": message.part_id.encode(),
                b"partial_ordinal": b"%d" % message.ordinal,
                b"partial_last": b"true" if message.last else b"false",
            }
        pairs = b"".join(_text(word) for pair in record.items() for word in pair)
        options = {"chunk": chunk} if chunk else {}
        return b"".join(
            (_ARRAY_OF_4, _encode(self._tag), _encode(when), _map_header(len(record)), pairs, _encode(options))
        )

    def _await(self, chunk: str) -> None:
        answer = msgspec.msgpack.decode(self._connection.receive(timeout_s=self._read_timeout_s))
        if not isinstance(answer, dict) or answer.get("ack") != chunk:
            self._connection.close()
            raise ConnectionError("fluentd acknowledged something else")

    def close(self) -> None:
        self._connection.close()


def _text(data: bytes) -> bytes:
    """Msgpack's str, which output that isn't UTF-8 goes into as it is (the `str` family of the msgpack specification)."""
    size = len(data)
    if size < 32:
        return bytes((0xA0 | size,)) + data
    if size < 256:
        return b"\xd9%c" % size + data
    return (b"\xda" + struct.pack(">H", size) if size < 65536 else b"\xdb" + struct.pack(">I", size)) + data


def _map_header(pairs: int) -> bytes:
    return bytes((0x80 | pairs,)) if pairs < 16 else b"\xde" + struct.pack(">H", pairs)
