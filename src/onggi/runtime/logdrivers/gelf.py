"""Graylog's GELF 1.1: JSON in UDP datagrams, compressed and cut into chunks, or over TCP, each ended by a zero.

Source: go2docs.graylog.org, "GELF via UDP" (chunks: 0x1e 0x0f, id of 8 bytes, number, count) and "GELF via TCP".
"""

from __future__ import annotations

import os
import socket
import time
import zlib
from typing import TYPE_CHECKING, Final

import msgspec

from onggi.runtime.logdrivers.connection import Connection

if TYPE_CHECKING:
    from onggi.runtime.logdrivers.lines import Message
    from onggi.runtime.protocol import CarrierPlan

_CHUNK_BYTES: Final = 1420
_CHUNK_HEADER_BYTES: Final = 12
_MOST_CHUNKS: Final = 128
_ERROR: Final = 3
_INFO: Final = 6
_WINDOW_BITS: Final = {"gzip": 31, "zlib": 15}


class Gelf:
    """Sends messages. Over TCP one that fails is tried `max-reconnect` times more, `reconnect-delay` seconds apart."""

    def __init__(self, plan: CarrierPlan, sock: socket.socket | None) -> None:
        self._connection = Connection(plan.address, plan.options, sock)
        self._compression = plan.options.get("compression-type", "gzip")
        self._level = int(plan.options.get("compression-level", "1"))
        self._reconnects = int(plan.options.get("max-reconnect", "3"))
        self._delay_s = float(plan.options.get("reconnect-delay", "1"))
        self._host = socket.gethostname()
        self._fields = plan.fields

    def send(self, message: Message) -> None:
        """Raises OSError when it is lost."""
        if not message.text:
            return
        data = self.encode(message)
        if self._connection.is_datagram:
            for datagram in self.datagrams(data):
                self._connection.send(datagram)
            return
        for tries_left in range(self._reconnects, -1, -1):
            try:
                self._connection.send(data + b"\0")
                return
            except OSError:
                if not tries_left:
                    raise
                time.sleep(self._delay_s)

    def encode(self, message: Message) -> bytes:
        return msgspec.json.encode(
            {
                "version": "1.1",
                "host": self._host,
                "short_message": message.text.decode("utf-8", "replace"),
                "timestamp": message.time_ns // 1_000_000 / 1000,
                "level": _ERROR if message.is_error else _INFO,
                **self._fields,
            }
        )

    def datagrams(self, data: bytes) -> list[bytes]:
        """Raises OSError for a message that is too long for the protocol."""
        if self._compression in _WINDOW_BITS:
            packer = zlib.compressobj(self._level, zlib.DEFLATED, _WINDOW_BITS[self._compression])
            data = packer.compress(data) + packer.flush()
        if len(data) <= _CHUNK_BYTES:
            return [data]
        size = _CHUNK_BYTES - _CHUNK_HEADER_BYTES
        parts = [data[begin : begin + size] for begin in range(0, len(data), size)]
        if len(parts) > _MOST_CHUNKS:
            raise OSError(f"a message of {len(parts)} chunks")
        identifier = os.urandom(8)
        return [b"\x1e\x0f%b%c%c%b" % (identifier, number, len(parts), part) for number, part in enumerate(parts)]

    def close(self) -> None:
        self._connection.close()
