"""ssh agents over plain HTTP: a connection of the client for each agent, on which one message is asked after the other.

A message of an agent has its length in front (uint32), then its type; each has one answer (draft-ietf-sshm-ssh-agent, 3). Only the list of
keys and signatures are let through: a step can add no key to the client's agent, nor remove one, nor lock it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Mapping
from typing import Final

from onggi.errors import Conflict

_LIMIT: Final = 256 * 1024
"""Bytes of a message: OpenSSH's own (authfd.c, MAX_AGENT_REPLY_LEN)."""

_REQUEST_IDENTITIES: Final = 11
_SIGN_REQUEST: Final = 13
_FAILURE: Final = b"\0\0\0\x01\x05"


class PostedAgent:
    """One agent of one client, over `sock`, which doesn't block."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = asyncio.Lock()

    async def ask(self, message: bytes) -> bytes:
        """The answer. Raises EOFError, OSError when the client has gone. Cancelled: the agent is closed, its answer would be the next one's."""
        async with self._lock:
            try:
                await asyncio.get_running_loop().sock_sendall(self._sock, message)
                return await read_message(self._sock)
            except BaseException:
                self._sock.close()
                raise


class PostedAgents:
    """Of one build: request.Agents."""

    def __init__(self, agents: Mapping[str, PostedAgent]) -> None:
        self._agents = agents

    async def has(self, identifier: str) -> bool:
        return identifier in self._agents

    async def connect(self, identifier: str, connection: socket.socket) -> None:
        """Until the step's program or the client has gone."""
        loop, agent = asyncio.get_running_loop(), self._agents[identifier]
        with connection, contextlib.suppress(EOFError, OSError):
            while True:
                message = await read_message(connection)
                allowed = message[4] in (_REQUEST_IDENTITIES, _SIGN_REQUEST)
                await loop.sock_sendall(connection, await agent.ask(message) if allowed else _FAILURE)


class OfferedAgents:
    """Those of the builds that are about to come, or under way: by build id, then by name."""

    def __init__(self) -> None:
        self._agents: dict[str, dict[str, PostedAgent]] = {}

    @contextlib.contextmanager
    def offer(self, build_id: str, name: str, sock: socket.socket) -> Iterator[None]:
        """While the block lasts; the socket is closed with it. Raises Conflict."""
        known = self._agents.setdefault(build_id, {})
        if name in known:
            raise Conflict(f"build {build_id} has an agent {name!r} already")
        known[name] = PostedAgent(sock)
        try:
            yield
        finally:
            sock.close()
            del known[name]
            if not known:
                self._agents.pop(build_id, None)

    def of(self, build_id: str) -> PostedAgents:
        return PostedAgents(self._agents.get(build_id, {}))


async def read_message(sock: socket.socket) -> bytes:
    """With its length. Raises EOFError at the end, and for what is no message."""
    loop, data = asyncio.get_running_loop(), bytearray()
    size = 4
    while len(data) < size:
        piece = await loop.sock_recv(sock, size - len(data))
        if not piece:
            raise EOFError
        data += piece
        if len(data) == 4:
            size = 4 + int.from_bytes(data, "big")
            if not 4 < size <= _LIMIT:
                raise EOFError
    return bytes(data)
