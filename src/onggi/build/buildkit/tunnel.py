"""A session inside of a call: `Control.Session`, whose messages are the bytes of the connection on which the client is called.

Clients that talk to the engine's socket with gRPC alone (buildctl, buildx' remote driver) have no `/session`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from onggi.build.buildkit.frames import StreamEnded
from onggi.build.buildkit.http2 import Connection
from onggi.build.buildkit.pb import control_pb2
from onggi.build.buildkit.rpc import decoded

if TYPE_CHECKING:
    from onggi.build.buildkit.rpc import ServerCall
    from onggi.build.buildkit.session import Sessions

_HIGH_WATER: Final = 1 << 20
_MESSAGE: Final = 1 << 20


class Tunnel(asyncio.Transport):
    """What a Connection writes, kept until the call takes it."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._waiting = bytearray()
        self._closed = False
        self._news = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._waiting += data
        self._news.set()
        if len(self._waiting) > _HIGH_WATER:
            self._connection.pause_writing()

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._news.set()

    async def take(self) -> bytes:
        """What is there, at least a byte; nothing once it is closed."""
        while not self._waiting and not self._closed:
            self._news.clear()
            await self._news.wait()
        data = bytes(self._waiting[:_MESSAGE])
        del self._waiting[:_MESSAGE]
        if len(self._waiting) <= _HIGH_WATER:
            self._connection.resume_writing()
        return data


async def serve(call: ServerCall, sessions: Sessions) -> None:
    """Returns when the client ends its session. Raises InvalidArgument, Conflict."""
    headers = {_header(name): values[0] for name, values in call.metadata.items()}
    methods = call.metadata.get("x-docker-expose-session-grpc-method", [])
    sessions.check_headers(headers)
    connection = Connection()
    tunnel = Tunnel(connection)
    connection.adopt(tunnel)

    async def out() -> None:
        while data := await tunnel.take():
            await call.send(control_pb2.BytesMessage(data=data))

    async def into() -> None:
        while (message := await call.stream.message()) is not None:
            connection.data_received(decoded(message, control_pb2.BytesMessage).data)
        tunnel.close()

    try:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(sessions.serve(headers, methods, connection), name="session")
            group.create_task(out(), name="session, out")
            await into()
            serving.cancel()
    except* StreamEnded:
        pass  # the client has gone: that is the session's end
    finally:
        tunnel.close()
        connection.connection_lost(None)


def _header(name: str) -> str:
    """As it is written in `POST /session`: metadata has lower-case names."""
    return "-".join(part.capitalize() for part in name.split("-"))
