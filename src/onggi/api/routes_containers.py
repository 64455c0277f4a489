"""Containers: create, list, inspect, and the moves between their states. Streams of containers are in routes_streams.py."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from onggi.api import filternames
from onggi.api.answers import JSON, Answer, empty, json_answer
from onggi.api.detachkeys import keys_of_attach
from onggi.api.hangup import HangUp
from onggi.api.shapes_containers import adapt_create, inspect_at, list_at
from onggi.api.streams import Stream
from onggi.api.table import Routes
from onggi.engine.config import CreateBody, UpdateBody
from onggi.errors import Forbidden, InvalidArgument, OnggiError

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call

routes = Routes()

_CONDITIONS: Final = ("not-running", "next-exit", "removed")
_UNCHANGED: Final = frozenset({b"null", b"0", b'""', b"false"})
_given_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@routes.on("GET", "/containers/json", "E-001")
async def list_containers(call: Call) -> StreamResponse:
    query, engine = call.query, call.engine
    filters, everything = query.filters(filternames.CONTAINERS), query.flag("all")
    limit = query.number("limit", 0) or 0
    if query.flag("size"):
        entries = await engine.containers.list(filters, all=everything, limit=limit, size=True)
        return json_answer(list_at(entries, call.version))
    found = engine.containers.list_json(filters, all=everything, limit=limit, version=call.version, shape=list_at)
    return Answer(200, found, JSON)


@routes.on("POST", "/containers/create", "E-002")
async def create(call: Call) -> StreamResponse:
    body = await call.json(CreateBody)
    warnings = adapt_create(body, call.version)
    created = await call.engine.containers.create(call.query.text("name"), body, call.query.text("platform"))
    return json_answer({"Id": created.id, "Warnings": created.warnings + warnings}, 201)


@routes.on("GET", "/containers/{id*}/json", "E-003")
async def inspect(call: Call) -> StreamResponse:
    """`onggi` asks for what docker has no field for: an `Onggi` part, absent otherwise."""
    query = call.query
    document = await call.engine.containers.inspect(
        call.params["id"], size=query.flag("size"), beyond_docker=query.flag("onggi")
    )
    return Answer(200, inspect_at(document, call.version), JSON)


@routes.on("GET", "/containers/{id}/top", "E-004")
async def top(call: Call) -> StreamResponse:
    titles, rows = await call.engine.containers.top(call.params["id"], call.query.text("ps_args") or "-ef")
    return json_answer({"Titles": titles, "Processes": rows})


@routes.on("GET", "/containers/{id}/changes", "E-006")
async def changes(call: Call) -> StreamResponse:
    found = await call.engine.containers.changes(call.params["id"])
    return json_answer([{"Path": change.path, "Kind": int(change.kind)} for change in found] or None)


@routes.on("POST", "/containers/{id}/resize", "E-009")
async def resize(call: Call) -> StreamResponse:
    rows, columns = size_of_terminal(call)
    await call.engine.containers.resize(call.params["id"], rows, columns)
    return empty(200)


@routes.on("POST", "/containers/{id}/start", "E-010")
async def start(call: Call) -> StreamResponse:
    if call.has_body and (await call.body()).strip() not in (b"", b"{}", b"null"):
        raise InvalidArgument(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
        )
    if call.query.text("checkpoint"):
        raise InvalidArgument("checkpoint is only supported in experimental mode")
    if call.query.text("checkpoint-dir"):
        raise Forbidden("custom checkpointdir is not supported")
    keys_of_attach(call.query.text("detachKeys"))
    await call.engine.containers.start(call.params["id"])
    return empty()


@routes.on("POST", "/containers/{id}/stop", "E-011")
async def stop(call: Call) -> StreamResponse:
    await call.engine.containers.stop(call.params["id"], signal=_stop_signal(call), timeout=call.query.number("t"))
    return empty()


@routes.on("POST", "/containers/{id}/restart", "E-012")
async def restart(call: Call) -> StreamResponse:
    await call.engine.containers.restart(call.params["id"], signal=_stop_signal(call), timeout=call.query.number("t"))
    return empty()


@routes.on("POST", "/containers/{id}/kill", "E-013")
async def kill(call: Call) -> StreamResponse:
    await call.engine.containers.kill(call.params["id"], call.query.text("signal"))
    return empty()


@routes.on("POST", "/containers/{id}/update", "E-014")
async def update(call: Call) -> StreamResponse:
    """A zero value changes nothing, as in dockerd's structs, but where null is another value (PidsLimit, devices)."""
    data = await call.body()
    body = call.decode(data, UpdateBody)
    given = {name.lower() for name, value in _given_names(data).items() if bytes(value) not in _UNCHANGED}
    given |= {"pidslimit"} if body.pids_limit is not None else set()
    if body.restart_policy is not None and not _names_a_policy(data):
        given.discard("restartpolicy")
    if call.version < 55:
        given = {name for name in given if not name.startswith(("blkiodevice", "blkioweightdevice"))}
    containers = call.engine.containers
    answer: dict[str, object] = {"Warnings": await containers.update(call.params["id"], body, frozenset(given))}
    if body.onggi is not None:
        answer["Onggi"] = {"PendingRestart": containers.get(call.params["id"]).row.pending}
    return json_answer(answer)


def _names_a_policy(data: bytes) -> bool:
    policy = next((value for name, value in _given_names(data).items() if name.lower() == "restartpolicy"), None)
    return policy is not None and bool(msgspec.json.decode(policy, type=dict[str, object]).get("Name"))


@routes.on("POST", "/containers/{id}/rename", "E-015")
async def rename(call: Call) -> StreamResponse:
    name = call.query.text("name")
    if not name:
        raise InvalidArgument("Neither old nor new names may be empty")
    await call.engine.containers.rename(call.params["id"], name)
    return empty()


@routes.on("POST", "/containers/{id}/pause", "E-016")
async def pause(call: Call) -> StreamResponse:
    await call.engine.containers.pause(call.params["id"])
    return empty()


@routes.on("POST", "/containers/{id}/unpause", "E-017")
async def unpause(call: Call) -> StreamResponse:
    await call.engine.containers.unpause(call.params["id"])
    return empty()


@routes.on("POST", "/containers/{id}/wait", "E-020", hang_up=HangUp.CANCEL)
async def wait(call: Call) -> StreamResponse:
    """The head goes out once the waiter stands: clients call start only then, so that no exit is missed."""
    condition = call.query.text("condition") or "not-running"
    if condition not in _CONDITIONS:
        raise InvalidArgument(f'invalid condition: "{condition}"')
    ended = call.engine.containers.wait(call.params["id"], condition)
    if call.version < 30:
        return json_answer({"StatusCode": (await ended).exit_code})
    stream = Stream(call)
    await stream.begin()
    try:
        result = await ended
        document: dict[str, object] = {"StatusCode": result.exit_code}
        if result.error and call.version >= 34:
            document["Error"] = {"Message": result.error}
    except OnggiError as error:
        document = {"StatusCode": -1, "Error": {"Message": str(error)}}
    await stream.line(document)
    return stream


@routes.on("DELETE", "/containers/{id*}", "E-021")
async def remove(call: Call) -> StreamResponse:
    """The path of a link (`web/db`, with `link`) has a slash."""
    query = call.query
    await call.engine.containers.remove(
        call.params["id"], force=query.flag("force"), volumes=query.flag("v"), link=query.flag("link")
    )
    return empty()


@routes.on("POST", "/containers/prune", "E-025")
async def prune(call: Call) -> StreamResponse:
    names, size = await call.engine.containers.prune(call.query.filters(filternames.CONTAINERS_PRUNE))
    return json_answer({"ContainersDeleted": names or None, "SpaceReclaimed": size})


def size_of_terminal(call: Call) -> tuple[int, int]:
    """`h` and `w`. Raises InvalidArgument in Go's words."""
    sizes = []
    for name in ("h", "w"):
        text = call.query.text(name)
        is_number = re.fullmatch(r"-?[0-9]{1,12}", text, re.ASCII)
        if not is_number or not 0 <= int(text) <= 0xFFFFFFFF:
            reason = "value out of range" if is_number else "invalid syntax"
            raise InvalidArgument(f'invalid resize {"height" if name == "h" else "width"} "{text[:16]}": {reason}')
        # struct winsize has 16 bits (tty_ioctl(4)).
        sizes.append(int(text) & 0xFFFF)
    return sizes[0], sizes[1]


def _stop_signal(call: Call) -> str:
    return call.query.text("signal") if call.version >= 42 else ""
