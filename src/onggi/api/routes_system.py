"""`/_ping`, `/version`, `/info`, `/system/df`, `/events`, `/auth`, and pages about the engine itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from onggi.api import filternames
from onggi.api.answers import JSON, TEXT, Answer, json_answer
from onggi.api.hangup import HangUp
from onggi.api.shapes_system import ask_for_usage, event_at, info_at, usage_at
from onggi.api.streams import Stream, closing
from onggi.api.table import Routes
from onggi.api.versions import NEWEST, OLDEST, text_of
from onggi.errors import NotFound

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call

routes = Routes()

_PING_HEADERS: Final = (
    # With "2" clients that have buildx build through `/grpc` and `/session`; others send their context to `/build`.
    ("Builder-Version", "2"),
    ("Swarm", "inactive"),
    ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ("Pragma", "no-cache"),
)
_LINE_TYPES: Final = ("application/x-ndjson", "application/jsonl")
_SEQUENCE: Final = "application/json-seq"


@routes.on("GET", "/_ping", "E-041")
@routes.on("HEAD", "/_ping", "E-042")
async def ping(call: Call) -> StreamResponse:
    """200 once the engine has reconciled its state with the machine, 503 before: headers are right in both."""
    if call.service.is_ready:
        return Answer(200, b"" if call.request.method == "HEAD" else b"OK", TEXT, _PING_HEADERS)
    return Answer(503, b"the engine is starting", TEXT, _PING_HEADERS)


@routes.on("GET", "/version", "E-040")
async def version(call: Call) -> StreamResponse:
    found = call.engine.system.version()
    found |= {"ApiVersion": text_of(NEWEST), "MinAPIVersion": text_of(OLDEST)}
    for component in found.get("Components", ()):
        if component.get("Name") == "Engine":
            component.setdefault("Details", {}).update(ApiVersion=text_of(NEWEST), MinAPIVersion=text_of(OLDEST))
    if call.version < 35:
        found.pop("Components", None)
        found.pop("Platform", None)
    return json_answer(found)


@routes.on("GET", "/info", "E-039")
async def info(call: Call) -> StreamResponse:
    return json_answer(info_at(await call.engine.system.info(), call.version))


@routes.on("GET", "/system/df", "E-045")
async def usage(call: Call) -> StreamResponse:
    kinds = ask_for_usage(call.query.texts("type") if call.version >= 42 else [])
    found = await call.engine.system.df(kinds)
    return json_answer(usage_at(found, call.version, kinds, verbose=call.query.flag("verbose")))


@routes.on("GET", "/events", "E-044", hang_up=HangUp.CANCEL)
async def events(call: Call) -> StreamResponse:
    """The head goes out at once: what happens after it will be told."""
    query, now = call.query, time.time_ns()
    filters = query.filters(filternames.EVENTS)
    since, until = query.moment("since", now) or None, query.moment("until", now) or None
    kind = _stream_type(call.header("Accept"), call.version)
    stream = Stream(call, kind)
    found = call.engine.events.subscribe(since_ns=since, until_ns=until, filters=filters)
    mark = b"\x1e" if kind == _SEQUENCE else b""
    async with closing(found):
        await stream.begin()
        async for event in found:
            await stream.write(mark + msgspec.json.encode(event_at(event, call.version)) + b"\n")
    return stream


def _stream_type(accepted: str, version: int) -> str:
    """The first kind of JSON lines that the client takes, by its order; plain JSON for those that don't say."""
    for word in accepted.split(","):
        kind = word.partition(";")[0].strip()
        if kind in (_SEQUENCE, *_LINE_TYPES[: 2 if version >= 53 else 1]):
            return kind
    return JSON


@routes.on("GET", "/debug/vars", "E-115")
@routes.on("GET", "/debug/pprof/{page*}", "E-115")
async def debug(call: Call) -> StreamResponse:
    """Only in debug mode; what there is to see of the process."""
    if not call.service.debug:
        raise NotFound("page not found")
    import gc
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    return json_answer(
        {"objects": len(gc.get_objects()), "maxrss": used.ru_maxrss, "cpu_s": used.ru_utime + used.ru_stime}
    )
