"""Compressed streams: every format to its end, bounded, and never a silent loss."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tracemalloc

import pytest
import zstandard

from onggi.errors import Corrupt
from onggi.store.compression import Compression, open_reader

DATA = b"".join(b"line %d\n" % n for n in range(100_000))


def _all(packed: bytes) -> tuple[Compression, bytes]:
    compression, reader = open_reader(io.BytesIO(packed))
    pieces = []
    while piece := reader.read(100_000):
        assert len(piece) <= 100_000
        pieces.append(piece)
    return compression, b"".join(pieces)


PACKERS = {
    Compression.NONE: bytes,
    Compression.GZIP: gzip.compress,
    Compression.ZSTD: zstandard.ZstdCompressor().compress,
    Compression.BZIP2: bz2.compress,
    Compression.XZ: lzma.compress,
}


@pytest.mark.parametrize("compression", PACKERS)
@pytest.mark.row("I-015")
def test_each_format_is_told_by_its_first_bytes_and_read_whole(compression: Compression) -> None:
    assert _all(PACKERS[compression](DATA)) == (compression, DATA)


@pytest.mark.parametrize("compression", [c for c in PACKERS if c is not Compression.NONE])
@pytest.mark.row("I-016")
def test_a_second_member_belongs_to_the_stream(compression: Compression) -> None:
    pack = PACKERS[compression]
    assert _all(pack(DATA) + pack(b"tail"))[1] == DATA + b"tail"


@pytest.mark.row("I-016")
def test_a_skippable_zstd_frame_is_passed_over() -> None:
    pack = PACKERS[Compression.ZSTD]
    skip = b"\x51\x2a\x4d\x18\x04\x00\x00\x00abcd"
    assert _all(skip + pack(DATA) + skip + pack(b"tail"))[1] == DATA + b"tail"


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.BZIP2, Compression.XZ])
def test_a_cut_stream_is_corrupt(compression: Compression) -> None:
    packed = PACKERS[compression](DATA)
    for length in (8, len(packed) // 2, len(packed) - 1):
        with pytest.raises(Corrupt):
            _all(packed[:length])


@pytest.mark.parametrize("compression", [c for c in PACKERS if c is not Compression.NONE])
def test_garbage_is_corrupt(compression: Compression) -> None:
    packed = bytearray(PACKERS[compression](DATA))
    packed[12:64] = bytes(range(52))
    with pytest.raises(Corrupt):
        _all(bytes(packed))


@pytest.mark.parametrize("compression", [c for c in PACKERS if c is not Compression.NONE])
@pytest.mark.row("S-44")
def test_a_bomb_yields_no_more_than_was_asked_for(compression: Compression) -> None:
    zstd = zstandard.ZstdCompressor().compressobj()  # a stream: in one piece it has a window as large as the content
    zeros = bytes(50_000_000)
    packed = zstd.compress(zeros) + zstd.flush() if compression is Compression.ZSTD else PACKERS[compression](zeros)
    tracemalloc.start()
    _, reader = open_reader(io.BytesIO(packed))
    assert 0 < len(reader.read(65536)) <= 65536
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12_000_000


def test_an_empty_stream_is_nothing() -> None:
    assert _all(b"") == (Compression.NONE, b"")
