"""A client of BuildKit's protocol in Python: one connection on which it calls, one on which it is called."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from onggi.build.buildkit import filesync
from onggi.build.buildkit.frames import Headers
from onggi.build.buildkit.http2 import Connection
from onggi.build.buildkit.pb import fsutil_pb2, gateway_pb2
from onggi.build.buildkit.rpc import Channel, Methods, Server, ServerCall, decoded

M = TypeVar("M", bound=Message)
CONTROL = "/moby.buildkit.v1.Control/"
BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
Packet, Stat = fsutil_pb2.Packet, fsutil_pb2.Stat


class Directory:
    """Serves one flat directory of files under any name, as FileSync does."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[dict[str, list[str]]] = []

    def methods(self) -> Methods:
        return {filesync.METHOD: self._serve}

    async def _serve(self, call: ServerCall) -> None:
        self.asked.append(call.metadata)
        follow = call.metadata.get("followpaths", [])
        names = [name for name in sorted(self.files) if not follow or name in follow]
        for name in names:
            stat = Stat(path=name, mode=0o644, size=len(self.files[name]), modTime=1)
            await call.send(Packet(type=Packet.PACKET_STAT, stat=stat))
        await call.send(Packet(type=Packet.PACKET_STAT))
        while (data := await call.stream.message()) is not None:
            asked = decoded(data, Packet)
            if asked.type == Packet.PACKET_REQ:
                await call.send(Packet(type=Packet.PACKET_DATA, ID=asked.ID, data=self.files[names[asked.ID]]))
                await call.send(Packet(type=Packet.PACKET_DATA, ID=asked.ID))
            elif asked.type == Packet.PACKET_FIN:
                await call.send(Packet(type=Packet.PACKET_FIN))
                return


async def upgraded(path: Path, target: str, connection: Connection, headers: Headers) -> None:
    """Makes `connection` the protocol of an upgraded connection to the engine's socket."""
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    await loop.sock_connect(sock, str(path))
    words = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"POST {target} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n{words}\r\n"
    await loop.sock_sendall(sock, head.encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += await loop.sock_recv(sock, 1)
    if not answer.startswith(b"HTTP/1.1 101"):
        sock.close()
        raise AssertionError(answer)
    await loop.create_connection(lambda: connection, sock=sock)


class Client:
    """`channel` calls the engine; `session` is the id under which it calls back."""

    def __init__(self, channel: Channel, session: str) -> None:
        self.channel, self.session = channel, session
        self.ref = secrets.token_hex(8)

    async def bridge(self, method: str, request: Message, wanted: type[M], *, ref: str | None = None) -> M:
        """A call of LLBBridge for this client's build."""
        metadata = [("buildkit-controlapi-buildid", self.ref if ref is None else ref)]
        async with self.channel.call(BRIDGE + method, metadata) as call:
            await call.send(request)
            call.end()
            answer = await call.receive(wanted)
            assert answer is not None
            return answer

    async def solve(self, **attrs: str) -> gateway_pb2.Result:
        request = gateway_pb2.SolveRequest(
            Frontend="dockerfile.v0", FrontendOpt=attrs, allowResultReturn=True, allowResultArrayRef=True
        )
        return (await self.bridge("Solve", request, gateway_pb2.SolveResponse)).result


@asynccontextmanager
async def connected(path: Path, directory: Directory) -> AsyncIterator[Client]:
    session = secrets.token_hex(8)
    async with asyncio.TaskGroup() as group:
        ours = Connection(Server(directory.methods(), group).accept)
        theirs = Connection()
        methods = [("X-Docker-Expose-Session-Grpc-Method", method) for method in directory.methods()]
        named = [("X-Docker-Expose-Session-Uuid", session), ("X-Docker-Expose-Session-Name", "test")]
        await upgraded(path, "/session", ours, [*named, *methods])
        await upgraded(path, "/v1.47/grpc", theirs, [])
        try:
            yield Client(Channel(theirs), session)
        finally:
            theirs.close()
            ours.close()
