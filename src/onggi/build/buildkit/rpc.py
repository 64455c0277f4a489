"""gRPC on http2.py's streams: methods that a peer may call, calls of a peer's methods, errors with their details.

Source: grpc/doc/PROTOCOL-HTTP2.md. No compression; deadlines are kept.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import unquote_to_bytes

from google.protobuf.message import DecodeError

from onggi.build.buildkit.frames import Error, Headers, StreamEnded
from onggi.build.buildkit.http2 import Connection
from onggi.build.buildkit.pb import status_pb2
from onggi.build.buildkit.streams import Stream
from onggi.errors import OnggiError

if TYPE_CHECKING:
    from google.protobuf.message import Message

M = TypeVar("M", bound="Message")

_DETAILS: Final = "grpc-status-details-bin"
_CONTENT_TYPE: Final = "application/grpc"
_UNITS_S: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}

log = logging.getLogger(__name__)


class Code(IntEnum):
    """Source: grpc/doc/statuscodes.md."""

    OK = 0
    CANCELED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


_CODES: Final[dict[int, Code]] = {
    HTTPStatus.BAD_REQUEST: Code.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: Code.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: Code.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: Code.NOT_FOUND,
    HTTPStatus.CONFLICT: Code.ALREADY_EXISTS,
    HTTPStatus.NOT_IMPLEMENTED: Code.UNIMPLEMENTED,
    HTTPStatus.SERVICE_UNAVAILABLE: Code.UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Detail:
    """What goes with an error: a type's name, and its value in that type's encoding."""

    type_url: str
    value: bytes


class RpcError(OnggiError):
    """A call's end that isn't OK, ours or a peer's."""

    def __init__(self, code: Code, message: str, details: Sequence[Detail] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.details = tuple(details)


def status_of(error: BaseException) -> status_pb2.Status:
    """What a peer is told of `error`. What isn't ours to say is for the log only."""
    if isinstance(error, RpcError):
        status = status_pb2.Status(code=error.code, message=str(error))
        for detail in error.details:
            status.details.add(type_url=detail.type_url, value=detail.value)
        return status
    if isinstance(error, OnggiError):
        return status_pb2.Status(code=_CODES.get(error.status, Code.UNKNOWN), message=str(error))
    if isinstance(error, asyncio.CancelledError):
        return status_pb2.Status(code=Code.CANCELED, message="context canceled")
    if isinstance(error, TimeoutError):
        return status_pb2.Status(code=Code.DEADLINE_EXCEEDED, message="context deadline exceeded")
    return status_pb2.Status(code=Code.INTERNAL, message="internal error (the engine's log says more)")


def error_of(status: status_pb2.Status) -> RpcError:
    """The error that a peer told of."""
    try:
        code = Code(status.code)
    except ValueError:
        code = Code.UNKNOWN
    return RpcError(code, status.message, [Detail(each.type_url, each.value) for each in status.details])


def decoded(data: bytes, wanted: type[M]) -> M:
    """Raises RpcError for what is no such message."""
    try:
        return wanted.FromString(data)
    except DecodeError as error:
        raise RpcError(Code.INVALID_ARGUMENT, f"not a {wanted.__name__}: {error}") from error


# The server's side


class ServerCall:
    """One call of a peer. `metadata` has lower-case names and all their values."""

    def __init__(self, stream: Stream, headers: Headers) -> None:
        self.stream = stream
        self.metadata: dict[str, list[str]] = {}
        for name, value in headers:
            self.metadata.setdefault(name, []).append(value)
        self._answered = False

    @property
    def method(self) -> str:
        """`/package.Service/Method`."""
        return self.first(":path")

    def first(self, name: str) -> str:
        return self.metadata.get(name, [""])[0]

    async def request(self, wanted: type[M]) -> M:
        """The one message of the call. Raises RpcError, StreamEnded."""
        data = await self.stream.message()
        if data is None:
            raise RpcError(Code.INVALID_ARGUMENT, f"{self.method}: the request is missing")
        return decoded(data, wanted)

    async def send(self, message: Message) -> None:
        """One message of the answer. Raises StreamEnded."""
        if not self._answered:
            self._answered = True
            self.stream.send_headers([(":status", "200"), ("content-type", _CONTENT_TYPE)])
        await self.stream.send(message.SerializeToString())

    def finish(self, error: BaseException | None) -> None:
        """The end. Does nothing when the peer has gone."""
        trailers = [] if self._answered else [(":status", "200"), ("content-type", _CONTENT_TYPE)]
        if error is None:
            trailers.append(("grpc-status", "0"))
        else:
            status = status_of(error)
            trailers += [("grpc-status", str(status.code)), ("grpc-message", _percent(status.message))]
            if status.details:
                trailers.append((_DETAILS, base64.b64encode(status.SerializeToString()).decode().rstrip("=")))
        try:
            self.stream.send_headers(trailers, end=True)
        except StreamEnded:
            return
        if not self.stream.is_open:
            return
        self.stream.reset(Error.NO_ERROR)  # what the peer still sends isn't wanted (RFC 9113, 8.1)


Handler = Callable[[ServerCall], Awaitable[None]]
Methods = Mapping[str, Handler]


def unary(wanted: type[M], answer: Callable[[M, ServerCall], Awaitable[Message]]) -> Handler:
    """A method that takes one message and gives one."""

    async def handle(call: ServerCall) -> None:
        await call.send(await answer(await call.request(wanted), call))

    return handle


class Server:
    """Answers the calls that come on one connection. The tasks are children of the `async with` block's group."""

    def __init__(self, methods: Methods, group: asyncio.TaskGroup) -> None:
        self._methods, self._group = methods, group

    def accept(self, stream: Stream) -> None:
        """A new call, in a task that ends when the peer gives it up."""
        call = ServerCall(stream, stream.headers or [])
        answering = self._answer(call)
        try:
            task = self._group.create_task(answering, name=f"gRPC {call.method}")
        except RuntimeError:
            # The group is ending, and the connection with it: what comes between the two is too late.
            answering.close()
            stream.reset(Error.REFUSED_STREAM)
            return
        stream.on_lost = task.cancel

    async def _answer(self, call: ServerCall) -> None:
        handler = self._methods.get(call.method)
        error: BaseException | None = None
        try:
            if handler is None:
                raise RpcError(Code.UNIMPLEMENTED, f"unknown method {call.method}")
            async with asyncio.timeout(_seconds(call.first("grpc-timeout"))):
                await handler(call)
        except asyncio.CancelledError as cancelled:
            call.finish(cancelled)
            raise
        except (OnggiError, TimeoutError) as expected:
            error = expected
        except StreamEnded as ended:
            # This call's own peer, which hears no more; or the session that the call needed.
            error = RpcError(Code.UNAVAILABLE, f"a connection of the client has ended: {ended}")
        except Exception as unexpected:
            log.exception("unexpected error", extra={"method": call.method})
            error = unexpected
        call.finish(error)


# The client's side


class Channel:
    """Calls methods of the peer of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def call(self, method: str, metadata: Headers | None = None) -> AsyncIterator[Call]:
        """A call whose messages go both ways. The block's end gives it up, if it hasn't ended."""
        stream = self._connection.open(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", method),
                (":authority", "localhost"),
                ("te", "trailers"),
                ("content-type", _CONTENT_TYPE),
                ("user-agent", "onggi"),
                *(metadata or ()),
            ]
        )
        try:
            yield Call(method, stream)
        finally:
            stream.reset()

    async def unary(self, method: str, request: Message, wanted: type[M], *, timeout_s: float | None = None) -> M:
        """Raises RpcError with what the peer said, StreamEnded, TimeoutError. Cancelled: the peer is told."""
        async with asyncio.timeout(timeout_s), self.call(method) as call:
            await call.send(request)
            call.end()
            answer = await call.receive(wanted)
            if answer is None:
                await call.check()
                raise RpcError(Code.INTERNAL, f"{method}: the answer has no message")
            return answer


class Call:
    """One call of a peer's method."""

    def __init__(self, method: str, stream: Stream) -> None:
        self.method, self.stream = method, stream

    async def send(self, message: Message) -> None:
        await self.stream.send(message.SerializeToString())

    def end(self) -> None:
        """No more messages from here."""
        self.stream.end()

    async def receive(self, wanted: type[M]) -> M | None:
        """The next message; None when the peer has ended well. Raises RpcError, StreamEnded."""
        data = await self.stream.message()
        if data is None:
            await self.check()
            return None
        return decoded(data, wanted)

    async def check(self) -> None:
        """Raises RpcError when the call, which is at its end, didn't end well."""
        headers = dict(await self.stream.wait_for_headers())
        if (status := headers.get(":status")) != "200":
            raise RpcError(Code.UNAVAILABLE, f"{self.method}: HTTP status {status}")
        trailers = dict(self.stream.trailers or headers)
        code = trailers.get("grpc-status", "")
        if code == "0":
            return
        details = trailers.get(_DETAILS)
        if details:
            raise error_of(decoded(base64.b64decode(details + "=" * (-len(details) % 4)), status_pb2.Status))
        message = unquote_to_bytes(trailers.get("grpc-message", "")).decode("utf-8", "replace")
        number = int(code) if code.isdigit() else Code.UNKNOWN
        raise error_of(status_pb2.Status(code=number, message=message or f"{self.method} ended without a status"))


def _percent(message: str) -> str:
    """grpc-message: what isn't printable ASCII, and `%`, as %XX of UTF-8."""
    return "".join(
        chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}"
        for byte in message.encode("utf-8", "replace")
    )


def _seconds(timeout: str) -> float | None:
    """A grpc-timeout header: at most eight digits and a unit."""
    number, unit = timeout[:-1], timeout[-1:]
    if not (number.isascii() and number.isdigit() and len(number) <= 8 and unit in _UNITS_S):
        return None
    return int(number) * _UNITS_S[unit]
