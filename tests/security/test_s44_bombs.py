"""Archives that are small and become large: stopped early, with nothing left, in little memory. Needs root."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import zstandard

from onggi.errors import Corrupt
from onggi.store.content import Content
from onggi.store.layers import Layers
from onggi.store.workers import Workers

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers are unpacked"), pytest.mark.row("S-44")]

GIB = 1 << 30


def _header(size: int) -> bytes:
    info = tarfile.TarInfo("zeros")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def _zeros(pack, times: int) -> bytes:
    return pack(_header(10 * GIB)) + pack(bytes(16 << 20)) * times


@pytest.mark.row("I-176")
@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(lambda: _zeros(gzip.compress, 640), id="gzip"),
        pytest.param(lambda: _zeros(zstandard.ZstdCompressor().compress, 640), id="zstd"),
        pytest.param(lambda: gzip.compress(gzip.compress(_header(GIB) + bytes(64 << 20))), id="gzip in gzip is no tar"),
    ],
)
def test_ten_gibibytes_of_zeros_are_refused(tmp_path: Path, bomb) -> None:
    packed = bomb()
    assert len(packed) < 12 << 20

    async def main() -> None:
        workers = Workers()
        layers = Layers(tmp_path, Content(tmp_path), workers)
        begun = time.monotonic()
        with pytest.raises(Corrupt):
            await layers.apply(_once(packed))
        assert time.monotonic() - begun < 20
        assert os.listdir(tmp_path / "ingest") == []
        await workers.close()

    asyncio.run(main())


_JOB = """
import os, sys, msgspec
from onggi.errors import Corrupt
from onggi.store import jobs

try:
    jobs.unpack_layer(msgspec.msgpack.encode(jobs.UnpackLayer()), [os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_RDONLY)], lambda _: None)
except Corrupt:
    # Not ru_maxrss: that counts what the parent had before the exec.
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
os._exit(0)
"""


def test_a_bomb_is_read_in_little_memory(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(_zeros(gzip.compress, 640))
    (tmp_path / "target").mkdir()
    command = [sys.executable, "-c", _JOB, str(tmp_path / "bomb"), str(tmp_path / "target")]
    kibibytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert kibibytes < 64 << 10


def test_a_sparse_file_of_exbibytes_takes_no_disk(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("sparse")
        info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 61)}
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))

    async def main() -> None:
        workers = Workers()
        layers = Layers(tmp_path, Content(tmp_path), workers)
        with pytest.raises(Corrupt, match="File too large"):
            await layers.apply(_once(out.getvalue()))
        await workers.close()

    asyncio.run(main())


async def _once(data: bytes):
    yield data
