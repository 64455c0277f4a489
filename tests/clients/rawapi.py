"""The API as bytes on a socket, for what no client library shows: taken-over connections, frames, half-closes."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

Step = bytes | float | Callable[[socket.socket], object]


class RawApi:
    """Calls of one engine."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def call(self, method: str, path: str, body: Any = None, version: str = "1.51") -> tuple[int, str]:
        connection = http.client.HTTPConnection("d", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        connection.sock.connect(self.path)
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        try:
            connection.request(method, f"/v{version}{path}", data, {"Content-Type": "application/json"} if data else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def json(self, method: str, path: str, body: Any = None) -> Any:
        status, text = self.call(method, path, body)
        assert status < 300, text
        return json.loads(text) if text else None

    def make(self, name: str, *command: str, host: dict[str, Any] | None = None, **config: Any) -> str:
        """A container without a network, in place of one of that name; its id."""
        self.call("DELETE", f"/containers/{name}?force=1&v=1")
        body = {
            "Image": "busybox",
            "Cmd": list(command),
            "HostConfig": {"NetworkMode": "none", **(host or {})},
            **config,
        }
        identifier = self.json("POST", f"/containers/create?name={name}", body)["Id"]
        assert isinstance(identifier, str)
        return identifier

    def start(self, name: str) -> None:
        assert self.call("POST", f"/containers/{name}/start")[0] == 204

    def run(self, name: str, *command: str, **words: Any) -> str:
        identifier = self.make(name, *command, **words)
        self.start(name)
        return identifier

    def hijack(
        self,
        path: str,
        *script: Step,
        body: bytes = b"",
        upgrade: bool = True,
        version: str = "1.51",
        ends: bool = True,
    ) -> tuple[str, str, bytes]:
        """POST `path` and play `script`: bytes are sent, numbers are seconds to read, functions get the socket.

        Status line, content type, and what came after the head; `ends`: until the engine closes, in 10 s at most.
        """
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.connect(self.path)
            head = f"POST /v{version}{path} HTTP/1.1\r\nHost: d\r\n"
            head += "Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else ""
            head += "Content-Type: application/json\r\n" if body else ""
            sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            pieces: list[bytes] = []
            over = False
            for step in (*script, 10.0 if ends else 0.2):
                if isinstance(step, bytes):
                    sock.sendall(step)
                elif callable(step):
                    step(sock)
                elif not over:
                    over = _read(sock, step, pieces)
            assert over or not ends, b"".join(pieces)
        answer, _, rest = b"".join(pieces).partition(b"\r\n\r\n")
        kind = re.search(rb"(?im)^content-type: ([^\r\n]+)", answer)
        return answer.partition(b"\r\n")[0].decode(), kind[1].decode() if kind else "", rest

    def exec(self, name: str, *command: str, **words: Any) -> str:
        body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, **words}
        identifier = self.json("POST", f"/containers/{name}/exec", body)["Id"]
        assert isinstance(identifier, str)
        return identifier


def _read(sock: socket.socket, seconds: float, pieces: list[bytes]) -> bool:
    """What comes in that time; True at the end."""
    sock.settimeout(seconds)
    try:
        while piece := sock.recv(65536):
            pieces.append(piece)
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True
    return True


def half_close(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


def frame(stream: int, text: bytes) -> bytes:
    return bytes((stream, 0, 0, 0)) + len(text).to_bytes(4, "big") + text
