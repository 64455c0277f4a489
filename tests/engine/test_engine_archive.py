"""`docker cp` and `export` on a container's files, stopped and running; what dockerd 28 answers to the same requests. Needs root."""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import gzip
import io
import lzma
import os
import signal
import tarfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from onggi.engine.archive import Archive
from onggi.engine.archivejobs import PathStat
from onggi.engine.rootview import Mounted, RootView
from onggi.errors import Forbidden, InvalidArgument, NotFound, OnggiError
from onggi.kernel import mounts
from onggi.kernel.clone import CloneFlag
from onggi.kernel.filesystem import RenameFlag, renameat2
from onggi.kernel.process import unshare
from onggi.oci.digest import Digest
from onggi.store.content import Content
from onggi.store.layers import Layers
from onggi.store.snapshots import Snapshot, Snapshots
from onggi.store.workers import Workers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: overlays, files of any owner")

Entry = tuple[str, bytes, bytes, dict[str, object]]


def file(name: str, data: bytes = b"", **fields: object) -> Entry:
    return name, tarfile.REGTYPE, data, fields


def folder(name: str, **fields: object) -> Entry:
    return name, tarfile.DIRTYPE, b"", fields


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Entry:
    return name, kind, b"", {"linkname": target}


def tar(*entries: Entry) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, data, fields in entries:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mtime = kind, len(data), 5
            info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


async def body(data: bytes):
    for start in range(0, len(data), 10_000):
        yield data[start : start + 10_000]


IMAGE = tar(
    folder("tmp", mode=0o1777),
    folder("etc"),
    file("etc/motd", b"image"),
    folder("rw"),
    folder("ro"),
    link("var", "/tmp"),
    folder("bin"),
    file("bin/sh", b"x"),
)


class Copier:
    """One container's files with a volume at /rw and a read-only one at /ro."""

    def __init__(self, archive: Archive, view: RootView) -> None:
        self.archive = archive
        self.view = view

    async def put(self, path: str, data: bytes, **options: object) -> None:
        await self.archive.put(self.view, path, body(data), **options)

    async def stat(self, path: str) -> PathStat:
        return await self.archive.stat(self.view, path)

    async def get(self, path: str) -> tuple[PathStat, list[tarfile.TarInfo]]:
        found, members = await self.read(path)
        return found, list(members.values())

    async def names(self, path: str) -> list[str]:
        return [member.name for member in (await self.get(path))[1]]

    async def read(self, path: str) -> tuple[PathStat, dict[str, tarfile.TarInfo]]:
        async with self.archive.get(self.view, path) as (found, pieces):
            data = b"".join([piece async for piece in pieces])
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            return found, {member.name: member for member in archive}


@contextlib.contextmanager
def _process(snapshot: Snapshot, place: Path, volumes: list[Mounted]) -> Iterator[tuple[int, int]]:
    """A process whose root is the container's, volumes mounted; (pid, pidfd)."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            unshare(CloneFlag.NEWNS)
            mounts.mount(None, "/", None, mounts.MountFlag.PRIVATE | mounts.MountFlag.REC)
            data = f"lowerdir={':'.join(snapshot.lower)},upperdir={snapshot.upper},workdir={snapshot.work}"
            mounts.mount("overlay", str(place), "overlay", mounts.MountFlag.NONE, data)
            for volume in volumes:
                target = f"{place}{volume.destination}"
                mounts.mount(volume.source, target, None, mounts.MountFlag.BIND)
                if volume.read_only:
                    mounts.mount(
                        None, target, None, mounts.MountFlag.BIND | mounts.MountFlag.REMOUNT | mounts.MountFlag.RDONLY
                    )
            mounts.mount("proc", f"{place}/proc", "proc", mounts.MountFlag.NONE)
            os.chroot(place)
            os.chdir("/")
            os.write(write_end, b"!")
            while True:
                signal.pause()
        finally:
            os._exit(1)
    os.close(write_end)
    try:
        assert os.read(read_end, 1) == b"!"
        pidfd = os.pidfd_open(pid)
        try:
            yield pid, pidfd
        finally:
            os.close(pidfd)
    finally:
        os.close(read_end)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


Scenario = Callable[[Copier], Awaitable[None]]


def _run(tmp_path: Path, scenario: Scenario, *, running: bool, read_only_root: bool = False) -> None:
    async def prepare() -> Snapshot:
        workers = Workers()
        content = Content(tmp_path)
        layers = Layers(tmp_path, content, workers)
        info = await layers.apply(body(IMAGE))
        snapshot = Snapshots(tmp_path, layers, workers).prepare("c" * 64, [Digest(info.diff_id)])
        await workers.close()
        return snapshot

    async def main(pid: int | None, pidfd: int | None) -> None:
        workers = Workers()
        snapshots = Snapshots(tmp_path, Layers(tmp_path, Content(tmp_path), workers), workers)
        view = RootView("c" * 64, snapshot, volumes, read_only_root=read_only_root, pid=pid, pidfd=pidfd)
        try:
            await scenario(Copier(Archive(snapshots, workers), view))
        finally:
            await workers.close()

    volumes = []
    for name in ("rw", "ro"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"in-{name}").write_text(name)
        volumes.append(Mounted(f"/{name}", str(tmp_path / name), read_only=name == "ro"))
    snapshot = asyncio.run(prepare())
    if not running:
        asyncio.run(main(None, None))
        return
    place = tmp_path / "place"
    place.mkdir()
    with _process(snapshot, place, volumes) as (pid, pidfd):
        asyncio.run(main(pid, pidfd))


@pytest.fixture(params=["stopped", "running"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    def run(scenario: Scenario, **options: bool) -> None:
        _run(tmp_path, scenario, running=request.param == "running", **options)

    return run


CONTENT = tar(
    file("a", b"hi", uid=7, gid=8),
    folder("d"),
    file("d/x", b"1"),
    link("link", "d"),
    link("abs", "/tmp/d/x"),
    link("dang", "/nowhere/x"),
)

DIRECTORY, LINK = 1 << 31, 1 << 27

WHAT_DOCKER_ANSWERS = [
    ("/tmp/a", ("a", 0o644, ""), ["a"]),
    ("/tmp/d", ("d", DIRECTORY | 0o755, ""), ["d", "d/x"]),
    ("/tmp/d/", ("d", DIRECTORY | 0o755, ""), ["d", "d/x"]),
    ("/tmp/d/.", (".", DIRECTORY | 0o755, ""), [".", "./x"]),
    ("/tmp/link", ("link", LINK | 0o777, "/tmp/d"), ["link"]),
    ("/tmp/link/", ("link", DIRECTORY | 0o755, ""), ["link", "link/x"]),
    ("/tmp/link/.", (".", DIRECTORY | 0o755, ""), [".", "./x"]),
    ("/tmp/abs", ("abs", LINK | 0o777, "/tmp/d/x"), ["abs"]),
    ("/tmp/dang", ("dang", LINK | 0o777, "/nowhere/x"), ["dang"]),
    ("tmp/a", ("a", 0o644, ""), ["a"]),
    ("/tmp/../tmp/a", ("a", 0o644, ""), ["a"]),
    ("/tmp/link/x", ("x", 0o644, ""), ["x"]),
    ("/var/a", ("a", 0o644, ""), ["a"]),
    ("/../../tmp/a", ("a", 0o644, ""), ["a"]),
    ("/rw", ("rw", DIRECTORY | 0o755, ""), ["rw", "rw/in-rw"]),
    ("/tmp/../ro/in-ro", ("in-ro", 0o644, ""), ["in-ro"]),
]


@pytest.mark.row("E-022")
@pytest.mark.row("E-023")
def test_stat_and_get_answer_as_dockerd(run) -> None:
    async def scenario(copier: Copier) -> None:
        await copier.put("/tmp", CONTENT)
        for path, expected, names in WHAT_DOCKER_ANSWERS:
            found, members = await copier.get(path)
            assert (found.name, found.mode, found.link_target) == expected, path
            assert [member.name for member in members] == names, path
            assert await copier.stat(path) == found
        _, members = await copier.get("/tmp/a")
        assert (members[0].uid, members[0].gid, members[0].mtime) == (7, 8, 5)
        assert (await copier.stat("/tmp/a")).mtime == "1970-01-01T00:00:05Z"

    run(scenario)


@pytest.mark.row("E-023")
def test_a_client_that_takes_gzip_gets_the_same_tar_compressed(tmp_path: Path) -> None:
    async def scenario(copier: Copier) -> None:
        await copier.put("/tmp", tar(file("text", b"line\n" * 100_000)))
        both = []
        for zipped in (False, True):
            async with copier.archive.get(copier.view, "/tmp", gzip=zipped) as (found, pieces):
                assert found.name == "tmp"
                both.append(b"".join([piece async for piece in pieces]))
        assert len(both[1]) < len(both[0]) // 10
        assert gzip.decompress(both[1]) == both[0]

    _run(tmp_path, scenario, running=False)


@pytest.mark.row("E-023")
def test_the_whole_root_has_its_volumes_and_nothing_of_proc(run) -> None:
    async def scenario(copier: Copier) -> None:
        found, members = await copier.get("/")
        names = [member.name for member in members]
        assert (found.name, names[0]) == ("/", "")
        assert {"/etc/motd", "/rw/in-rw", "/ro/in-ro", "/proc"} <= set(names)
        assert not [name for name in names if name.startswith("/proc/")]

    run(scenario)


@pytest.mark.row("E-022")
def test_what_is_not_there_is_said_in_dockers_words(run) -> None:
    async def scenario(copier: Copier) -> None:
        await copier.put("/tmp", CONTENT)
        for path in ("/tmp/nope", "/tmp/dang/", "/nowhere/x"):
            with pytest.raises(NotFound, match=f"^Could not find the file {path} in container {'c' * 64}$"):
                await copier.get(path)
        with pytest.raises(OnggiError, match=r"^lstat /tmp/a/: not a directory$"):
            await copier.stat("/tmp/a/")
        with pytest.raises(InvalidArgument, match="cannot be empty"):
            await copier.stat("")
        with pytest.raises(NotFound, match="Could not find the file /nope"):
            await copier.put("/nope", tar())

    run(scenario)


@pytest.mark.row("E-024")
def test_refusals_of_put(run) -> None:
    async def scenario(copier: Copier) -> None:
        await copier.put("/tmp", CONTENT)
        with pytest.raises(InvalidArgument, match=r"^extraction point is not a directory$"):
            await copier.put("/tmp/a", b"")
        with pytest.raises(InvalidArgument, match=r"^mounted volume is marked read-only$"):
            await copier.put("/ro", tar(file("z")))
        with pytest.raises(Forbidden, match=r"read-only file system$"):
            await copier.put("/", tar(file("ro/q")))
        with pytest.raises(InvalidArgument, match='cannot overwrite directory "d" with non-directory'):
            await copier.put("/tmp", tar(file("d")), no_overwrite_dir_non_dir=True)
        with pytest.raises(InvalidArgument, match='cannot overwrite non-directory "a" with directory'):
            await copier.put("/tmp", tar(folder("a")), no_overwrite_dir_non_dir=True)
        refusals = {
            'invalid entry name "../../evil"': tar(file("../../evil")),
            'invalid hardlink target "../etc/motd"': tar(link("h", "../etc/motd", tarfile.LNKTYPE)),
            "archive/tar: invalid tar header": b"garbage" * 200,
        }
        for words, evil in refusals.items():
            with pytest.raises(OnggiError, match=words):
                await copier.put("/tmp", evil)
        assert await copier.names("/ro") == ["ro", "ro/in-ro"]

    run(scenario)


@pytest.mark.row("E-024")
def test_a_read_only_root_takes_copies_into_its_volumes_only(run) -> None:
    async def scenario(copier: Copier) -> None:
        with pytest.raises(InvalidArgument, match=r"^container rootfs is marked read-only$"):
            await copier.put("/tmp", tar(file("x")))
        await copier.put("/rw", tar(file("x")))
        assert await copier.names("/rw") == ["rw", "rw/in-rw", "rw/x"]

    run(scenario, read_only_root=True)


@pytest.mark.row("E-024")
def test_put_replaces_follows_links_inside_and_maps_owners(run, tmp_path: Path) -> None:
    async def scenario(copier: Copier) -> None:
        await copier.put("/tmp", CONTENT)
        await copier.put("/tmp/link", tar(file("via-link")))
        await copier.put("/tmp", tar(file("link/through", b"x"), file("new/deep/file")))
        assert await copier.names("/tmp/d") == ["d", "d/through", "d/via-link", "d/x"]
        assert "new/deep/file" in await copier.names("/tmp/new")
        await copier.put("/tmp", tar(file("own", uid=7, gid=8), link("own-link", "x")), user="1000:1001")
        _, members = await copier.get("/tmp/own")
        assert (members[0].uid, members[0].gid) == (1000, 1001)
        await copier.put("/tmp", tar(file("d", b"now a file")))
        assert (await copier.stat("/tmp/d")).size == 10
        await copier.put("/", tar(file("rw/from-root", b"x"), folder("rw/sub"), file("rw/sub/y")))
        assert sorted(os.listdir(tmp_path / "rw")) == ["from-root", "in-rw", "sub"]
        await copier.put("/tmp", b"")

    run(scenario)


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress]
)
@pytest.mark.row("E-024")
def test_put_takes_every_compression(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    async def scenario(copier: Copier) -> None:
        await copier.put("/tmp", pack(tar(file("big", b"x" * 300_000))))
        assert (await copier.stat("/tmp/big")).size == 300_000

    _run(tmp_path, scenario, running=False)


@pytest.mark.row("E-007")
def test_export_is_the_root_without_its_mounts(run) -> None:
    async def scenario(copier: Copier) -> None:
        async with copier.archive.export(copier.view) as pieces:
            data = b"".join([piece async for piece in pieces])
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            names = archive.getnames()
        assert names[0] == ".dockerenv"
        assert {"etc/motd", "rw", "ro", "proc", "bin/sh"} <= set(names)
        assert not [name for name in names if name.startswith(("rw/", "ro/", "proc/"))]

    run(scenario)


def test_special_modes_are_gos(tmp_path: Path) -> None:
    async def scenario(copier: Copier) -> None:
        await copier.put(
            "/tmp", tar(file("suid", mode=0o4755), ("fifo", tarfile.FIFOTYPE, b"", {}), folder("sticky", mode=0o1777))
        )
        modes = {name: (await copier.stat(f"/tmp/{name}")).mode for name in ("suid", "fifo", "sticky")}
        assert modes == {"suid": 1 << 23 | 0o755, "fifo": 1 << 25 | 0o644, "sticky": DIRECTORY | 1 << 20 | 0o777}

    _run(tmp_path, scenario, running=False)


def test_a_copy_that_is_left_early_leaves_no_process(tmp_path: Path) -> None:
    async def scenario(copier: Copier) -> None:
        await copier.put("/tmp", tar(file("big", bytes(5_000_000))))
        async with asyncio.timeout(5):
            async with copier.archive.get(copier.view, "/tmp/big") as (_, pieces):
                assert await anext(pieces)
            task = asyncio.create_task(copier.get("/tmp/big"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    _run(tmp_path, scenario, running=False)


@pytest.mark.row("S-41")
def test_a_container_that_swaps_links_while_it_is_copied_gives_only_its_own_files(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("the host's")
    up = "/.." * 20

    async def scenario(copier: Copier) -> None:
        await copier.put(
            "/tmp",
            tar(
                folder("swap"),
                file("swap/secret", b"own"),
                link("other", f"{up}{outside}"),
                link("absolute", str(outside)),
            ),
        )
        root = os.open(f"/proc/{copier.view.pid}/root/tmp", os.O_RDONLY)
        ended = threading.Event()

        def swap() -> None:
            while not ended.is_set():
                for other in ("other", "absolute"):
                    renameat2(root, "swap", root, other, RenameFlag.EXCHANGE)
                    renameat2(root, "swap", root, other, RenameFlag.EXCHANGE)

        swapper = threading.Thread(target=swap)
        swapper.start()
        try:
            found = set()
            for turn in range(150):
                with contextlib.suppress(OnggiError, FileNotFoundError):
                    async with copier.archive.get(copier.view, "/tmp/swap/secret") as (_, pieces):
                        data = b"".join([piece async for piece in pieces])
                    found.add(data[512:515])
                with contextlib.suppress(OnggiError, OSError):
                    await copier.put(
                        "/tmp/swap" if turn % 2 else "/tmp", tar(file("written" if turn % 2 else "swap/written", b"x"))
                    )
        finally:
            ended.set()
            swapper.join()
            os.close(root)
        assert found == {b"own"}
        assert os.listdir(outside) == ["secret"]

    _run(tmp_path, scenario, running=True)


@pytest.mark.row("S-41")
def test_a_compressor_in_the_image_is_never_run(tmp_path: Path) -> None:
    async def scenario(copier: Copier) -> None:
        trap = b"#!/bin/sh\ntouch /tmp/trapped\n"
        await copier.put(
            "/bin", tar(*(file(name, trap, mode=0o755) for name in ("unpigz", "gzip", "xz", "unxz", "zstd", "bzip2")))
        )
        for pack in (gzip.compress, lzma.compress, bz2.compress):
            await copier.put("/tmp", pack(tar(file("x"))))
        assert await copier.names("/tmp") == ["tmp", "tmp/x"]

    _run(tmp_path, scenario, running=True)
