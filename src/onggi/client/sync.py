"""The blocking face: one connection kept alive, calls carried out one after the other."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from typing import Self, TypeVar

from onggi.client import wire
from onggi.client.call import Call, Hijack, Request, Stream
from onggi.client.endpoint import Endpoint
from onggi.client.errors import ApiError, BrokenAnswer

T = TypeVar("T")
API_VERSION = "1.51"
_CHUNK = 1 << 18
_OLDER = re.compile(rb"client version [\d.]+ is too new. Maximum supported API version is ([\d.]+)")
"""How an engine that is older than this client says so (moby, httputils: version middleware)."""


class Connection:
    """A hijacked connection: bytes both ways until both sides have closed."""

    def __init__(self, sock: socket.socket, early: bytes, content_type: str) -> None:
        self.socket, self._early = sock, early
        self.multiplexed = content_type == "application/vnd.docker.multiplexed-stream"

    def has_early(self) -> bool:
        """Whether bytes came with the head: `receive` gives them without waiting."""
        return bool(self._early)

    def receive(self) -> bytes:
        """What comes next; empty at the end."""
        if self._early:
            early, self._early = self._early, b""
            return early
        try:
            return self.socket.recv(_CHUNK)
        except OSError as error:
            # After our own close_notify Python tells of the other side's with an exception of ssl's, not with no bytes.
            if type(error).__name__ == "SSLZeroReturnError":
                return b""
            raise

    def send(self, data: bytes) -> None:
        """All of it. Who also reads what comes uses `send_some`: both sides may wait for each other otherwise."""
        self.socket.sendall(data)

    def send_some(self, data: bytes) -> int:
        """How many bytes of `data` were taken, without waiting: 0 when none can be now. Then call it with the same again."""
        self.socket.settimeout(0)
        try:
            return self.socket.send(data)
        except OSError as error:
            if isinstance(error, BlockingIOError) or type(error).__name__ in ("SSLWantWriteError", "SSLWantReadError"):
                return 0
            raise
        finally:
            self.socket.settimeout(None)

    def close_write(self) -> None:
        """End of stdin; output goes on."""
        with contextlib.suppress(OSError):
            if hasattr(self.socket, "unwrap"):
                # TLS: its close_notify says the same. Waiting for the other side's would throw its output away.
                self.socket.settimeout(0)
                try:
                    self.socket.unwrap()
                finally:
                    self.socket.settimeout(None)
            else:
                self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Client:
    """Carries out calls on the engine at `host`, by default the one that DOCKER_HOST names.

    Not for use by several threads at once: give each its own. Raises ApiError for the engine's errors,
    ConnectionRefused when nobody answers. Speaks `version` and nothing else; without it the newest one it knows, or an
    older engine's newest: such an engine refuses the first call and says which one that is.
    """

    def __init__(
        self,
        host: str | Endpoint | None = None,
        *,
        timeout: float | None = None,
        version: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.endpoint = host if isinstance(host, Endpoint) else Endpoint.from_environment(host)
        self.version, self._negotiates = version or API_VERSION, not version
        self._headers = headers or {}
        self._timeout = timeout
        self._kept: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._kept:
            self._kept.close()
            self._kept = None

    def __call__(self, call: Call[T]) -> T:
        """The call's answer."""
        sock, parser, pieces = self._send(call.request)
        with self._closing_on_error(sock):
            body = pieces + list(self._pieces(sock, parser))
        self._keep(sock, parser)
        answer = b"".join(body)
        if parser.status >= 400:
            raise _error(parser, answer)
        return call.decode(answer)

    def head(self, request: Request, header: str) -> str:
        """One header of the answer to a HEAD request. Raises ApiError; a HEAD's error has no text, only its status."""
        sock, parser, _ = self._send(request)
        self._keep(sock, parser)
        if parser.status >= 400:
            raise ApiError(parser.status, f"{request.path}: status {parser.status}")
        return parser.headers.get(header, "")

    def stream(self, stream: Stream[T]) -> Iterator[T]:
        """The items of the answer as they come. The request is sent at once; the connection goes when the iterator does."""
        sock, parser, pieces = self._send(stream.request)
        if parser.status >= 400:
            with sock:
                raise _error(parser, b"".join(pieces + list(self._pieces(sock, parser))))
        return self._items(stream, sock, parser, pieces)

    def _items(
        self, stream: Stream[T], sock: socket.socket, parser: wire.ResponseParser, pieces: list[bytes]
    ) -> Iterator[T]:
        split = stream.splitter()
        with sock:
            for piece in pieces:
                yield from split(piece)
            for piece in self._pieces(sock, parser):
                yield from split(piece)

    def hijack(self, hijack: Hijack) -> Connection:
        """The taken-over connection."""
        hijack.request.headers |= {"Connection": "Upgrade", "Upgrade": "tcp"}
        sock, parser, pieces = self._send(hijack.request)
        if parser.status >= 400:
            with sock:
                raise _error(parser, b"".join(pieces + list(self._pieces(sock, parser))))
        sock.settimeout(None)
        return Connection(sock, parser.rest or b"".join(pieces), parser.headers.get("content-type", ""))

    def _send(self, request: Request) -> tuple[socket.socket, wire.ResponseParser, list[bytes]]:
        """Sends `request` and reads until the answer's head is there."""
        sock, parser, pieces = self._send_once(request)
        if (
            parser.status != 400
            or not self._negotiates
            or not (request.body is None or isinstance(request.body, bytes))
        ):
            return sock, parser, pieces
        pieces += self._pieces(sock, parser)
        older = _OLDER.search(b"".join(pieces))
        if older is None:
            return sock, parser, pieces
        self._keep(sock, parser)
        self.version, self._negotiates = older[1].decode(), False
        return self._send_once(request)

    def _send_once(self, request: Request) -> tuple[socket.socket, wire.ResponseParser, list[bytes]]:
        sock, self._kept, reused = self._kept or self.endpoint.connect(self._timeout), None, self._kept is not None
        try:
            return self._exchange(sock, request)
        except (BrokenPipeError, ConnectionResetError, BrokenAnswer):
            sock.close()
            # The engine may close an idle connection at any moment; nothing was answered, so a call that can be sent again is.
            if not reused or not (request.body is None or isinstance(request.body, bytes)):
                raise
        return self._exchange(self.endpoint.connect(self._timeout), request)

    def _exchange(
        self, sock: socket.socket, request: Request
    ) -> tuple[socket.socket, wire.ResponseParser, list[bytes]]:
        with self._closing_on_error(sock):
            headers = {"Host": "onggi", "User-Agent": "onggi"} | self._headers | request.headers
            body = request.body
            if isinstance(body, bytes):
                headers.setdefault("Content-Type", "application/json")
                headers["Content-Length"] = str(len(body))
            elif body is not None:
                headers["Transfer-Encoding"] = "chunked"
            elif request.method in ("POST", "PUT"):
                headers["Content-Length"] = "0"
            head = wire.encode_head(request.method, request.target(f"/v{self.version}"), headers)
            if isinstance(body, bytes):
                sock.sendall(head + body)
            else:
                sock.sendall(head)
                if body is not None:
                    self._send_chunks(sock, body)
            parser = wire.ResponseParser(request.method)
            pieces: list[bytes] = []
            while not parser.status:
                data = sock.recv(_CHUNK)
                if not data:
                    raise BrokenAnswer("the engine closed the connection without an answer")
                pieces = parser.feed(data)
            return sock, parser, pieces

    @staticmethod
    def _send_chunks(sock: socket.socket, body: object) -> None:
        # An engine that refuses early answers and closes: its answer is worth more than our broken pipe.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in body:  # type: ignore[attr-defined]
                if piece:
                    sock.sendall(wire.chunk(piece))
            sock.sendall(wire.chunk(b""))

    @staticmethod
    def _pieces(sock: socket.socket, parser: wire.ResponseParser) -> Iterator[bytes]:
        while not parser.done:
            data = sock.recv(_CHUNK)
            if not data:
                parser.end()
                return
            yield from parser.feed(data)

    def _keep(self, sock: socket.socket, parser: wire.ResponseParser) -> None:
        if parser.headers.get("connection", "").lower() == "close" or parser.status == 101:
            sock.close()
        else:
            self._kept = sock

    @staticmethod
    @contextlib.contextmanager
    def _closing_on_error(sock: socket.socket) -> Iterator[None]:
        try:
            yield
        except BaseException:
            sock.close()
            raise


def _error(parser: wire.ResponseParser, body: bytes) -> ApiError:
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace").strip() or f"status {parser.status}"
    return ApiError(parser.status, str(message))
