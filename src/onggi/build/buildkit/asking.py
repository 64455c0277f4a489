"""What a build asks its client over the session: `Contexts`, `Secrets`, `Agents` and `Credentials` of request.py."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from onggi.build.buildkit import filesync
from onggi.build.buildkit.frames import StreamEnded
from onggi.build.buildkit.mirrors import Mirrors
from onggi.build.buildkit.pb import auth_pb2, session_pb2
from onggi.build.buildkit.rpc import Call, Code, RpcError
from onggi.build.buildkit.session import Session
from onggi.build.context import Context
from onggi.build.vertices import Vertex
from onggi.errors import NotFound, Unauthorized
from onggi.images.challenge import Keeper, RegistryAuth
from onggi.oci.reference import DEFAULT_DOMAIN
from onggi.store.durable import disk_errors

_CREDENTIALS: Final = "/moby.filesync.v1.Auth/Credentials"
_FETCH_TOKEN: Final = "/moby.filesync.v1.Auth/FetchToken"  # noqa: S105  # a method's name
_SECRET: Final = "/moby.buildkit.secrets.v1.Secrets/GetSecret"  # noqa: S105  # a method's name
_CHECK_AGENT: Final = "/moby.sshforward.v1.SSH/CheckAgent"
_FORWARD_AGENT: Final = "/moby.sshforward.v1.SSH/ForwardAgent"
_HUB_HOST: Final = "registry-1.docker.io"
_ASK_S: Final = 30.0
_TELL_S: Final = 0.1
_PIECE: Final = 32 * 1024
_DEFINING: Final = frozenset({".dockerignore", ".containerignore"})
_TRANSFERS: Final = {"context": "transferring context:", "dockerfile": "transferring dockerfile:"}


class SessionContexts:
    """Directories of the client, through its session."""

    def __init__(self, session: Session, mirrors: Mirrors) -> None:
        self._session, self._mirrors = session, mirrors

    async def local(
        self,
        name: str,
        *,
        follow: Sequence[str] = (),
        exclude: Sequence[str] = (),
        include: Sequence[str] = (),
        vertex: Vertex | None = None,
    ) -> Context:
        if not self._session.supports(filesync.METHOD):
            raise NotFound("no local sources enabled")
        # Two directories of one name have one key: what a build is made by is sent each time (BuildKit's DiffNone).
        definition = name == "dockerfile" or bool(follow and _DEFINING.issuperset(follow))
        mirror = self._mirrors.take("" if definition else self._session.shared_key, name)
        told = _Told(vertex, _TRANSFERS.get(name, f"transferring {name}:"))
        metadata = filesync.request_metadata(name, follow=follow, exclude=exclude, include=include)
        try:
            spool = filesync.own_descriptor(mirror)
            try:
                async with self._session.channel.call(filesync.METHOD, metadata) as call:
                    with disk_errors("keep a build context"):
                        entries = await filesync.Receiver(call, mirror, told.bytes).run()
                told.done()
                # What wasn't asked for this time may be another directory's the next time.
                filesync.forget_missing(mirror, entries)
                # A hundred thousand names take a while: the loop goes on meanwhile.
                return await asyncio.to_thread(Context, entries, spool)
            except BaseException:
                # Of a thread that goes on nobody reads the Context: it is closed with its last reference.
                os.close(spool)
                raise
        except RpcError as error:
            if error.code is Code.NOT_FOUND:
                raise NotFound(str(error)) from error
            raise
        finally:
            mirror.close()


class _Told:
    """How much of a transfer has come, told ten times a second."""

    def __init__(self, vertex: Vertex | None, identifier: str) -> None:
        self._vertex, self._identifier = vertex, identifier
        self._bytes, self._next_s = 0, 0.0

    def bytes(self, count: int) -> None:
        self._bytes = count
        if self._vertex is not None and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _TELL_S
            self._vertex.status(self._identifier, current=count)

    def done(self) -> None:
        if self._vertex is not None:
            self._vertex.status(self._identifier, current=self._bytes, done=True)


class SessionSecrets:
    """Secrets of the client."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def secret(self, identifier: str) -> bytes | None:
        if not self._session.supports(_SECRET):
            return None
        request = session_pb2.GetSecretRequest(ID=identifier)
        try:
            answer = await self._session.channel.unary(
                _SECRET, request, session_pb2.GetSecretResponse, timeout_s=_ASK_S
            )
        except RpcError as error:
            if error.code is Code.NOT_FOUND:
                return None
            raise
        return answer.data


class SessionAgents:
    """ssh agents of the client."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def has(self, identifier: str) -> bool:
        if not self._session.supports(_CHECK_AGENT):
            return False
        request = session_pb2.CheckAgentRequest(ID=identifier)
        try:
            await self._session.channel.unary(_CHECK_AGENT, request, session_pb2.CheckAgentResponse, timeout_s=_ASK_S)
        except RpcError:
            return False
        return True

    async def connect(self, identifier: str, connection: socket.socket) -> None:
        connection.setblocking(False)
        with connection, contextlib.suppress(RpcError, StreamEnded):
            async with self._session.channel.call(_FORWARD_AGENT, [("buildkit.ssh.id", identifier)]) as call:
                await _carry(call, connection)


async def _carry(call: Call, connection: socket.socket) -> None:
    """Between a program and the agent, until the agent has ended; an end of the program's is told to it."""
    loop = asyncio.get_running_loop()

    async def ask() -> None:
        with contextlib.suppress(OSError):
            while piece := await loop.sock_recv(connection, _PIECE):
                await call.send(session_pb2.BytesMessage(data=piece))
        call.end()

    asking = loop.create_task(ask(), name="questions to an ssh agent")
    try:
        while (answer := await call.receive(session_pb2.BytesMessage)) is not None:
            await loop.sock_sendall(connection, answer.data)
    finally:
        asking.cancel()
        await asyncio.wait([asking])


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """A `RegistryAuth`, which no log shows."""

    username: str = ""
    password: str = ""
    auth: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


class SessionCredentials:
    """Logins of the client."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def credentials(self, domain: str) -> RegistryAuth | Keeper | None:
        host = _HUB_HOST if domain == DEFAULT_DOMAIN else domain
        if self._session.supports(_FETCH_TOKEN):
            return SessionKeeper(self._session, host)
        user, secret = await _login(self._session, host)
        if not secret:
            return None
        return Login(username=user, password=secret) if user else Login(identitytoken=secret)


class SessionKeeper:
    """A client that asks token servers itself: its passwords stay there, but for registries that take nothing else.

    Tokens are asked for by each build and shared with no other, so nobody has to prove that two clients have the same login
    (GetTokenAuthority, VerifyTokenAuthority).
    """

    def __init__(self, session: Session, host: str) -> None:
        self._session, self._host = session, host

    async def log_in(self) -> tuple[str, str]:
        return await _login(self._session, self._host)

    async def token(self, realm: str, service: str, scopes: Sequence[str]) -> tuple[str, int]:
        request = auth_pb2.FetchTokenRequest(
            ClientID="onggi", Host=self._host, Realm=realm, Service=service, Scopes=scopes
        )
        try:
            answer = await self._session.channel.unary(
                _FETCH_TOKEN, request, auth_pb2.FetchTokenResponse, timeout_s=_ASK_S
            )
        except RpcError as error:
            raise Unauthorized(f"failed to fetch token from the client: {error}") from error
        return answer.Token, answer.ExpiresIn


async def _login(session: Session, host: str) -> tuple[str, str]:
    if not session.supports(_CREDENTIALS):
        return "", ""
    request = auth_pb2.CredentialsRequest(Host=host)
    answer = await session.channel.unary(_CREDENTIALS, request, auth_pb2.CredentialsResponse, timeout_s=_ASK_S)
    return answer.Username, answer.Secret
