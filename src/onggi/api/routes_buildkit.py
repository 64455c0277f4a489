"""BuildKit's protocol: `POST /grpc`, on which a client calls, and `POST /session`, on which it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onggi.api.connection import TakenOver
from onggi.api.h2c import check_upgrade, take_over
from onggi.api.hangup import HangUp
from onggi.api.table import Routes

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call

routes = Routes()


@routes.on("POST", "/grpc", "E-111", hang_up=HangUp.HALF_CLOSE)
async def grpc(call: Call) -> StreamResponse:
    """Builds of the client are cancelled when it goes."""
    check_upgrade(call)
    call.connection.hold()
    await call.engine.buildkit.serve(lambda connection: take_over(call, connection))
    return TakenOver()


@routes.on("POST", "/session", "E-108", hang_up=HangUp.HALF_CLOSE)
async def session(call: Call) -> StreamResponse:
    """Its headers say which client it is and what it can be asked."""
    from onggi.build.buildkit.session import methods_of  # late: an engine that builds nothing doesn't pay for it

    check_upgrade(call)
    call.connection.hold()
    headers = call.request.headers
    methods = methods_of(list(headers.items()))
    await call.engine.buildkit.attach(headers, methods, lambda connection: take_over(call, connection))
    return TakenOver()
