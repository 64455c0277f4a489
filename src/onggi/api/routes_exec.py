"""Commands run in a running container."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from onggi.api.answers import empty, json_answer
from onggi.api.detachkeys import DetachScanner, keys_of_exec
from onggi.api.hangup import HangUp
from onggi.api.hijack import STDOUT, Hijack, frame, stream_type
from onggi.api.routes_containers import size_of_terminal
from onggi.api.table import Routes
from onggi.engine.config import ExecBody, ExecStartBody
from onggi.errors import OnggiError

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call

routes = Routes()


@routes.on("POST", "/containers/{id}/exec", "E-049")
async def create(call: Call) -> StreamResponse:
    body = await call.json(ExecBody)
    if call.version < 42:
        body.console_size = None
    keys_of_exec(body.detach_keys)
    return json_answer({"Id": await call.engine.execs.create(call.params["id"], body)}, 201)


@routes.on("POST", "/exec/{id}/start", "E-050", hang_up=HangUp.HALF_CLOSE)
async def start(call: Call) -> StreamResponse:
    """Detached it answers when the program runs; else the connection becomes its stdio.

    A program that can't be run is told of in the stream, and by its exit code; everything else by a status.
    """
    body = await call.optional_json(ExecStartBody) or ExecStartBody()
    call.connection.hold()
    execs = call.engine.execs
    identifier = call.params["id"]
    if body.detach:
        await execs.start_detached(identifier)
        return empty(200)
    one = execs.get(identifier)
    starting = asyncio.ensure_future(execs.start(identifier, body))
    await asyncio.sleep(0)  # its first step refuses what can't be started at all
    if starting.done():
        starting.result()
    # dockerd answers before the program runs, and docker-py counts on it: bytes that come with the head are lost to it.
    scanner = DetachScanner(keys_of_exec(one.body.detach_keys)) if one.body.attach_stdin and one.body.tty else None
    # Whether there are frames says this request; whether there is a terminal said the one that made it.
    hijack = Hijack(call, stream_type(call, tty=body.tty), scanner)
    try:
        hijack.open()
        attachment = await starting
    except OnggiError as error:
        text = f"{error}\r\n".encode()
        hijack.write(text if body.tty else frame(STDOUT, text))
        return await hijack.close()
    except ConnectionError:  # the client has gone: what it began runs, and nobody reads
        (await starting).sock.close()
        raise
    done = await hijack.join(attachment.sock)
    if hijack.detached:
        execs.detached(identifier)
    return done


@routes.on("POST", "/exec/{id}/resize", "E-051")
async def resize(call: Call) -> StreamResponse:
    rows, columns = size_of_terminal(call)
    await call.engine.execs.resize(call.params["id"], rows, columns)
    return empty(200)


@routes.on("GET", "/exec/{id}/json", "E-052")
async def inspect(call: Call) -> StreamResponse:
    return json_answer(call.engine.execs.inspect(call.params["id"]))
