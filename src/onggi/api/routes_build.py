"""Builds over plain HTTP, and the cache they leave. BuildKit's doors are in routes_buildkit.py."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, aclosing
from typing import TYPE_CHECKING, Final

from onggi.api import filternames
from onggi.api.answers import Answer, empty, json_answer
from onggi.api.auth import decode_auths, decode_secrets
from onggi.api.hangup import HangUp
from onggi.api.hijack import RAW, Hijack
from onggi.api.progress import progress
from onggi.api.shapes_networks import until_of
from onggi.api.streams import Stream
from onggi.api.table import Routes
from onggi.build.collecting import Rule, matching
from onggi.errors import InvalidArgument

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call
    from onggi.api.query import Filters

routes = Routes()

_SECRETS_LIMIT: Final = 8 * 1024 * 1024


@routes.on("POST", "/build", "E-027", hang_up=HangUp.CANCEL)
async def build(call: Call) -> StreamResponse:
    from onggi.build.options import options_from_query  # late: an engine that builds nothing doesn't pay for it

    options = options_from_query(call.query.everything(), decode_auths(call.header("X-Registry-Config")))
    if call.query.text("version") == "2":
        from onggi.build.buildkit import postbuild  # late: it brings protobuf

        door, session = call.engine.buildkit, call.query.text("session")
        return await progress(call, lambda output: postbuild.build(door, options, session, call.chunks(), output))
    what = call.query.text("call")
    if what:
        return Answer(200, await call.engine.builder.call(call.chunks(), options, what))
    secrets = decode_secrets(call.header("X-Build-Secrets"))
    return await progress(call, lambda output: call.engine.builder.build(call.chunks(), options, output, secrets))


@routes.on("POST", "/onggi/build/secrets", "F-064")
async def secrets(call: Call) -> StreamResponse:
    """Secrets of the build `id`, which comes within a minute: for those that no header holds."""
    identifier = call.query.text("id")
    if not identifier:
        raise InvalidArgument("build ID not provided")
    body = await call.body(_SECRETS_LIMIT)
    call.engine.builder.keep_secrets(identifier, decode_secrets(body.decode("ascii", "replace")))
    return empty(204)


@routes.on("POST", "/onggi/build/agent", "F-221", hang_up=HangUp.HALF_CLOSE)
async def agent(call: Call) -> StreamResponse:
    """The connection becomes an ssh agent of the build `id`: the engine asks, the client answers, as long as it stays."""
    identifier, name = call.query.text("id"), call.query.text("name")
    if not identifier or not name:
        raise InvalidArgument("a build's agent needs id and name")
    call.connection.hold()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with call.engine.builder.agents.offer(identifier, name, ours), ExitStack() as undo:
        undo.callback(theirs.close)
        hijack = Hijack(call, RAW)
        hijack.open()
        undo.pop_all()
        return await hijack.join(theirs)


@routes.on("GET", "/onggi/images/{name*}/files", "F-183", hang_up=HangUp.CANCEL)
async def files(call: Call) -> StreamResponse:
    """All files of an image as one tar: what `build -o type=local` and `type=tar` write."""
    from onggi.build.exporters.trees import tar_pieces

    engine = call.engine
    image = engine.images.resolve(call.params["name"])
    stream = Stream(call, "application/x-tar")
    pieces = tar_pieces(engine.layers, engine.workers, image.layers)
    async with aclosing(pieces):
        async for piece in pieces:
            await stream.write(piece)
    return stream


@routes.on("POST", "/build/cancel", "E-110")
async def cancel(call: Call) -> StreamResponse:
    identifier = call.query.text("id")
    if not identifier:
        raise InvalidArgument("build ID not provided")
    call.engine.builder.cancel(identifier)
    return empty(200)


@routes.on("POST", "/build/prune", "E-028")
async def prune(call: Call) -> StreamResponse:
    query = call.query
    filters = query.filters(filternames.BUILD_PRUNE)
    rule = Rule(
        unused_ns=_unused_ns(filters),
        reserved=query.number("reserved-space") or query.number("keep-storage") or 0,
        max_used=query.number("max-used-space") or 0,
        min_free=query.number("min-free-space") or 0,
        everything=query.flag("all"),
        matches=matching(filters),
    )
    gone, size = await call.engine.builder.prune(rule)
    removed = [record.key for record in gone]
    call.engine.events.emit("builder", "prune", "", {"reclaimed": str(size)})
    return json_answer({"CachesDeleted": list(removed) or None, "SpaceReclaimed": size})


def _unused_ns(filters: Filters) -> int:
    """Of `until`, which BuildKit takes for how long a record has not been used, and its newer name `unused-for`."""
    named = {**filters, "until": [*filters.get("until", ()), *filters.get("unused-for", ())]}
    before = until_of(named)
    return max(1, time.time_ns() - before) if before else 0
