"""`POST /build?version=2`: BuildKit's older way in. The context is the body, or the session's; the stream is of Control.Status' messages.

Source: moby daemon/internal/builder-next/builder.go (Build). Clients: docker's command line 18.09 to 22, and programs that use its Go client.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterable
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from onggi.build.buildkit.asking import SessionAgents, SessionContexts, SessionCredentials, SessionSecrets
from onggi.build.buildkit.rpc import RpcError
from onggi.build.buildkit.tracing import Trace
from onggi.build.output import Aux, Output
from onggi.build.posting import Posting
from onggi.build.together import together
from onggi.errors import InvalidArgument, NotFound, NotImplementedHere

if TYPE_CHECKING:
    from onggi.build.buildkit.door import BuildKit
    from onggi.build.options import BuildOptions
    from onggi.build.request import Request

_OF_SESSION = "client-session"


class TraceMessage(msgspec.Struct, frozen=True):
    """`aux` is a StatusResponse, in base64 on the wire."""

    aux: bytes
    id: str = "moby.buildkit.trace"


class ImageMessage(msgspec.Struct, frozen=True):
    aux: Aux
    id: str = "moby.image.id"


async def build(door: BuildKit, options: BuildOptions, session: str, body: AsyncIterable[bytes], output: Output) -> str:
    """The image's id. Raises InvalidArgument, BuildFailed …, NotFound when the session doesn't come. Cancelled: the build is."""
    if options.network not in ("", "default", "host", "none"):
        raise InvalidArgument(f'network mode "{options.network}" not supported by buildkit')
    if options.remote == "upload-request":
        raise NotImplementedHere(
            "a context in a request of its own isn't taken: send it as the body, or over the session"
        )
    of_session = options.remote == _OF_SESSION
    options = replace(options, remote="" if of_session else options.remote)
    posting = Posting(door.builder, options, output, {})
    with door.builder.cancellable(options.build_id):
        if of_session:
            return await _built(
                door, posting, await _asked(door, posting.request(None), session, contexts=True), output
            )
        async with posting.received(body) as context:
            return await _built(door, posting, await _asked(door, posting.request(context), session), output)


async def _asked(door: BuildKit, request: Request, session: str, *, contexts: bool = False) -> Request:
    """With what the client of the session has, when it has opened one."""
    if not session:
        if contexts:
            raise InvalidArgument("a context of the client's session needs a session")
        return request
    try:
        client = await door.sessions.get(session)
    except RpcError as error:
        raise NotFound(str(error)) from error
    return replace(
        request,
        contexts=SessionContexts(client, door.mirrors) if contexts else request.contexts,
        secrets=SessionSecrets(client),
        agents=SessionAgents(client),
        credentials=SessionCredentials(client),
    )


async def _built(door: BuildKit, posting: Posting, request: Request, output: Output) -> str:
    trace = Trace(secrets.token_hex(12))

    async def tell() -> None:
        async for message in trace.follow():
            output(TraceMessage(message.SerializeToString()))

    async with together() as group:
        # Ends with the trace: all that a build has told is out before it answers.
        group.create_task(tell(), name="status of a posted build")
        try:
            async with door.builder.solve(request, trace) as solved:
                image = await posting.named(solved.images[0])
        finally:
            trace.end()
    output(ImageMessage(Aux(image.id)))
    return image.id
