"""Frames of HTTP/2 (RFC 9113) as they are on the wire, and the limits that are kept here."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MESSAGE_LIMIT: Final = 16 * 1024 * 1024
"""BuildKit's own limit for one message (containerd's DefaultMaxRecvMsgSize)."""

STREAM_WINDOW: Final = 1 << 20
CONNECTION_WINDOW: Final = 1 << 24
FRAME_LIMIT: Final = 1 << 18
HEADERS_LIMIT: Final = 1 << 18
STREAMS_LIMIT: Final = 128
DEFAULT_WINDOW: Final = 65535
RESETS_LIMIT: Final = 1000
"""Streams that a peer may open and reset: more is an attack (CVE-2023-44487)."""

Headers = list[tuple[str, str]]


class Frame(IntEnum):
    """RFC 9113, section 6."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Error(IntEnum):
    """RFC 9113, section 7: those that are sent here."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


END_STREAM: Final = 1
ACK: Final = 1
END_HEADERS: Final = 4
PADDED: Final = 8
WITH_PRIORITY: Final = 32
HEADER_TABLE_SIZE, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME = 1, 3, 4, 5
_header = struct.Struct(">HBBBL").pack
setting = struct.Struct(">HL")


class Broken(Exception):
    """The peer broke the protocol: the connection ends with this error."""

    def __init__(self, error: Error, message: str) -> None:
        super().__init__(message)
        self.error = error


class StreamEnded(ConnectionError):
    """The stream is over before its time: reset by the peer, or its connection has gone."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    size = len(payload)
    return _header(size >> 8, size & 0xFF, kind, flags, stream) + payload


def data_frames(stream: int, payload: memoryview, most: int) -> bytes:
    """As many DATA frames of at most `most` bytes as it takes, in one piece: each write costs as much as 10 KB of data."""
    parts: list[bytes | memoryview] = []
    for at in range(0, len(payload), most):
        piece = payload[at : at + most]
        parts += (_header(len(piece) >> 8, len(piece) & 0xFF, Frame.DATA, 0, stream), piece)
    return b"".join(parts)
