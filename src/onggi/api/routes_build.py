"""Builds over plain HTTP, and the cache they leave. BuildKit's doors are in routes_buildkit.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onggi.api import filternames
from onggi.api.answers import empty, json_answer
from onggi.api.auth import decode_auths
from onggi.api.progress import progress
from onggi.api.shapes_networks import until_of
from onggi.api.table import HangUp, Routes
from onggi.errors import InvalidArgument, NotImplementedHere

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call

routes = Routes()


@routes.on("POST", "/build", "E-027", hang_up=HangUp.CANCEL)
async def build(call: Call) -> StreamResponse:
    from onggi.build.options import options_from_query  # late: an engine that builds nothing doesn't pay for it

    if call.query.text("version") == "2":
        raise NotImplementedHere("builds over a BuildKit session are not supported yet: use DOCKER_BUILDKIT=0")
    options = options_from_query(call.query.everything(), decode_auths(call.header("X-Registry-Config")))
    return await progress(call, lambda output: call.engine.builder.build(call.chunks(), options, output))


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
    keep = query.number("reserved-space") or query.number("keep-storage") or 0
    removed, size = await call.engine.builder.prune(
        all=query.flag("all"), keep_bytes=keep, until_s=until_of(filters) // 1_000_000_000
    )
    call.engine.events.emit("builder", "prune", "", {"reclaimed": str(size)})
    return json_answer({"CachesDeleted": list(removed) or None, "SpaceReclaimed": size})
