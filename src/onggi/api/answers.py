"""Whole answers: status, headers and body in one write.

Written by hand onto the transport: aiohttp's header machinery costs more than everything else a `/_ping` does.
Every head carries what negotiation reads (`Api-Version`, `Ostype`, `Server`), errors too.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp.web_response import StreamResponse

from onggi.api.versions import ENGINE_VERSION, NEWEST, text_of

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.web_request import BaseRequest

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
TAR: Final = "application/x-tar"
SERVER: Final = f"Docker/{ENGINE_VERSION} (linux)"

_COMMON: Final = (
    f"Api-Version: {text_of(NEWEST)}\r\nDocker-Experimental: false\r\nOstype: linux\r\nServer: {SERVER}\r\n"
).encode()
_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() + _COMMON for status in HTTPStatus
}
_NO_BODY: Final = frozenset({204, 304})

encode_json: Final = msgspec.json.Encoder().encode


class _Clock:
    """The Date header, made once a second."""

    second = 0
    line = b""

    @classmethod
    def date(cls) -> bytes:
        now = int(time.time())
        if now != cls.second:
            cls.second, cls.line = now, f"Date: {formatdate(now, usegmt=True)}\r\n".encode()
        return cls.line


def head(status: int, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """Status line and headers, up to where Content-Length or Transfer-Encoding follow.

    Raises ValueError for a line break in a header: nothing that a client named may split an answer.
    """
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers)
    if extra.count("\n") != len(headers) or extra.count("\r") != len(headers):
        raise ValueError("a line break in an answer's header")
    return _LINES[status] + _Clock.date() + extra.encode("latin-1", "replace")


class Answer(StreamResponse):
    """One whole answer. aiohttp calls `prepare` and `write_eof`; nothing else of StreamResponse is used."""

    def __init__(
        self, status: int, body: bytes = b"", content_type: str = JSON, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        # Not StreamResponse.__init__: it builds dictionaries that nobody reads.
        self._status = status
        self._reason = ""
        self.whole_body = body
        self.type = content_type
        self.extra = headers

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Write all of it. Cancelled while the client reads slowly: what is left is dropped with the connection."""
        keep_alive = self._keep_alive = request.keep_alive
        body = self.whole_body
        parts = [head(self._status, self.extra)]
        if self._status not in _NO_BODY:
            if body or self.type != JSON:
                parts.append(b"Content-Type: %b\r\n" % self.type.encode())
            parts.append(b"Content-Length: %d\r\n" % len(body))
        if not keep_alive:
            parts.append(b"Connection: close\r\n")
        elif request.version < (1, 1):
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        if request.method != "HEAD" and self._status not in _NO_BODY:
            parts.append(body)
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        transport.write(b"".join(parts))
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """All is written by then; aiohttp never passes data here."""


def json_answer(value: object, status: int = 200) -> Answer:
    return Answer(status, encode_json(value) + b"\n")


def empty(status: int = 204) -> Answer:
    return Answer(status)


def problem(status: int, message: str) -> Answer:
    """`{"message": …}`, in one line of text (clients print it as it is)."""
    if status == HTTPStatus.NOT_MODIFIED:
        return Answer(status)
    return Answer(status, encode_json({"message": message}) + b"\n")
