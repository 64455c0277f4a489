"""What a registry is asked on a client's behalf: logins, and what stands under a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from onggi.api.answers import json_answer
from onggi.api.auth import RegistryAuth, decode_auth
from onggi.api.table import Routes
from onggi.oci.reference import parse_reference

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call

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
