"""What a registry is asked on a client's behalf: logins, what stands under a name, what there is by a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from onggi.api import filternames
from onggi.api.answers import json_answer
from onggi.api.auth import RegistryAuth, decode_auth
from onggi.api.matching import only_flag
from onggi.api.table import Routes
from onggi.errors import InvalidArgument
from onggi.oci.reference import parse_reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call
    from onggi.api.query import Filters
    from onggi.images.search import SearchResult

routes = Routes()


@routes.on("POST", "/auth", "E-038")
async def log_in(call: Call) -> StreamResponse:
    """Whether a registry takes the credentials; nothing is kept."""
    auth = await call.json(RegistryAuth)
    token = await call.engine.log_in(auth)
    return json_answer({"Status": "Login Succeeded", "IdentityToken": token})


@routes.on("GET", "/distribution/{name*}/json", "E-107", since=30)
async def distribution(call: Call) -> StreamResponse:
    auth = decode_auth(call.header("X-Registry-Auth"))
    found = await call.engine.look_up(parse_reference(call.params["name"]), auth=auth)
    return json_answer(msgspec.to_builtins(found))


@routes.on("GET", "/images/search", "E-036")
async def search(call: Call) -> StreamResponse:
    limit = call.query.number("limit") or 0
    if limit < 0:
        raise InvalidArgument("invalid limit specified")
    wanted = _wanted(call.query.filters(filternames.SEARCH))
    try:
        auth = decode_auth(call.header("X-Registry-Auth"))
    except InvalidArgument:  # nobody has to log in to search
        auth = None
    found = await call.engine.images.search(call.query.text("term"), limit, wanted, auth=auth)
    return json_answer(msgspec.to_builtins(found))


def _wanted(filters: Filters) -> Callable[[SearchResult], bool]:
    """Raises InvalidArgument. Nothing is built automatically any more, so that asking for it finds nothing."""
    automated, official = only_flag(filters, "is-automated"), only_flag(filters, "is-official")
    least = 0
    for text in filters.get("stars", []):
        if not text.lstrip("+-").isdecimal():
            raise InvalidArgument(f"invalid filter 'stars={text}'")
        least = max(least, int(text))
    return lambda one: not automated and official in (None, one.is_official) and one.star_count >= least


@routes.on("POST", "/commit", "E-043")
async def commit(call: Call) -> StreamResponse:
    """An image of what a container has changed."""
    from onggi.engine.config import ContainerConfig

    query = call.query
    config = await call.optional_json(ContainerConfig)
    repository, tag = query.text("repo"), query.text("tag")
    name = parse_reference(f"{repository}:{tag}" if tag else repository) if repository else None
    identifier = await call.engine.copies.commit(
        query.text("container"),
        name=name,
        config=config,
        changes=query.texts("changes"),
        author=query.text("author"),
        comment=query.text("comment"),
        pause=query.flag("pause", default=True),
    )
    return json_answer({"Id": identifier}, 201)
