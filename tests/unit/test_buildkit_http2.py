"""HTTP/2 and gRPC between two ends in one process, and an end that is told nonsense."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from onggi.build.buildkit.frames import PREFACE, RESETS_LIMIT, Error, Frame, StreamEnded, frame, setting
from onggi.build.buildkit.http2 import Connection
from onggi.build.buildkit.pb import session_pb2
from onggi.build.buildkit.rpc import Channel, Code, Detail, Methods, RpcError, Server, ServerCall, unary

Secret, Answer, Bytes = session_pb2.GetSecretRequest, session_pb2.GetSecretResponse, session_pb2.BytesMessage


async def repeat(request: session_pb2.GetSecretRequest, call: ServerCall) -> session_pb2.GetSecretResponse:
    return Answer(data=request.ID.encode() * int(call.first("times") or "1"))


async def refuse(request: session_pb2.GetSecretRequest, call: ServerCall) -> session_pb2.GetSecretResponse:
    raise RpcError(Code.NOT_FOUND, f"nö: {request.ID} 100%", [Detail("a/type", b"\0\xff")])


async def echo(call: ServerCall) -> None:
    while (message := await call.stream.message()) is not None:
        await call.send(Bytes(data=message))


async def wait(call: ServerCall) -> None:
    await call.stream.message()
    await asyncio.sleep(3600)


METHODS: Methods = {"/repeat": unary(Secret, repeat), "/refuse": unary(Secret, refuse), "/echo": echo, "/wait": wait}


@asynccontextmanager
async def both() -> AsyncIterator[tuple[Channel, Connection, Connection]]:
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        _, server = await loop.create_connection(lambda: Connection(Server(METHODS, group).accept), sock=ours)
        _, client = await loop.create_connection(Connection, sock=theirs)
        try:
            yield Channel(client), client, server
        finally:
            client.close()
            server.close()


def run(check: Callable[[Channel, Connection, Connection], Awaitable[None]]) -> None:
    async def go() -> None:
        async with asyncio.timeout(20), both() as ends:
            await check(*ends)

    asyncio.run(go())


def test_a_call_has_an_answer_however_long() -> None:
    async def check(channel: Channel, client: Connection, server: Connection) -> None:
        answer = await channel.unary("/repeat", Secret(ID="x"), Answer)
        assert answer.data == b"x"
        long = "y" * 5_000_000
        answer = await channel.unary("/repeat", Secret(ID=long), Answer)
        assert answer.data == long.encode()

    run(check)


@pytest.mark.row("F-309")
def test_an_error_comes_with_its_code_words_and_details() -> None:
    async def check(channel: Channel, client: Connection, server: Connection) -> None:
        with pytest.raises(RpcError, match="nö: a 100%") as caught:
            await channel.unary("/refuse", Secret(ID="a"), Answer)
        assert caught.value.code is Code.NOT_FOUND
        assert caught.value.details == (Detail("a/type", b"\0\xff"),)
        with pytest.raises(RpcError, match="unknown method /nothing") as caught:
            await channel.unary("/nothing", Secret(), Answer)
        assert caught.value.code is Code.UNIMPLEMENTED

    run(check)


def test_many_messages_go_both_ways_and_the_slower_end_sets_the_pace() -> None:
    async def check(channel: Channel, client: Connection, server: Connection) -> None:
        async with channel.call("/echo") as call, asyncio.TaskGroup() as group:

            async def send() -> None:
                for number in range(3000):
                    await call.send(Bytes(data=b"%d" % number + bytes(1000)))
                call.end()

            group.create_task(send())
            count = 0
            while batch := await call.stream.batch():
                count += len(batch)
            assert count == 3000
            await call.check()

    run(check)


@pytest.mark.row("F-308")
def test_a_call_that_is_given_up_ends_at_the_other_side() -> None:
    async def check(channel: Channel, client: Connection, server: Connection) -> None:
        with pytest.raises(TimeoutError):
            await channel.unary("/wait", Secret(), Answer, timeout_s=0.05)
        await channel.unary("/repeat", Secret(ID="x"), Answer)
        assert len([task for task in asyncio.all_tasks() if task.get_name() == "gRPC /wait"]) == 0

    run(check)


def test_calls_end_with_their_connection() -> None:
    async def check(channel: Channel, client: Connection, server: Connection) -> None:
        async with channel.call("/wait") as call:
            await call.send(Secret())
            server.close()
            with pytest.raises(StreamEnded):
                await call.receive(Answer)
        with pytest.raises(StreamEnded):
            await channel.unary("/repeat", Secret(ID="x"), Answer)

    run(check)


HEADERS = frame(Frame.HEADERS, 4, 1, b"\x83\x86\x44\x05/echo")  # POST, http, :path /echo
RESETS = b"".join(
    frame(Frame.HEADERS, 4, 2 * at + 1, b"\x83\x86\x44\x05/wait") + frame(Frame.RST_STREAM, 0, 2 * at + 1, bytes(4))
    for at in range(RESETS_LIMIT + 2)
)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"GET / HTTP/1.1\r\n\r\n" + bytes(24), Error.PROTOCOL_ERROR),
        (PREFACE + frame(Frame.DATA, 0, 1, b"x"), Error.PROTOCOL_ERROR),
        (PREFACE + b"\xff\xff\xff\0\0\0\0\0\1", Error.FRAME_SIZE_ERROR),
        (PREFACE + frame(Frame.HEADERS, 4, 1, b"\xff\xff\xff\xff\xff\xff"), Error.COMPRESSION_ERROR),
        (PREFACE + frame(Frame.HEADERS, 0, 1, b"\x83") + frame(Frame.DATA, 0, 1, b""), Error.PROTOCOL_ERROR),
        (PREFACE + frame(Frame.CONTINUATION, 4, 1, b"\x83"), Error.PROTOCOL_ERROR),
        (PREFACE + HEADERS + frame(Frame.DATA, 0, 1, b"\0\x7f\xff\xff\xff"), Error.PROTOCOL_ERROR),
        (PREFACE + HEADERS + frame(Frame.DATA, 8, 1, b"\xff"), Error.PROTOCOL_ERROR),
        (PREFACE + HEADERS + frame(Frame.DATA, 0, 1, b"\1\0\0\0\0"), Error.PROTOCOL_ERROR),
        (PREFACE + frame(Frame.SETTINGS, 0, 0, setting.pack(5, 1)), Error.PROTOCOL_ERROR),
        (PREFACE + frame(Frame.PING, 0, 0, b"short"), Error.FRAME_SIZE_ERROR),
        (PREFACE + RESETS, Error.ENHANCE_YOUR_CALM),
        (
            PREFACE + frame(Frame.HEADERS, 0, 1, b"") + frame(Frame.CONTINUATION, 0, 1, bytes(200_000)) * 2,
            Error.ENHANCE_YOUR_CALM,
        ),
    ],
)
def test_nonsense_ends_the_connection_with_the_error_it_is(sent: bytes, error: Error) -> None:
    async def go() -> bytes:
        ours, theirs = socket.socketpair()
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: Connection(Server(METHODS, group).accept), sock=ours)
            reader, writer = await asyncio.open_connection(sock=theirs)
            writer.write(sent)
            answer = await reader.read()
            writer.close()
            return answer

    answer = asyncio.run(go())
    at = answer.rindex(struct.pack(">HBB", 0, 8, Frame.GOAWAY))
    assert Error(int.from_bytes(answer[at + 13 : at + 17], "big")) is error
