"""A call of the Engine API as a value: what to send, and how to read what comes.

`Call[T]` answers once, `Stream[T]` answers with one T after the other, `Hijack` becomes a two-way stream of bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")
JsonValue = object
Body = bytes | Iterable[bytes] | None


class Request:
    """One HTTP request without its version prefix."""

    __slots__ = ("body", "headers", "method", "path", "query")

    def __init__(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: Body = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.method, self.path, self.body = method, path, body
        self.query = query or {}
        self.headers = headers or {}

    def target(self, prefix: str) -> str:
        """Path and query as they stand in the request line."""
        words = [f"{name}={quote(text)}" for name, value in self.query.items() for text in _query_texts(value)]
        return f"{prefix}{self.path}" + (f"?{'&'.join(words)}" if words else "")


class Call(Generic[T]):
    """A request with the function that reads the body of its answer."""

    __slots__ = ("decode", "request")

    def __init__(self, request: Request, decode: Callable[[bytes], T]) -> None:
        self.request, self.decode = request, decode


class Stream(Generic[T]):
    """A request whose answer comes in pieces; `split` makes items of them and keeps what is not whole yet."""

    __slots__ = ("request", "splitter")

    def __init__(self, request: Request, splitter: Callable[[], Callable[[bytes], Iterator[T]]]) -> None:
        self.request, self.splitter = request, splitter


class Hijack:
    """A request that takes the connection over (attach, exec)."""

    __slots__ = ("request",)

    def __init__(self, request: Request) -> None:
        self.request = request


_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def quote(text: str, safe: str = "") -> str:
    """Percent-encoding (RFC 3986, 2.1); urllib.parse would cost more to import than a call takes."""
    keep = _SAFE | set(safe.encode())
    return "".join(chr(byte) if byte in keep else f"%{byte:02X}" for byte in text.encode())


def _query_texts(value: object) -> list[str]:
    """Absent for None and False, one entry for each element of a list, JSON for a dict."""
    if value is None or value is False or value == {}:
        return []
    if value is True:
        return ["1"]
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value]
    return [json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else str(value)]


def nothing(_: bytes) -> None:
    """For answers without a body."""


def parsed(body: bytes) -> JsonValue:
    return json.loads(body)


def json_body(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def json_lines() -> Callable[[bytes], Iterator[dict[str, object]]]:
    """Splitter for streams of JSON objects, one a line."""
    rest = b""

    def split(data: bytes) -> Iterator[dict[str, object]]:
        nonlocal rest
        *lines, rest = (rest + data).split(b"\n")
        return (json.loads(line) for line in lines if line.strip())

    return split


def raw() -> Callable[[bytes], Iterator[bytes]]:
    """Splitter for plain bytes."""
    return lambda data: iter((data,))


def frames() -> Callable[[bytes], Iterator[tuple[int, bytes]]]:
    """Splitter for docker's multiplexed stream: 8 bytes of header (stream number, length), then the data."""
    buffer = bytearray()

    def split(data: bytes) -> Iterator[tuple[int, bytes]]:
        buffer.extend(data)
        at = 0
        while len(buffer) - at >= 8:
            end = at + 8 + int.from_bytes(buffer[at + 4 : at + 8], "big")
            if len(buffer) < end:
                break
            yield buffer[at], bytes(buffer[at + 8 : end])
            at = end
        del buffer[:at]

    return split
