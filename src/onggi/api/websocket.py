"""Attach over a WebSocket: the container's bytes without frames, in messages."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Final

from aiohttp import WSMsgType
from aiohttp.web_ws import WebSocketResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call

_header: Final = struct.Struct(">BxxxI").unpack
_MAX_MESSAGE: Final = 1 << 20


async def serve(call: Call, sock: socket.socket, *, framed: bool, binary: bool) -> StreamResponse:
    """Both ways until one ends; `sock` is ours. Cancelled: both are closed, the container goes on."""
    answer = WebSocketResponse(max_msg_size=_MAX_MESSAGE, heartbeat=None)
    reader, writer = await asyncio.open_connection(sock=sock)
    call.streaming = True
    try:
        await answer.prepare(call.request)
        incoming = asyncio.create_task(_incoming(answer, writer), name="websocket input")
        try:
            async for piece in _unframed(reader) if framed else _raw(reader):
                if binary:
                    await answer.send_bytes(piece)
                else:
                    await answer.send_str(piece.decode("utf-8", "replace"))
            await answer.close()
        finally:
            incoming.cancel()
    finally:
        writer.close()
    return answer


async def _incoming(answer: WebSocketResponse, writer: asyncio.StreamWriter) -> None:
    async for message in answer:
        if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
            writer.write(message.data.encode() if isinstance(message.data, str) else message.data)
            await writer.drain()
    writer.close()  # the client has gone: the other direction ends with it


async def _raw(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while piece := await reader.read(1 << 16):
        yield piece


async def _unframed(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        try:
            _, length = _header(await reader.readexactly(8))
            while length:
                piece = await reader.read(min(length, 1 << 16))
                if not piece:
                    return
                length -= len(piece)
                yield piece
        except asyncio.IncompleteReadError:
            return
