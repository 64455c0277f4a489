"""What goes on while a container lives: attach, logs, stats. The container never waits for who reads (R-20)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from onggi.api import websocket
from onggi.api.detachkeys import DetachScanner, keys_of_attach
from onggi.api.hijack import Hijack, stream_type
from onggi.api.shapes_stats import stats_at
from onggi.api.streams import Stream
from onggi.api.table import HangUp, Routes
from onggi.engine.logs import LogOptions
from onggi.errors import InvalidArgument

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call
    from onggi.engine.container import Container

routes = Routes()

_LONGEST_TAIL: Final = 1 << 31


@routes.on("POST", "/containers/{id}/attach", "E-018", hang_up=HangUp.HALF_CLOSE)
async def attach(call: Call) -> StreamResponse:
    query = call.query
    keys = keys_of_attach(query.text("detachKeys"))
    container = call.engine.containers.get(call.params["id"])
    past = _past(call, container) if query.flag("logs") else None
    kind = stream_type(call, tty=bool(container.row.config.tty))
    if not query.flag("stream"):
        stream = Stream(call, kind)
        if past is not None:
            await _write_all(stream, past)
        return stream
    attachment = await call.engine.streams.attach(
        container, stdin=query.flag("stdin"), stdout=query.flag("stdout"), stderr=query.flag("stderr")
    )
    hijack = Hijack(call, kind, DetachScanner(keys) if query.flag("stdin") else None)
    try:
        hijack.open()
        if past is not None:
            await hijack.replay(past)
    except BaseException:
        attachment.socket.close()
        raise
    done = await hijack.join(attachment.socket)
    if hijack.detached:
        call.engine.events.emit("container", "detach", container.id, container.attributes)
    return done


@routes.on("GET", "/containers/{id}/attach/ws", "E-019", hang_up=HangUp.HALF_CLOSE)
async def attach_websocket(call: Call) -> StreamResponse:
    """Unframed bytes; before 1.42 everything was attached whatever the query said."""
    query, everything = call.query, call.version < 42
    container = call.engine.containers.get(call.params["id"])
    attachment = await call.engine.streams.attach(
        container,
        stdin=everything or query.flag("stdin"),
        stdout=everything or query.flag("stdout"),
        stderr=everything or query.flag("stderr"),
    )
    return await websocket.serve(call, attachment.socket, framed=not attachment.tty, binary=call.version >= 28)


def _past(call: Call, container: Container) -> AsyncIterator[bytes]:
    """What the container has said so far."""
    query = call.query
    return call.engine.streams.logs(container, LogOptions(stdout=query.flag("stdout"), stderr=query.flag("stderr")))


async def _write_all(stream: Stream, pieces: AsyncIterator[bytes]) -> None:
    await stream.begin()
    async for piece in pieces:
        await stream.write(piece)


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
    stream = Stream(call, stream_type(call, tty=bool(container.row.config.tty)))
    await _write_all(stream, pieces)
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
    async with aclosing(samples):
        await stream.begin()
        async for sample in samples:
            await stream.line(stats_at(sample, call.version))
    return stream


def _tail(text: str) -> int | None:
    """Lines from the end; `all` and what isn't a number are all."""
    if not text.isascii() or not text.isdecimal():
        return None
    return min(int(text[:12]), _LONGEST_TAIL)
