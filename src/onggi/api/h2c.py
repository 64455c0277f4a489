"""Connections that become HTTP/2: `Upgrade: h2c`, answered with 101, then frames from the first byte.

Not RFC 7540's upgrade, where the request would go on as a stream: what was asked ends with the 101 (docker's `/grpc`, `/session`).
Clients that begin with HTTP/2 need no upgrade (connection.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onggi.api.answers import head
from onggi.errors import InvalidArgument

if TYPE_CHECKING:
    from onggi.api.call import Call
    from onggi.build.buildkit.http2 import Connection


def check_upgrade(call: Call) -> None:
    """Raises InvalidArgument in the words of docker's engine."""
    wanted = call.header("Upgrade")
    if not wanted:
        raise InvalidArgument("no upgrade proto in request")
    if wanted.lower() != "h2c":
        raise InvalidArgument(f"protocol {wanted} not supported")


def take_over(call: Call, connection: Connection) -> None:
    """Answers 101, unless the client began with HTTP/2, and gives the connection to HTTP/2. Raises ConnectionResetError when the client has gone."""
    transport, early = call.connection.take_over(connection)
    if not call.connection.is_http2:
        transport.write(head(101, (("Connection", "Upgrade"), ("Upgrade", "h2c"))) + b"\r\n")
    connection.adopt(transport)
    if early:
        connection.data_received(early)
