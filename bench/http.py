"""One keep-alive HTTP/1.1 connection to an engine's unix socket: as little of our own time as possible in a figure."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from typing import Any


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=300)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(300)
        self.sock.connect(self._path)


class Failed(Exception):
    """The engine answered with an error."""


class Client:
    """Calls of the Engine API at a version that every engine here speaks."""

    def __init__(self, path: str, version: str = "v1.41") -> None:
        self.path, self.version = path, version
        self._connection = _UnixConnection(path)

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> bytes:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        self._connection.request(method, f"/{self.version}{path}", data, sent | (headers or {}))
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= 400:
            raise Failed(f"{method} {path}: {response.status} {answer[:500]!r}")
        return answer

    def json(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.call(method, path, body)
        return json.loads(answer) if answer else None

    def exec_hijacked(self, exec_id: str) -> bytes:
        """POST /exec/ID/start as docker does it: the connection is taken over and read to its end."""
        body = b'{"Detach":false,"Tty":false}'
        head = (
            f"POST /{self.version}/exec/{exec_id}/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.settimeout(60)
            sock.connect(self.path)
            sock.sendall(head.encode() + body)
            chunks = []
            while chunk := sock.recv(65536):
                chunks.append(chunk)
        return b"".join(chunks)

    def requests_per_second(self, path: str, count: int) -> float:
        """GET `path` `count` times over this one connection, with the standard library's client as docker-py has it."""
        self.call("GET", path)
        started = time.perf_counter()
        for _ in range(count):
            self.call("GET", path)
        return count / (time.perf_counter() - started)
