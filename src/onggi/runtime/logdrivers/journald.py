"""systemd's journal over its own protocol: one datagram an entry, a long one in a sealed memfd.

Source: systemd.io/JOURNAL_NATIVE_PROTOCOL.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, Final

from onggi.runtime.logdrivers.connection import Connection

if TYPE_CHECKING:
    from onggi.runtime.logdrivers.lines import Message
    from onggi.runtime.protocol import CarrierPlan

_ERROR: Final = 3
_INFO: Final = 6
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Journald:
    """Sends entries. `CONTAINER_LOG_EPOCH` and `_ORDINAL` tell this run's entries apart and their order."""

    def __init__(self, plan: CarrierPlan, sock: socket.socket | None) -> None:
        self._connection = Connection(plan.address, plan.options, sock)
        self._fields = plan.fields | {"CONTAINER_LOG_EPOCH": os.urandom(32).hex()}
        self._ordinal = 0

    def send(self, message: Message) -> None:
        """Raises OSError when it is lost."""
        data = self.encode(message)
        try:
            self._connection.send(data)
        except OSError as error:
            if error.errno not in {errno.EMSGSIZE, errno.ENOBUFS}:
                self._connection.send(data)
            else:
                self._send_memfd(data)

    def encode(self, message: Message) -> bytes:
        self._ordinal += 1
        seconds, nanoseconds = divmod(message.time_ns, 1_000_000_000)
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}".rstrip("0").rstrip(".")
        fields: dict[str, bytes] = {
            "MESSAGE": message.text,
            "PRIORITY": b"%d" % (_ERROR if message.is_error else _INFO),
            "SYSLOG_TIMESTAMP": f"{stamp}Z".encode(),
            "CONTAINER_LOG_ORDINAL": b"%d" % self._ordinal,
        }
        fields |= {name: value.encode() for name, value in self._fields.items()}
        if message.part_id:
            fields |= {
                "CONTAINER_PARTIAL_ID": message.part_id.encode(),
                "CONTAINER_PARTIAL_ORDINAL": b"%d" % message.ordinal,
                "CONTAINER_PARTIAL_LAST": b"true" if message.last else b"false",
            }
            if not message.last:
                fields["CONTAINER_PARTIAL_MESSAGE"] = b"true"
        return b"".join(_field(name, value) for name, value in fields.items())

    def _send_memfd(self, data: bytes) -> None:
        memfd = os.memfd_create("onggi-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(memfd, view) :]
            fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, _SEALS)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [memfd]))]
            self._connection.connected().sendmsg([], rights)
        finally:
            os.close(memfd)

    def close(self) -> None:
        self._connection.close()


def _field(name: str, value: bytes) -> bytes:
    """A value with a line feed in it is counted instead of ended."""
    if b"\n" in value:
        return b"%b\n%b%b\n" % (name.encode(), struct.pack("<Q", len(value)), value)
    return b"%b=%b\n" % (name.encode(), value)
