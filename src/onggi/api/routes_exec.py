"""Commands run in a running container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onggi.api.answers import empty, json_answer
from onggi.api.detachkeys import DetachScanner, keys_of_exec
from onggi.api.hijack import Hijack, stream_type
from onggi.api.routes_containers import size_of_terminal
from onggi.api.table import HangUp, Routes
from onggi.engine.config import ExecBody, ExecStartBody

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
    made = call.engine.execs.create(call.engine.containers.get(call.params["id"]), body)
    return json_answer({"Id": made.id}, 201)


@routes.on("POST", "/exec/{id}/start", "E-050", hang_up=HangUp.HALF_CLOSE)
async def start(call: Call) -> StreamResponse:
    """Detached it answers when the program runs; else the connection becomes its stdio.

    The program is started before the answer: what stops it then is an answer with a status.
    """
    body = await call.optional_json(ExecStartBody) or ExecStartBody()
    call.connection.hold()
    execs = call.engine.execs
    one = execs.get(call.params["id"])
    size = body.console_size if call.version >= 42 else None
    attachment = await execs.start(
        one.id, detach=body.detach, tty=body.tty, console_size=(size[0], size[1]) if size and len(size) == 2 else None
    )
    if attachment is None:
        return empty(200)
    watched = one.body.attach_stdin or attachment.tty
    scanner = DetachScanner(keys_of_exec(one.body.detach_keys)) if watched else None
    hijack = Hijack(call, stream_type(call, tty=attachment.tty), scanner)
    try:
        hijack.open()
    except BaseException:
        attachment.socket.close()
        raise
    done = await hijack.join(attachment.socket)
    if hijack.detached:
        call.engine.events.emit("container", "exec_detach", one.container.id, one.container.attributes)
    return done


@routes.on("POST", "/exec/{id}/resize", "E-051")
async def resize(call: Call) -> StreamResponse:
    rows, columns = size_of_terminal(call)
    await call.engine.execs.resize(call.params["id"], rows, columns)
    return empty(200)


@routes.on("GET", "/exec/{id}/json", "E-052")
async def inspect(call: Call) -> StreamResponse:
    return json_answer(call.engine.execs.inspect(call.params["id"]))
