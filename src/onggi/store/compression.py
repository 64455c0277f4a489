"""Reading what is compressed, whatever with, in bounded pieces; writing gzip and zstd.

The format is told by the first bytes, as docker does: media types lie, and `docker load`, `import`, `cp` and `ADD` have none.
Everything is decoded in this process: a program found by its name could be the image's own (CVE-2026-41567). Each read
yields at most what was asked for, so a bomb costs time that its reader counts, never memory.
"""

from __future__ import annotations

import bz2
import enum
import lzma
from collections.abc import Callable
from typing import IO, Final, Protocol, cast

import zstandard
from isal import igzip, isal_zlib

from onggi.errors import Corrupt

PIECE_BYTES: Final = 1024 * 1024
_INPUT_BYTES: Final = 256 * 1024

ZSTD_WINDOW_LIMIT: Final = 128 * 1024 * 1024
"""What `zstd -d` takes without a flag."""
_XZ_MEMORY_LIMIT: Final = 256 * 1024 * 1024
"""xz -9 needs 65 MiB to decode, --lzma2=dict=128MiB twice that."""

_SKIPPABLE_ZSTD: Final = tuple(bytes([0x50 + n]) + b"\x2a\x4d\x18" for n in range(16))


class Compression(enum.Enum):
    NONE = ""
    GZIP = "gzip"
    ZSTD = "zstd"
    BZIP2 = "bzip2"
    XZ = "xz"


class Source(Protocol):
    """Where bytes come from: a file, a pipe, a test's BytesIO."""

    def read(self, size: int, /) -> bytes: ...


class Reader(Protocol):
    """Decoded bytes: at most `size`, b"" at the end. Raises Corrupt on what can't be decoded or ends too soon."""

    def read(self, size: int, /) -> bytes: ...


def detect(head: bytes) -> Compression:
    """By the first bytes (six are enough)."""
    if head.startswith(b"\x1f\x8b"):
        return Compression.GZIP
    if head.startswith((b"\x28\xb5\x2f\xfd", *_SKIPPABLE_ZSTD)):
        return Compression.ZSTD
    if head.startswith(b"BZh"):
        return Compression.BZIP2
    if head.startswith(b"\xfd7zXZ\x00"):
        return Compression.XZ
    return Compression.NONE


class _Peeked:
    """A source with its first bytes put back."""

    def __init__(self, head: bytes, source: Source) -> None:
        self._head = head
        self._source = source

    def read(self, size: int = -1, /) -> bytes:
        if self._head:
            piece, self._head = (self._head, b"") if size < 0 else (self._head[:size], self._head[size:])
            return piece
        return self._source.read(size if size >= 0 else _INPUT_BYTES)

    def readinto(self, buffer: memoryview, /) -> int:
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


class _Decoder(Protocol):
    """What bz2's and lzma's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Streams:
    """One stream after the other until the source ends; zeros after one (xz's padding) are passed over."""

    def __init__(self, source: Source, make: Callable[[], _Decoder]) -> None:
        self._source = source
        self._make = make
        self._decoder = make()

    def read(self, size: int, /) -> bytes:
        while True:
            decoder = self._decoder
            if decoder.eof:
                rest = decoder.unused_data.lstrip(b"\x00")
                while not rest:
                    piece = self._source.read(_INPUT_BYTES)
                    if not piece:
                        return b""
                    rest = piece.lstrip(b"\x00")
                decoder = self._decoder = self._make()
                data = decoder.decompress(rest, size)
            elif decoder.needs_input:
                piece = self._source.read(_INPUT_BYTES)
                if not piece:
                    raise EOFError("compressed data ends too soon")
                data = decoder.decompress(piece, size)
            else:
                data = decoder.decompress(b"", size)
            if data:
                return data


_BROKEN: Final[tuple[type[Exception], ...]] = (
    EOFError,
    zstandard.ZstdError,
    lzma.LZMAError,
    cast("type[Exception]", isal_zlib.IsalError),
    ValueError,
    MemoryError,
)


class _Guarded:
    """Every decoder's way of saying "broken" becomes Corrupt."""

    def __init__(self, reader: Reader, name: str) -> None:
        self._reader = reader
        self._name = name

    def read(self, size: int, /) -> bytes:
        try:
            return self._reader.read(size)
        except _BROKEN as error:
            raise Corrupt(f"{self._name}: {error}") from error
        except OSError as error:
            # bz2 and gzip raise a bare OSError for bad data; one with an errno is the source's own.
            if error.errno is not None:
                raise
            raise Corrupt(f"{self._name}: {error}") from error


def open_reader(source: Source) -> tuple[Compression, Reader]:
    """`source` decoded, to the last of its members or frames, and what it was encoded with."""
    head = b""
    while len(head) < 6 and (piece := source.read(6 - len(head))):
        head += piece
    peeked = _Peeked(head, source)
    compression = detect(head)
    reader: Reader
    match compression:
        case Compression.NONE:
            return compression, peeked
        case Compression.GZIP:
            reader = cast("Reader", igzip.IGzipFile(fileobj=peeked, mode="rb"))  # type: ignore[no-untyped-call]
        case Compression.ZSTD:
            # A frame that is cut off ends the stream without a word: digests and tar's own end tell.
            decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_LIMIT)
            reader = decoder.stream_reader(cast("IO[bytes]", peeked), read_size=_INPUT_BYTES, read_across_frames=True)
        case Compression.BZIP2:
            reader = _Streams(peeked, bz2.BZ2Decompressor)
        case Compression.XZ:
            reader = _Streams(peeked, lambda: cast("_Decoder", lzma.LZMADecompressor(memlimit=_XZ_MEMORY_LIMIT)))
    return compression, _Guarded(reader, compression.value)
