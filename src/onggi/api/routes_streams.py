"""What goes on while a container lives: attach, logs, stats. The container never waits for who reads (R-20)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from onggi.api import websocket
from onggi.api.detachkeys import DetachScanner, keys_of_attach
from onggi.api.hangup import HangUp
from onggi.api.hijack import Hijack, stream_type
from onggi.api.shapes_stats import stats_at
from onggi.api.streams import Stream, closing
from onggi.api.table import Routes
from onggi.engine.logs import LogOptions
from onggi.engine.streams import AttachOptions
from onggi.errors import InvalidArgument

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call

routes = Routes()

_LONGEST_TAIL: Final = 1 << 31


@routes.on("POST", "/containers/{id}/attach", "E-018", hang_up=HangUp.HALF_CLOSE)
async def attach(call: Call) -> StreamResponse:
    options = _attach_options(call)
    keys = keys_of_attach(call.query.text("detachKeys"))
    container = call.engine.containers.get(call.params["id"])
    attachment = await call.engine.streams.attach(container, options)
    hijack = Hijack(
        call,
        stream_type(call, tty=attachment.tty),
        DetachScanner(keys) if attachment.stdin and attachment.tty else None,
    )
    try:
        hijack.open()
    except BaseException:
        attachment.sock.close()
        raise
    done = await hijack.join(attachment.sock)
    if hijack.detached:
        call.engine.streams.detached(container)
    return done


@routes.on("GET", "/containers/{id}/attach/ws", "E-019", hang_up=HangUp.HALF_CLOSE)
async def attach_websocket(call: Call) -> StreamResponse:
    """Unframed bytes; before 1.42 everything was attached whatever the query said."""
    options = _attach_options(call)
    if call.version < 42:
        options = AttachOptions(stdin=True, stdout=True, stderr=True, stream=options.stream, logs=options.logs)
    container = call.engine.containers.get(call.params["id"])
    attachment = await call.engine.streams.attach(container, options)
    return await websocket.serve(call, attachment.sock, framed=not attachment.tty, binary=call.version >= 28)


@routes.on("GET", "/containers/{id}/logs", "E-005", hang_up=HangUp.CANCEL)
async def logs(call: Call) -> StreamResponse:
    query = call.query
    now = time.time_ns()
    options = LogOptions(
        stdout=query.flag("stdout"),
        stderr=query.flag("stderr"),
        follow=query.flag("follow"),
        timestamps=query.flag("timestamps"),
        details=query.flag("details"),
        since_ns=query.moment("since", now),
        until_ns=query.moment("until", now) if call.version >= 35 else 0,
        tail=_tail(query.text("tail")),
    )
    if not options.stdout and not options.stderr:
        raise InvalidArgument("Bad parameters: You must choose at least one stream")
    container = call.engine.containers.get(call.params["id"])
    pieces = call.engine.streams.logs(container, options)  # a driver that can't be read is refused here
    stream = Stream(call, stream_type(call, tty=container.row.config.tty))
    async with closing(pieces):
        await stream.begin()
        async for piece in pieces:
            await stream.write(piece)
    return stream


@routes.on("GET", "/containers/{id}/stats", "E-008", hang_up=HangUp.CANCEL)
async def stats(call: Call) -> StreamResponse:
    go_on = call.query.flag("stream", default=True)
    one_shot = call.version >= 41 and call.query.flag("one-shot")
    if go_on and one_shot:
        raise InvalidArgument("cannot have stream=true and one-shot=true")
    container = call.engine.containers.get(call.params["id"])
    samples = call.engine.streams.stats(container, stream=go_on, one_shot=one_shot)
    stream = Stream(call)
    async with closing(samples):
        await stream.begin()
        async for sample in samples:
            await stream.line(stats_at(sample, call.version))
    return stream


def _attach_options(call: Call) -> AttachOptions:
    query = call.query
    return AttachOptions(
        stdin=query.flag("stdin"),
        stdout=query.flag("stdout"),
        stderr=query.flag("stderr"),
        stream=query.flag("stream"),
        logs=query.flag("logs"),
    )


def _tail(text: str) -> int | None:
    """Lines from the end; `all` and what isn't a number are all."""
    if not text.isascii() or not text.isdecimal():
        return None
    return min(int(text[:12]), _LONGEST_TAIL)
