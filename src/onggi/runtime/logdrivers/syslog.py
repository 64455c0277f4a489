"""syslog over UDP, TCP, TLS or a unix socket: RFC 3164 and 5424, and the form of local daemons.

Sources: RFC 3164, RFC 5424, RFC 5425 (framing over TLS); what docker writes (moby, daemon/logger/syslog/syslog.go).
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Final

from onggi.runtime.logdrivers.connection import Connection

if TYPE_CHECKING:
    from onggi.runtime.logdrivers.lines import Message
    from onggi.runtime.protocol import CarrierPlan

_ERROR: Final = 3
_INFO: Final = 6
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Syslog:
    """Sends messages; one that can't be sent is tried once over a new connection, then it is lost."""

    def __init__(self, plan: CarrierPlan, sock: socket.socket | None) -> None:
        self._connection = Connection(plan.address, plan.options, sock)
        self._format = plan.options.get("format", "")
        self._facility = int(plan.options.get("facility", "3"))
        self._counted = plan.address.startswith("tcp+tls") and self._format.startswith("rfc5424")
        self._tag = plan.tag
        self._host = socket.gethostname()

    def send(self, message: Message) -> None:
        """Raises OSError."""
        if not message.text:
            return
        data = self.encode(message)
        try:
            self._connection.send(data)
        except OSError:
            self._connection.send(data)

    def encode(self, message: Message) -> bytes:
        priority = self._facility * 8 + (_ERROR if message.is_error else _INFO)
        line = f"<{priority}>{self._head(time.time())} ".encode() + message.text + b"\n"
        return b"%d %b" % (len(line), line) if self._counted else line

    def _head(self, now: float) -> str:
        pid = os.getpid()
        match self._format:
            case "rfc5424":
                return f"1 {_rfc3339(now, '')} {self._host} {self._tag} {pid} {self._tag} -"
            case "rfc5424micro":
                return f"1 {_rfc3339(now, f'.{int(now % 1 * 1e6):06d}')} {self._host} {self._tag} {pid} {self._tag} -"
            case "rfc3164":
                return f"{_stamp(now)} {self._host} {self._tag}[{pid}]:"
            case _:
                return f"{_stamp(now)} {self._tag}[{pid}]:"

    def close(self) -> None:
        self._connection.close()


def _stamp(now: float) -> str:
    """`Jan  2 15:04:05`; strftime's %b is the locale's."""
    moment = time.localtime(now)
    return f"{_MONTHS[moment.tm_mon - 1]} {moment.tm_mday:2d} {time.strftime('%H:%M:%S', moment)}"


def _rfc3339(now: float, fraction: str) -> str:
    moment = time.localtime(now)
    minutes = moment.tm_gmtoff // 60
    zone = "Z" if not minutes else f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}{fraction}{zone}"
