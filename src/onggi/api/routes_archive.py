"""Files of containers: `docker cp` both ways, and export."""

from __future__ import annotations

import base64
from contextlib import aclosing
from typing import TYPE_CHECKING

from onggi.api.answers import TAR, Answer, empty, encode_json
from onggi.api.hangup import HangUp
from onggi.api.streams import Stream
from onggi.api.table import Routes
from onggi.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call
    from onggi.engine.archivejobs import PathStat

routes = Routes()


@routes.on("HEAD", "/containers/{id}/archive", "E-022", hang_up=HangUp.CANCEL)
async def stat_path(call: Call) -> StreamResponse:
    stat = await call.engine.copies.stat(call.params["id"], _path(call))
    return Answer(200, b"", headers=_stat_header(stat))


@routes.on("GET", "/containers/{id}/archive", "E-023", hang_up=HangUp.CANCEL)
async def get_archive(call: Call) -> StreamResponse:
    zipped = _wants_gzip(call.header("Accept-Encoding"))
    coding = (("Content-Encoding", "gzip"),) if zipped else ()
    async with call.engine.copies.get(call.params["id"], _path(call), gzip=zipped) as (stat, pieces):
        return await _send(call, pieces, TAR, _stat_header(stat) + coding)


@routes.on("PUT", "/containers/{id}/archive", "E-024")
async def put_archive(call: Call) -> StreamResponse:
    query = call.query
    async with aclosing(call.chunks()) as body:
        await call.engine.copies.put(
            call.params["id"],
            _path(call),
            body,
            no_overwrite_dir_non_dir=query.flag("noOverwriteDirNonDir"),
            copy_uid_gid=query.flag("copyUIDGID"),
        )
    return empty(200)


@routes.on("GET", "/containers/{id}/export", "E-007", hang_up=HangUp.CANCEL)
async def export(call: Call) -> StreamResponse:
    async with call.engine.copies.export(call.params["id"]) as pieces:
        return await _send(call, pieces, "application/octet-stream", ())


async def _send(
    call: Call, pieces: AsyncIterator[bytes], content_type: str, headers: tuple[tuple[str, str], ...]
) -> StreamResponse:
    stream = Stream(call, content_type, headers=headers)
    await stream.begin()
    async for piece in pieces:
        await stream.write(piece)
    return stream


def _wants_gzip(accepted: str) -> bool:
    return any(word.partition(";")[0].strip() == "gzip" and "q=0" not in word for word in accepted.split(","))


def _path(call: Call) -> str:
    path = call.query.text("path")
    if not path:
        raise InvalidArgument("bad parameter: path cannot be empty")
    return path


def _stat_header(stat: PathStat) -> tuple[tuple[str, str], ...]:
    return (("X-Docker-Container-Path-Stat", base64.b64encode(encode_json(stat)).decode()),)
