"""What docker has no words for: replacing a container without a gap, going back, and what the engine leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from onggi.api.answers import json_answer
from onggi.api.bodies import decode_body
from onggi.api.progress import progress
from onggi.api.table import Routes
from onggi.engine.config import CreateBody
from onggi.errors import InvalidArgument

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call

routes = Routes()


class DeployBody(msgspec.Struct):
    """What the new container differs in. Times are seconds."""

    Image: str = ""
    HealthTimeout: float = 60.0
    Drain: float = 10.0
    Changes: dict[str, Any] | None = None


@routes.on("POST", "/onggi/containers/{name}/deploy", "B-01")
async def deploy(call: Call) -> StreamResponse:
    """The old one serves until the new one is healthy; refused, nothing has changed."""
    body = await call.json(DeployBody)
    changes = decode_body(msgspec.json.encode(body.Changes), CreateBody) if body.Changes else None
    if body.HealthTimeout <= 0 or body.Drain < 0:
        raise InvalidArgument("HealthTimeout must be above 0, Drain not below")
    name = call.params["name"]
    return await progress(
        call,
        lambda output: call.engine.deploy.replace(
            name, image=body.Image, changes=changes, health_timeout=body.HealthTimeout, drain=body.Drain, output=output
        ),
        quiet_errors=True,
    )


@routes.on("POST", "/onggi/containers/{name}/rollback", "B-01")
async def rollback(call: Call) -> StreamResponse:
    name = call.params["name"]
    return await progress(call, lambda output: call.engine.deploy.rollback(name, output=output), quiet_errors=True)


@routes.on("POST", "/onggi/containers/{name}/recreate", "B-04")
async def recreate(call: Call) -> StreamResponse:
    """Same name, volumes and networks, other words; the old one is back when the new one fails."""
    body = await call.json(DeployBody)
    changes = decode_body(msgspec.json.encode(body.Changes or {}), CreateBody)
    if body.HealthTimeout <= 0:
        raise InvalidArgument("HealthTimeout must be above 0")
    name, timeout = call.params["name"], body.HealthTimeout
    return await progress(
        call,
        lambda output: call.engine.recreation.recreate(name, changes, health_timeout=timeout, output=output),
        quiet_errors=True,
    )


@routes.on("POST", "/onggi/containers/{name}/undo", "B-04")
async def undo(call: Call) -> StreamResponse:
    name = call.params["name"]
    return await progress(
        call, lambda output: call.engine.recreation.undo(name, health_timeout=60.0, output=output), quiet_errors=True
    )


@routes.on("GET", "/onggi/leaks", "B-02")
async def leaks(call: Call) -> StreamResponse:
    return json_answer(await call.engine.system.leaks())
