"""Frontends that are images (`gateway.v0`, `# syntax=`): a program in a container that solves graphs over its stdin and stdout.

It speaks LLBBridge as a client does that is its own frontend, but for one build, which it needn't name; what it returns is the result of
the solve that began it.
Source: moby buildkit frontend/gateway/gateway.go for its environment and arguments.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from onggi.build.buildkit.http2 import Connection
from onggi.build.buildkit.rpc import Code, Detail, Methods, RpcError, Server
from onggi.build.buildkit.tunnel import Tunnel
from onggi.build.errors import BuildFailed
from onggi.build.plan import Kind, Origin
from onggi.build.runner import RunStep
from onggi.oci.platform import host_platform

if TYPE_CHECKING:
    import socket

    from onggi.build.builder import Builder
    from onggi.build.buildkit.jobs import Job, Outcome
    from onggi.build.request import Built, Request
    from onggi.images import Image

_CAPS_LABEL: Final = "moby.buildkit.frontend.caps"
_NETWORK_LABEL: Final = "moby.buildkit.frontend.network.none"
_INPUTS: Final = "moby.buildkit.frontend.inputs"
_FRONTEND_CAP: Final = "github.com/moby/buildkit/errdefs.FrontendCap+json"
_PIECE: Final = 1 << 16
_STDOUT: Final = 1


@dataclass(frozen=True, slots=True)
class Served:
    """One run of a frontend: the build that it solves for, what it was given, and what it has returned."""

    job: Job
    inputs: Mapping[str, str]
    """Ids of results, by the names that the frontend has for them."""
    outcome: asyncio.Future[Outcome]


@contextlib.asynccontextmanager
async def ran(
    builder: Builder,
    request: Request,
    worker_id: str,
    source: str,
    attrs: Mapping[str, str],
    served: Served,
    methods: Methods,
) -> AsyncIterator[Sequence[Built]]:
    """Runs the image `source` until it ends; `served.outcome` has what it returned then.

    Raises RpcError with what it returned as its error, BuildFailed when it ends without a word. Cancelled: the process is gone.
    """
    job = served.job
    async with builder.opened(request, job.trace) as solving:
        image = await solving.sources.bases.image(Origin(Kind.IMAGE, source, platform=host_platform()))
        _check_capabilities(image, attrs, needs_inputs=bool(served.inputs))
        vertex = job.trace.vertex(f"[frontend] {source}", key=f"{job.ref} frontend {source}")
        vertex.start()
        config = image.config.run
        async with builder.layering.beside(image.layers) as snapshot:
            step = RunStep(
                container_id=snapshot.container_id,
                snapshot=snapshot,
                args=tuple(config.entrypoint or ["/run"]),
                env=(*(config.env or ()), *_environment(attrs, job, worker_id)),
                user=config.user or "",
                cwd=config.working_dir or "/",
                output=vertex.log,
                network="none" if (config.labels or {}).get(_NETWORK_LABEL) in ("1", "true") else "default",
                talk=lambda sock: _talk(sock, methods, vertex.log),
            )
            end = await builder.layering.serve(step)
        if not served.outcome.done():
            why = f"exit code: {end.exit_code}" if end.exit_code else "it returned nothing"
            vertex.done(why)
            raise BuildFailed(f"frontend {source} failed: {why}")
        vertex.done()
        yield list(served.outcome.result().results.values())


def _check_capabilities(image: Image, attrs: Mapping[str, str], *, needs_inputs: bool) -> None:
    """Raises RpcError for what the client needs of a frontend and the image doesn't say of itself."""
    has = _words((image.config.run.labels or {}).get(_CAPS_LABEL, ""))
    for name in sorted(_words(attrs.get("frontend.caps", "")) | ({_INPUTS} if needs_inputs else set())):
        if name not in has:
            detail = Detail(_FRONTEND_CAP, msgspec.json.encode({"name": name}))
            raise RpcError(Code.UNIMPLEMENTED, f"unsupported frontend capability {name}", [detail])


def _words(text: str) -> set[str]:
    return {word.partition("+")[0].strip() for word in text.split(",") if word.strip()}


def _environment(attrs: Mapping[str, str], job: Job, worker_id: str) -> list[str]:
    platform = msgspec.to_builtins(host_platform())
    workers = [{"ID": worker_id, "Labels": {}, "Platforms": [platform]}]
    return [
        *(f"BUILDKIT_FRONTEND_OPT_{number}={name}={value}" for number, (name, value) in enumerate(attrs.items())),
        f"BUILDKIT_SESSION_ID={job.request.Session}",
        f"BUILDKIT_WORKERS={msgspec.json.encode(workers).decode()}",
        "BUILDKIT_EXPORTEDPRODUCT=buildkit",
    ]


async def _talk(sock: socket.socket, methods: Methods, log: Callable[[int, bytes], None]) -> None:
    """HTTP/2 with the process at the other end, until its streams end. What it writes on stderr goes to the build's log."""
    async with asyncio.TaskGroup() as group:
        connection = Connection(Server(methods, group).accept)
        tunnel = Tunnel(connection)
        connection.adopt(tunnel)
        sending = group.create_task(_send(sock, tunnel), name="answers to a frontend")
        try:
            await _receive(sock, connection, log)
        finally:
            connection.connection_lost(None)
            tunnel.close()
            sending.cancel()


async def _send(sock: socket.socket, tunnel: Tunnel) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):  # it has gone: what it wrote last is read all the same
        while piece := await tunnel.take():
            await loop.sock_sendall(sock, piece)


async def _receive(sock: socket.socket, connection: Connection, log: Callable[[int, bytes], None]) -> None:
    """Docker's frames, until both streams have ended."""
    loop, buffer = asyncio.get_running_loop(), bytearray()
    while data := await loop.sock_recv(sock, _PIECE):
        buffer += data
        while len(buffer) >= 8:
            end = 8 + int.from_bytes(buffer[4:8], "big")
            if len(buffer) < end:
                break
            stream, piece = buffer[0], bytes(buffer[8:end])
            del buffer[:end]
            if stream == _STDOUT:
                connection.data_received(piece)
            else:
                log(stream, piece)
