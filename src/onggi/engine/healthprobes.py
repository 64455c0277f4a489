"""Health checks that need no program in the image: the engine asks from inside the container's network namespace.

    ["HTTP", ":8080/path"]     200 to 399 is well
    ["TCP", ":5432"]           a connection is
    ["GRPC", ":50051/service"] SERVING of grpc.health.v1 is

Clients that didn't ask see such a test as CMD; given back like that, it means the same.
"""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import dataclass
from typing import Any

from onggi.errors import InvalidArgument
from onggi.kernel.namespaces import socket_in

KINDS = frozenset({"HTTP", "TCP", "GRPC"})
_TARGET = re.compile(
    r"(?:http://)?(?P<host>127\.0\.0\.1|localhost|\[::1\])?:(?P<port>[0-9]{1,5})(?P<path>/\S{0,2000})?", re.ASCII
)
_HEAD = 4096


@dataclass(frozen=True, slots=True)
class NetworkProbe:
    """`path`: of HTTP, or the service of gRPC."""

    kind: str
    port: int
    path: str = ""
    ipv6: bool = False


def plain(test: list[str]) -> list[str]:
    """The test without the CMD that hides it from old clients."""
    return test[1:] if len(test) > 2 and test[0] == "CMD" and test[1] in KINDS else test


def hidden(test: list[str]) -> list[str]:
    return ["CMD", *test] if test and test[0] in KINDS else test


def parse(test: list[str]) -> NetworkProbe | None:
    """None for a test that is a command. Raises InvalidArgument."""
    words = plain(test)
    if not words or words[0] not in KINDS:
        return None
    found = _TARGET.fullmatch(words[1]) if len(words) == 2 else None
    if not found or not 0 < int(found["port"]) < 65536 or (words[0] == "TCP" and found["path"]):
        raise InvalidArgument(
            f"Test in Healthcheck: {words[0]} wants one word, :PORT{'' if words[0] == 'TCP' else '[/PATH]'}"
        )
    return NetworkProbe(words[0], int(found["port"]), found["path"] or "", found["host"] == "[::1]")


async def ask(probe: NetworkProbe, pid: int, timeout_s: float) -> tuple[int, str]:
    """(0 for well, 1 for ill, -1 for too late; what was answered). The connection goes when this is cancelled."""
    family, host = (socket.AF_INET6, "::1") if probe.ipv6 else (socket.AF_INET, "127.0.0.1")
    try:
        sock = await asyncio.to_thread(socket_in, pid, family)
    except OSError as error:
        return 1, f"the container's network can't be entered: {error.strerror}"
    sock.setblocking(False)
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_connect(sock, (host, probe.port))
            match probe.kind:
                case "TCP":
                    return 0, f"connected to port {probe.port}"
                case "HTTP":
                    return await _http(sock, probe)
                case _:
                    return await _grpc(sock, probe)
    except TimeoutError:
        return -1, ""
    except OSError as error:
        return 1, f"port {probe.port}: {(error.strerror or str(error)).lower()}"
    finally:
        sock.close()


async def _http(sock: socket.socket, probe: NetworkProbe) -> tuple[int, str]:
    loop = asyncio.get_running_loop()
    request = f"GET {probe.path or '/'} HTTP/1.1\r\nHost: localhost:{probe.port}\r\nUser-Agent: onggi-health\r\nConnection: close\r\n\r\n"
    await loop.sock_sendall(sock, request.encode())
    answer = b""
    while len(answer) < _HEAD and (data := await loop.sock_recv(sock, _HEAD)):
        answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    line = head.partition(b"\r\n")[0].decode("latin-1")
    found = re.match(r"HTTP/1\.[01] (\d{3})", line)
    if not found:
        return 1, f"port {probe.port} answered no HTTP"
    return (0 if 200 <= int(found[1]) < 400 else 1), f"{line}\n{body.decode('utf-8', 'replace')}"


async def _grpc(sock: socket.socket, probe: NetworkProbe) -> tuple[int, str]:
    """Imported here: who has no such check pays nothing for it."""
    from grpclib.client import Channel
    from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
    from grpclib.health.v1.health_grpc import HealthStub
    from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

    class Connected(Channel):
        async def _create_connection(self) -> Any:
            _, protocol = await self._loop.create_connection(self._protocol_factory, sock=sock.dup())
            return protocol

    channel = Connected("localhost", probe.port)
    try:
        answer = await HealthStub(channel).Check(HealthCheckRequest(service=probe.path.removeprefix("/")))
    except GRPCError as error:
        return 1, f"{error.status.name}: {error.message}"
    except (ProtocolError, StreamTerminatedError):
        return 1, f"port {probe.port} answered no gRPC"
    finally:
        channel.close()
    name = HealthCheckResponse.ServingStatus.Name(answer.status)
    return (0 if name == "SERVING" else 1), name
