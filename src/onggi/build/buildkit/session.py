"""Sessions: connections on which the engine calls and the client answers, by the id that its builds name.

The client says in headers of `POST /session` who it is and which methods it has (source: moby buildkit session/grpchijack).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from onggi.build.buildkit.http2 import Connection
from onggi.build.buildkit.rpc import Channel, Code, RpcError
from onggi.errors import Conflict, InvalidArgument

_WAIT_S: Final = 10.0
"""How long a build waits for its session, which comes on a connection of its own."""

ASK_S: Final = 5.0
PATIENCE_S: Final = 15.0
"""How often a client is asked whether it is there, and how long it may take: as BuildKit's health checks of sessions."""

_ID: Final = "X-Docker-Expose-Session-Uuid"
_NAME: Final = "X-Docker-Expose-Session-Name"
_SHARED_KEY: Final = "X-Docker-Expose-Session-Sharedkey"
_METHOD: Final = "X-Docker-Expose-Session-Grpc-Method"


@dataclass(frozen=True, slots=True)
class Session:
    """One client. `shared_key` is the same for all its builds of one directory; `methods` are in lower case."""

    id: str
    name: str
    shared_key: str
    methods: frozenset[str]
    channel: Channel
    connection: Connection

    def supports(self, method: str) -> bool:
        return method.lower() in self.methods


class Sessions:
    """Those that are connected."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._news = asyncio.Condition()

    def check_headers(self, headers: Mapping[str, str]) -> None:
        """Raises InvalidArgument, Conflict."""
        self.check(headers.get(_ID, ""))

    def check(self, identifier: str) -> None:
        """Raises InvalidArgument, Conflict for an id that no new session may have."""
        if not identifier or len(identifier) > 200:
            raise InvalidArgument(f"a session needs an id in the header {_ID}")
        if identifier in self._sessions:
            raise Conflict(f"session {identifier} already exists")

    async def serve(self, headers: Mapping[str, str], methods: Sequence[str], connection: Connection) -> None:
        """Returns when the client has gone. Cancelled: the connection is closed."""
        identifier = headers.get(_ID, "")
        self.check(identifier)
        session = Session(
            identifier,
            headers.get(_NAME, ""),
            headers.get(_SHARED_KEY, ""),
            frozenset(method.lower() for method in methods),
            Channel(connection),
            connection,
        )
        self._sessions[identifier] = session
        try:
            async with self._news:
                self._news.notify_all()
            await connection.watch(ASK_S, PATIENCE_S)
        finally:
            del self._sessions[identifier]
            connection.close()

    async def get(self, identifier: str) -> Session:
        """Waits a little for it. Raises RpcError when it doesn't come."""
        # Local sources may name a session as "prefix:id".
        identifier = identifier.rpartition(":")[2] or identifier
        try:
            async with asyncio.timeout(_WAIT_S), self._news:
                await self._news.wait_for(lambda: identifier in self._sessions)
                return self._sessions[identifier]
        except TimeoutError:
            raise RpcError(Code.NOT_FOUND, f"no active session for {identifier}: context deadline exceeded") from None


def methods_of(values: Sequence[tuple[str, str]]) -> list[str]:
    """The methods that a request's headers offer."""
    return [value for name, value in values if name.lower() == _METHOD.lower()]
