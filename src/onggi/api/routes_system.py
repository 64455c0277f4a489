"""`/_ping`, `/version`, `/info`, `/system/df`, `/events`, `/auth`, and pages about the engine itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onggi.api.answers import TEXT, Answer
from onggi.api.table import Routes

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call

routes = Routes()

_PING_HEADERS: Final = (
    ("Builder-Version", "2"),
    ("Swarm", "inactive"),
    ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ("Pragma", "no-cache"),
)


@routes.on("GET", "/_ping", "E-041")
@routes.on("HEAD", "/_ping", "E-042")
async def ping(call: Call) -> StreamResponse:
    """200 once the engine has reconciled its state with the machine, 503 before: headers are right in both."""
    if call.service.is_ready:
        return Answer(200, b"" if call.request.method == "HEAD" else b"OK", TEXT, _PING_HEADERS)
    return Answer(503, b"the engine is starting", TEXT, _PING_HEADERS)
