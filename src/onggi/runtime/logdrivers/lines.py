"""Output of a container as messages: a line each, long ones in parts that say so. Pure.

As docker's copier cuts it (moby, daemon/logger/copier.go): 16 KiB at most, without the line feed; parts of one line share
an id and count from 1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

STDOUT: Final = 1
STDERR: Final = 2
PIECE_BYTES: Final = 16 * 1024


class Message:
    """One line, or a part of one (`part_id` is not empty then)."""

    __slots__ = ("last", "ordinal", "part_id", "stream", "text", "time_ns")

    def __init__(
        self, stream: int, text: bytes, time_ns: int, part_id: str = "", ordinal: int = 0, *, last: bool = False
    ) -> None:
        self.stream, self.text, self.time_ns = stream, text, time_ns
        self.part_id, self.ordinal, self.last = part_id, ordinal, last

    @property
    def is_error(self) -> bool:
        return self.stream == STDERR

    @property
    def source(self) -> str:
        return "stderr" if self.is_error else "stdout"


class Lines:
    """Messages of one stream."""

    def __init__(self, stream: int) -> None:
        self._stream = stream
        self._waiting = b""
        self._part_id = ""
        self._ordinal = 0

    def feed(self, chunk: bytes, time_ns: int) -> Iterator[Message]:
        """Whole lines, and full parts of one that has no end yet."""
        data = self._waiting + chunk
        begin = 0
        while True:
            end = data.find(b"\n", begin, begin + PIECE_BYTES + 1)
            if end >= 0:
                yield self._message(data[begin:end], time_ns, whole=True)
                begin = end + 1
            elif len(data) - begin > PIECE_BYTES:
                yield self._message(data[begin : begin + PIECE_BYTES], time_ns, whole=False)
                begin += PIECE_BYTES
            else:
                break
        self._waiting = data[begin:]

    def end(self, time_ns: int) -> Iterator[Message]:
        """What waits for its line's end: there will be none."""
        rest, self._waiting = self._waiting, b""
        if rest:
            yield self._message(rest, time_ns, whole=True)

    def _message(self, text: bytes, time_ns: int, *, whole: bool) -> Message:
        if whole and not self._part_id:
            return Message(self._stream, text, time_ns)
        if not self._part_id:
            self._part_id, self._ordinal = os.urandom(32).hex(), 0
        self._ordinal += 1
        message = Message(self._stream, text, time_ns, self._part_id, self._ordinal, last=whole)
        if whole:
            self._part_id = ""
        return message
