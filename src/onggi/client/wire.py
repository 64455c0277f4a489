"""HTTP/1.1 as a client needs it, without I/O: bytes in, events out.

Source: RFC 9112. Only what the Engine API uses: Content-Length, chunked, bodies that end with the connection, and 101.
"""

from __future__ import annotations

from onggi.client.errors import BrokenAnswer

MAX_HEAD = 1 << 16


def encode_head(method: str, target: str, headers: dict[str, str]) -> bytes:
    """Request line and headers. Raises ValueError for a line break in any of them (request splitting)."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a request's header")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunk(data: bytes) -> bytes:
    """One chunk of a request body with Transfer-Encoding: chunked; the empty one ends it (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class ResponseParser:
    """Feed it what the connection gives; it hands out pieces of the body.

    `status` is 0 until the head is whole. `done` is true when the body is. `rest` holds bytes after the answer: for a
    101 these already belong to the hijacked stream.
    """

    def __init__(self, method: str) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.done = False
        self.rest = b""
        self._method = method
        self._buffer = b""
        self._mode = "head"
        self._left = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Pieces of the body in `data`. Raises BrokenAnswer."""
        self._buffer += data
        pieces: list[bytes] = []
        if self._mode == "head" and not self._head():
            return pieces
        if self._mode == "chunked":
            self._chunks(pieces)
        elif self._mode == "length":
            piece, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
            self._left -= len(piece)
            pieces.append(piece)
            if not self._left:
                self._finish()
        elif self._mode == "close":
            pieces.append(self._buffer)
            self._buffer = b""
        return [piece for piece in pieces if piece]

    def end(self) -> None:
        """The connection is at its end. Raises BrokenAnswer when the answer was not whole."""
        if self._mode == "close":
            self.done = True
        elif not self.done:
            raise BrokenAnswer("the engine closed the connection before its answer was whole")

    def _finish(self) -> None:
        self.done, self.rest, self._buffer, self._mode = True, self._buffer, b"", "done"

    def _head(self) -> bool:
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            if len(self._buffer) > MAX_HEAD:
                raise BrokenAnswer("the answer's headers are too long")
            return False
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            raise BrokenAnswer(f"not an HTTP answer: {lines[0][:80]!r}")
        self._buffer, self.status = rest, int(words[1])
        self.headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        if 100 <= self.status < 200 and self.status != 101:  # 100 Continue: the real answer follows
            self.status = 0
            return self._head()
        self._choose_mode()
        return True

    def _choose_mode(self) -> None:
        """RFC 9112, 6.3: which rule gives the body's length."""
        if self.status == 101 or self._method == "HEAD" or self.status in (204, 304):
            self._finish()
        elif "chunked" in self.headers.get("transfer-encoding", "").lower():
            self._mode = "chunked"
        elif "content-length" in self.headers:
            self._left, self._mode = _length(self.headers["content-length"], 10), "length"
            if not self._left:
                self._finish()
        else:
            self._mode = "close"

    def _chunks(self, pieces: list[bytes]) -> None:
        while not self.done:
            if self._left > 2:  # inside a chunk: its data, then CR LF
                piece = self._buffer[: self._left - 2]
                if not piece:
                    return
                pieces.append(piece)
                self._buffer = self._buffer[len(piece) :]
                self._left -= len(piece)
            elif self._left:
                if len(self._buffer) < self._left:
                    return
                self._buffer, self._left = self._buffer[self._left :], 0
            else:
                size, separator, rest = self._buffer.partition(b"\r\n")
                if not separator:
                    return
                length = _length(size.partition(b";")[0].decode("latin-1"), 16)
                if length == 0:
                    if not rest.startswith(b"\r\n"):
                        if rest in (b"", b"\r"):
                            return
                        raise BrokenAnswer("trailers after the last chunk")
                    self._buffer = rest[2:]
                    self._finish()
                    return
                self._buffer, self._left = rest, length + 2


def _length(text: str, base: int) -> int:
    try:
        length = int(text, base)
    except ValueError:
        raise BrokenAnswer(f"bad length {text[:20]!r}") from None
    if length < 0:
        raise BrokenAnswer(f"bad length {text[:20]!r}")
    return length
