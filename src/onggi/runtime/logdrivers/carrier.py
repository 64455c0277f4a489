"""The carrier: a process that takes one container's output from its shim and sends it to a log server.

What comes from the shim is frames: stream, wall time in nanoseconds, length, output; no output is the end of the stream.
A carrier that blocks is not read from, which the shim answers as the container's log mode says. It ends when the shim's
socket does, `_LAST_S` later at the latest: a server that hangs doesn't keep it.

Rights: none; it is root still, so that it can connect to root's sockets and read a key. Descriptors: the shim's socket,
and a connection if there is one.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Callable
from typing import Final, Never, Protocol

from onggi.kernel import capabilities, process
from onggi.runtime.logdrivers.fluentd import Fluentd
from onggi.runtime.logdrivers.gelf import Gelf
from onggi.runtime.logdrivers.journald import Journald
from onggi.runtime.logdrivers.lines import STDERR, STDOUT, Lines, Message
from onggi.runtime.logdrivers.syslog import Syslog
from onggi.runtime.protocol import CarrierPlan

HEADER: Final = struct.Struct(">BQI")
_READ_BYTES: Final = 64 * 1024
_LAST_S: Final = 10


class Driver(Protocol):
    """Where messages go. One thread, in order."""

    def send(self, message: Message) -> None:
        """Blocks until the server has it, as far as the protocol tells. Raises OSError when it is lost."""

    def close(self) -> None:
        """Nothing more comes."""


DRIVERS: Final[dict[str, Callable[[CarrierPlan, socket.socket | None], Driver]]] = {
    "syslog": Syslog,
    "fluentd": Fluentd,
    "gelf": Gelf,
    "journald": Journald,
}


def run(plan: CarrierPlan, shim: socket.socket, connection: socket.socket | None) -> Never:
    """The process's whole life, in a fork of a shim."""
    try:
        keep = [shim.fileno()] if connection is None else [shim.fileno(), connection.fileno()]
        process.close_others(keep)
        process.set_name("onggi-log")
        capabilities.drop_bounding(0)
        capabilities.set_caps(0, 0, 0)
        process.set_no_new_privs()
        signal.signal(signal.SIGUSR1, lambda *_: signal.alarm(_LAST_S))
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        process.set_pdeathsig(signal.SIGUSR1)
        shim.setblocking(True)
        carry(shim, DRIVERS[plan.driver](plan, connection))
    finally:
        os._exit(0)


def carry(shim: socket.socket, driver: Driver) -> None:
    """Until the shim's end of the socket is closed."""
    lines = {STDOUT: Lines(STDOUT), STDERR: Lines(STDERR)}
    buffer = bytearray()
    time_ns = 0
    while data := shim.recv(_READ_BYTES):
        buffer += data
        while len(buffer) >= HEADER.size:
            stream, time_ns, size = HEADER.unpack_from(buffer)
            if len(buffer) < HEADER.size + size:
                break
            output = bytes(buffer[HEADER.size : HEADER.size + size])
            del buffer[: HEADER.size + size]
            found = lines[stream].feed(output, time_ns) if size else lines[stream].end(time_ns)
            for message in found:
                _send(driver, message)
    for stream in lines.values():
        for message in stream.end(time_ns):
            _send(driver, message)
    driver.close()


def _send(driver: Driver, message: Message) -> None:
    try:
        driver.send(message)
    except OSError:
        # Lost, as with docker: the next one tries anew.
        return
