"""The store when it is killed, when the disk is full, when the disk lies. Needs root for tmpfs and layers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from onggi.errors import NoSpace
from onggi.kernel import mounts
from onggi.oci.digest import Digest, sha256_of
from onggi.store.content import Content
from onggi.store.database import Database, Delete, Put, Table
from onggi.store.layers import Layers
from onggi.store.snapshots import Snapshots
from onggi.store.workers import Workers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: tmpfs, files of any owner")


class Note(msgspec.Struct):
    text: str


NOTES = Table("notes", Note)

_WRITER = """
import asyncio, sys, msgspec
from onggi.store.database import Database, Put, Table

class Note(msgspec.Struct):
    text: str

NOTES = Table("notes", Note)

async def main():
    database = Database.open(sys.argv[1])
    database.load(NOTES)
    for number in range(int(sys.argv[2])):
        await database.commit(Put(NOTES, f"a{number}", Note("x" * 500)), Put(NOTES, f"b{number}", Note("y")))
        print(number, flush=True)

asyncio.run(main())
"""

_APPLIER = """
import asyncio, os, sys
from onggi.store.content import Content
from onggi.store.layers import Layers
from onggi.store.workers import Workers
from onggi.oci.digest import sha256_of

async def main():
    root, source = sys.argv[1:]
    data = open(source, "rb").read()
    content = Content(root)
    digest = content.put(data)
    print("blob", flush=True)
    workers = Workers()
    await Layers(root, content, workers).apply(digest, diff_id=sha256_of(data))
    print("layer", flush=True)

asyncio.run(main())
os._exit(0)
"""


def _python(program: str, *arguments: str, fault: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"ONGGI_FAULT": fault}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(200):
            info = tarfile.TarInfo(f"d{number % 10}/f{number}")
            info.size = 5000
            archive.addfile(info, io.BytesIO(b"z" * 5000))
    return out.getvalue()


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    place.mkdir()
    mounts.mount("tmpfs", str(place), "tmpfs", mounts.MountFlag.NONE, f"size={size}")
    try:
        yield place
    finally:
        mounts.umount2(str(place))


def fill(path: Path) -> None:
    """Writes until the disk is full to the last block."""
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


@pytest.mark.row("R-01")
@pytest.mark.row("K-20")
@pytest.mark.parametrize(
    "point", ["store.commit.before=kill@20", "store.commit.after=kill@20", "store.commit.before=kill@1"]
)
def test_a_killed_engine_keeps_every_commit_that_was_answered(tmp_path: Path, point: str) -> None:
    path = tmp_path / "state.db"
    killed = _python(_WRITER, str(path), "100", fault=point)
    assert killed.returncode == -9
    answered = len(killed.stdout.split())
    database = Database.open(path)
    rows = database.load(NOTES)
    asyncio.run(database.close())
    first = sum(name.startswith("a") for name in rows)
    assert answered <= first <= answered + 1
    assert len(rows) == 2 * first, "a commit is whole or not there"


POINTS = [
    "store.blob.write",
    "store.blob.written",
    "store.blob.renamed",
    "store.layer.unpacked",
    "store.layer.synced",
    "store.layer.renamed",
    *(f"store.sync=kill@{n}" for n in range(1, 6)),
]


@pytest.mark.row("I-058")
@pytest.mark.row("R-11")
@pytest.mark.row("K-20")
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_leaves_whole_layers_or_none(tmp_path: Path, point: str) -> None:
    root, source = tmp_path / "root", tmp_path / "layer.tar"
    root.mkdir()
    source.write_bytes(_tar())
    diff_id = sha256_of(source.read_bytes())
    killed = _python(_APPLIER, str(root), str(source), fault=point if "=" in point else f"{point}=kill")
    # Some points are in the worker process, whose death is an error of the job.
    assert "layer" not in killed.stdout

    async def look() -> None:
        workers = Workers()
        content = Content(root)
        layers = Layers(root, content, workers)
        for digest in content.walk():
            assert content.verify(digest)
        content.clean()
        await layers.clean()
        assert os.listdir(root / "ingest") == []
        for found in layers.walk():
            assert found == diff_id
            assert sum(len(files) for _, _, files in os.walk(layers.path(found))) == 200
        await workers.close()

    asyncio.run(look())
    again = _python(_APPLIER, str(root), str(source))
    assert again.stdout.split() == ["blob", "layer"], again.stderr


@pytest.mark.row("R-14")
@pytest.mark.row("K-30")
def test_a_full_disk_refuses_writes_takes_removals_and_recovers(tmp_path: Path) -> None:
    async def scenario(disk: Path) -> None:
        database = Database.open(disk / "state.db")
        await database.commit(*(Put(NOTES, str(number), Note("x" * 1000)) for number in range(50)))
        fill(disk / "filler")
        for _ in range(3):
            with pytest.raises(NoSpace, match="no space left on device"):
                await database.commit(*(Put(NOTES, f"new{number}", Note("y" * 3000)) for number in range(3000)))
        assert len(database.load(NOTES)) == 50
        for number in range(50):
            await database.commit(Delete(NOTES, str(number)))
        assert database.load(NOTES) == {}
        os.unlink(disk / "filler")
        await database.commit(Put(NOTES, "after", Note("z" * 3000)))
        await database.close()
        again = Database.open(disk / "state.db")
        assert "after" in again.load(NOTES)
        await again.close()

    with small_disk(tmp_path / "disk", "120m") as disk:
        asyncio.run(scenario(disk))


@pytest.mark.row("R-14")
def test_a_layer_or_blob_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(disk: Path) -> None:
        workers = Workers()
        content = Content(disk)
        layers = Layers(disk, content, workers)
        snapshots = Snapshots(disk, layers, workers)
        small = _tar()
        info = await layers.apply(_once(small), diff_id=sha256_of(small))
        snapshot = snapshots.prepare("c" * 64, [Digest(info.diff_id)])
        Path(snapshot.upper, "written").write_bytes(bytes(100_000))
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            big = tarfile.TarInfo("big")
            big.size = 30 << 20
            archive.addfile(big, io.BytesIO(bytes(30 << 20)))
        with pytest.raises(NoSpace):
            await layers.apply(_once(out.getvalue()))
        with content.ingest() as writer, pytest.raises(NoSpace):
            writer.write(bytes(40 << 20))
        assert os.listdir(disk / "ingest") == []
        fill(disk / "filler")
        snapshots.remove("c" * 64)
        await snapshots.close()
        await layers.remove(Digest(info.diff_id))
        os.unlink(disk / "filler")
        assert (await layers.apply(_once(small))).diff_id == info.diff_id
        await workers.close()

    with small_disk(tmp_path / "disk", "12m") as disk:
        asyncio.run(scenario(disk))


async def _once(data: bytes):
    yield data


@pytest.mark.row("R-15")
@pytest.mark.row("K-31")
@pytest.mark.parametrize("fault", ["store.commit.before=EIO@5"])
def test_after_a_failed_sync_nothing_more_is_written(tmp_path: Path, fault: str) -> None:
    ended = _python(_WRITER, str(tmp_path / "state.db"), "10", fault=fault)
    assert len(ended.stdout.split()) == 4
    assert "the store is read-only" in ended.stderr


@pytest.mark.row("R-15")
def test_an_fsync_that_fails_once_is_not_tried_again(tmp_path: Path) -> None:
    program = """
import sys
from onggi.errors import Unavailable
from onggi.store import durable
from onggi.store.content import Content

content = Content(sys.argv[1])
for turn in range(3):
    try:
        content.put(b"x")
        print("stored")
    except (OSError, Unavailable) as error:
        print(type(error).__name__)
print(durable.broken())
"""
    ended = _python(program, str(tmp_path), fault="store.sync=EIO@1")
    assert ended.stdout.splitlines()[:3] == ["Unavailable"] * 3, ended.stderr
    assert "sync of" in ended.stdout
    assert list(Content(tmp_path).walk()) == []


@pytest.mark.row("R-13")
def test_an_interrupted_blob_goes_on_where_the_disk_says(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    digest = sha256_of(data)
    content = Content(tmp_path)
    taken = 0
    for cut in (700_000, 1_500_001, 2_999_999):
        with content.resume(digest) as writer:
            assert writer.offset == taken
            writer.write(data[writer.offset : cut])
            taken = cut
    with content.resume(digest) as writer:
        writer.write(data[writer.offset :])
        assert writer.commit(digest, len(data)) == digest
    assert hashlib.sha256(Path(content.path(digest)).read_bytes()).hexdigest() == digest[7:]
    assert os.listdir(tmp_path / "ingest") == []


@pytest.mark.row("K-51")
def test_a_second_engine_on_one_root_is_refused(tmp_path: Path) -> None:
    program = "import sys; from onggi.store.locks import RootLock; RootLock.take(sys.argv[1]); print('taken', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "taken\n"
        second = _python(program, str(tmp_path))
        assert f"in use by another engine (pid {first.pid})" in second.stderr
        first.kill()
    assert (
        "taken"
        in subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], input="", capture_output=True, text=True, check=True
        ).stdout
    )


@pytest.mark.row("K-35")
def test_a_disk_that_hangs_delays_commits_and_nothing_else(tmp_path: Path) -> None:
    program = """
import asyncio, sys, time, msgspec
from onggi.store.database import Database, Put, Table

class Note(msgspec.Struct):
    text: str

NOTES = Table("notes", Note)

async def main():
    database = Database.open(sys.argv[1])
    database.load(NOTES)
    commit = database.submit(Put(NOTES, "a", Note("x")))
    worst = 0.0
    while not commit.done():
        begun = time.monotonic()
        await asyncio.sleep(0.001)
        worst = max(worst, time.monotonic() - begun)
    print(worst)
    await database.close()

asyncio.run(main())
"""
    ended = _python(program, str(tmp_path / "state.db"), fault="store.commit.before=sleep:0.5@1")
    assert float(ended.stdout) < 0.05, ended.stderr


@pytest.mark.row("R-25")
def test_a_removal_that_was_cut_off_is_taken_up_by_the_next_engine(tmp_path: Path) -> None:
    program = """
import asyncio, os, sys
from onggi.store.content import Content
from onggi.store.layers import Layers
from onggi.store.snapshots import Snapshots
from onggi.store.workers import Workers

async def main():
    workers = Workers()
    snapshots = Snapshots(sys.argv[1], Layers(sys.argv[1], Content(sys.argv[1]), workers), workers)
    snapshots.clean()
    if len(sys.argv) > 2:
        snapshot = snapshots.prepare("c" * 64, [])
        os.mkdir(snapshot.upper + "/folder")
        open(snapshot.upper + "/folder/file", "w").close()
        snapshots.remove("c" * 64)
    await snapshots.close()
    await workers.close()

asyncio.run(main())
"""
    assert _python(program, str(tmp_path), "make", fault="store.snapshot.renamed=kill").returncode == -9
    assert os.listdir(tmp_path / "containers") == []
    assert len(os.listdir(tmp_path / "ingest")) == 1
    assert _python(program, str(tmp_path)).returncode == 0
    assert os.listdir(tmp_path / "ingest") == []
