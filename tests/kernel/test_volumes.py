"""Volumes: docker's names and texts, use, options as mounts, and an image's first content. Needs root."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from onggi.errors import Conflict, InvalidArgument, NotFound
from onggi.store.database import Database
from onggi.store.workers import Workers
from onggi.volumes import ANONYMOUS_LABEL, Volumes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, files of any owner")


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[Volumes], Awaitable[None]]], None]:
    def run(scenario: Callable[[Volumes], Awaitable[None]]) -> None:
        async def main() -> None:
            database = Database.open(tmp_path / "state.db")
            workers = Workers()
            volumes = Volumes(tmp_path, database, workers)
            await volumes.restore()
            try:
                await scenario(volumes)
            finally:
                await workers.close()
                await database.close()
            assert os.listdir(tmp_path / "ingest") == []

        asyncio.run(main())

    return run


def _image(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


@pytest.mark.row("E-054")
@pytest.mark.row("P-094")
def test_creating_again_returns_the_old_one_untouched(run) -> None:
    async def scenario(volumes: Volumes) -> None:
        first = await volumes.create("web", labels={"a": "1"})
        assert await volumes.create("web", labels={"a": "2"}) == first
        assert volumes.get("web").labels == {"a": "1"}
        with pytest.raises(NotFound, match='plugin "nfs" not found'):
            await volumes.create("other", driver="nfs")

    run(scenario)


@pytest.mark.row("P-087")
@pytest.mark.row("E-267")
def test_names_are_dockers(run) -> None:
    async def scenario(volumes: Volumes) -> None:
        anonymous = await volumes.create()
        assert len(anonymous.name) == 64
        assert anonymous.labels == {ANONYMOUS_LABEL: ""}
        with pytest.raises(
            InvalidArgument, match="volume name is too short, names should be at least two alphanumeric characters"
        ):
            await volumes.create("x")
        for name in ("../up", "a/b", ".hidden", "a\n", "a b"):
            with pytest.raises(InvalidArgument, match="includes invalid characters for a local volume name"):
                await volumes.create(name)
        with pytest.raises(NotFound, match=r"^get nothing: no such volume$"):
            volumes.get("nothing")

    run(scenario)


@pytest.mark.row("E-057")
@pytest.mark.row("P-112")
def test_a_volume_in_use_is_not_removed(run) -> None:
    async def scenario(volumes: Volumes) -> None:
        await volumes.create("data")
        volumes.use("data", "c2")
        volumes.use("data", "c1")
        with pytest.raises(Conflict, match=r"^remove data: volume is in use - \[c1, c2\]$"):
            await volumes.remove("data", force=True)
        await volumes.release("c1")
        await volumes.release("c2")
        await volumes.remove("data")
        with pytest.raises(NotFound):
            await volumes.remove("data")
        await volumes.remove("data", force=True)

    run(scenario)


@pytest.mark.row("P-098")
def test_only_anonymous_volumes_go_with_their_container(run) -> None:
    async def scenario(volumes: Volumes) -> None:
        named, kept, shared, gone = (
            await volumes.create("named"),
            await volumes.create(),
            await volumes.create(),
            await volumes.create(),
        )
        volumes.use(kept.name, "plain-rm")
        for volume in (named, shared, gone):
            volumes.use(volume.name, "rm-v")
        volumes.use(shared.name, "other")
        await volumes.release("plain-rm")
        assert await volumes.release("rm-v", remove_anonymous=True) == [gone.name]
        assert {volume.name for volume in volumes.list()} == {named.name, kept.name, shared.name}

    run(scenario)


@pytest.mark.row("E-058")
def test_prune_takes_unused_anonymous_ones_or_all(run) -> None:
    async def scenario(volumes: Volumes) -> None:
        await volumes.create("named")
        used, unused = await volumes.create(), await volumes.create()
        volumes.use(used.name, "c")
        Path(volumes.mountpoint(unused.name), "file").write_bytes(b"12345")
        assert await volumes.prune() == ([unused.name], 5)
        assert await volumes.prune(all=True) == (["named"], 0)

    run(scenario)


@pytest.mark.row("P-091")
def test_options_are_mounted_while_someone_needs_them(run, tmp_path: Path) -> None:
    async def scenario(volumes: Volumes) -> None:
        await volumes.create("memory", options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000,noexec"})
        volumes.use("memory", "c1")
        path = await volumes.mount("memory")
        assert os.stat(path).st_uid == 1000
        assert os.statvfs(path).f_flag & os.ST_NOEXEC
        assert await volumes.mount("memory") == path
        await volumes.release("c1")
        assert os.stat(path).st_uid == 0
        bound = tmp_path / "bound"
        bound.mkdir()
        (bound / "file").write_text("x")
        await volumes.create("bind", options={"type": "none", "device": str(bound), "o": "bind"})
        assert os.listdir(await volumes.mount("bind")) == ["file"]
        await volumes.remove("bind")
        assert (bound / "file").exists()

    run(scenario)


def test_options_that_make_no_sense_are_refused_in_dockers_words(run, tmp_path: Path) -> None:
    async def scenario(volumes: Volumes) -> None:
        with pytest.raises(InvalidArgument, match='create v1: invalid option: "foo"'):
            await volumes.create("v1", options={"foo": "bar"})
        with pytest.raises(InvalidArgument, match='missing required option: "device"'):
            await volumes.create("v1", options={"type": "tmpfs"})
        await volumes.create("v2", options={"type": "none", "device": str(tmp_path / "absent"), "o": "bind"})
        with pytest.raises(
            InvalidArgument, match=r"failed to mount local volume: mount .*absent.*: no such file or directory"
        ):
            await volumes.mount("v2")

    run(scenario)


@pytest.mark.row("P-095")
def test_an_empty_volume_gets_what_the_image_has_with_its_owner_and_mode(run, tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "srv" / "www" / "sub").mkdir(parents=True)
    (image / "srv" / "www" / "page").write_text("hello")
    (image / "srv" / "www" / "link").symlink_to("page")
    os.chown(image / "srv" / "www", 33, 33)
    os.chmod(image / "srv" / "www", 0o2770)
    os.setxattr(image / "srv" / "www" / "page", "user.note", b"x")
    (image / "alias").symlink_to("/srv/www")

    async def scenario(volumes: Volumes) -> None:
        await volumes.create("www")
        volumes.use("www", "c1")
        root = _image(image)
        assert await volumes.fill("www", root, "/alias")
        data = Path(volumes.mountpoint("www"))
        assert (data / "page").read_text() == "hello"
        assert os.readlink(data / "link") == "page"
        assert os.getxattr(data / "page", "user.note") == b"x"
        status = data.stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (33, 0o2770)
        (data / "page").write_text("mine")
        assert not await volumes.fill("www", root, "/srv/www")
        assert (data / "page").read_text() == "mine"
        os.close(root)

    run(scenario)


@pytest.mark.row("P-095")
def test_two_first_users_fill_once_and_share_one_directory(run, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.mkdir()
    for number in range(50):
        (image / str(number)).write_text("x")

    async def scenario(volumes: Volumes) -> None:
        await volumes.create("shared")
        volumes.use("shared", "c1")
        volumes.use("shared", "c2")
        before = os.stat(volumes.mountpoint("shared")).st_ino
        root = _image(image)
        assert sorted(await asyncio.gather(*(volumes.fill("shared", root, "/") for _ in range(4)))) == [
            False,
            False,
            False,
            True,
        ]
        os.close(root)
        assert len(os.listdir(volumes.mountpoint("shared"))) == 50
        assert os.stat(volumes.mountpoint("shared")).st_ino == before

    run(scenario)


@pytest.mark.row("S-53")
@pytest.mark.parametrize("path", ["/../../../../../../etc", "/to-etc", "/absent", "/file", "/loop", "/file/x"])
def test_a_hostile_volume_path_reads_the_image_only(run, tmp_path: Path, path: str) -> None:
    image = tmp_path / "image"
    image.mkdir()
    (image / "to-etc").symlink_to("/../../../../../../../../etc")
    (image / "loop").symlink_to("loop")
    (image / "file").write_text("x")

    async def scenario(volumes: Volumes) -> None:
        await volumes.create("evil")
        root = _image(image)
        assert not await volumes.fill("evil", root, path)
        os.close(root)
        assert os.listdir(volumes.mountpoint("evil")) == []

    run(scenario)


@pytest.mark.row("S-53")
def test_strange_files_in_the_image_neither_block_nor_leak(run, tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "data").mkdir(parents=True)
    os.mkfifo(image / "data" / "pipe")
    os.mknod(image / "data" / "disk", 0o600 | stat.S_IFBLK, os.makedev(8, 0))
    (image / "data" / "shadow").symlink_to("/etc/shadow")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(image / "data")
        listener.bind("socket")
        os.chdir(here)

    async def scenario(volumes: Volumes) -> None:
        await volumes.create("odd")
        root = _image(image)
        assert await volumes.fill("odd", root, "/data")
        for hostile in ("relative", "/a\0b", "/" + "x" * 5000):
            with pytest.raises(InvalidArgument):
                await volumes.fill(await _fresh(volumes), root, hostile)
        os.close(root)
        data = volumes.mountpoint("odd")
        assert sorted(os.listdir(data)) == ["pipe", "shadow"]
        assert os.path.islink(f"{data}/shadow")

    run(scenario)


async def _fresh(volumes: Volumes) -> str:
    return (await volumes.create()).name


_FILL = """
import asyncio, os, sys
from onggi.store.database import Database
from onggi.store.workers import Workers
from onggi.volumes import Volumes

async def main():
    volumes = Volumes(sys.argv[1], Database.open(sys.argv[1] + "/state.db"), Workers())
    await volumes.restore()
    if "data" not in [volume.name for volume in volumes.list()]:
        await volumes.create("data")
    volumes.use("data", "c1")
    print(await volumes.fill("data", os.open(sys.argv[2], os.O_RDONLY), "/"), flush=True)

asyncio.run(main())
os._exit(0)
"""


@pytest.mark.row("R-33")
@pytest.mark.parametrize("point", ["volumes.copy.copied", "volumes.copy.renamed"])
def test_a_kill_amid_the_copy_leaves_nothing_or_everything(tmp_path: Path, point: str) -> None:
    image = tmp_path / "image"
    image.mkdir()
    for number in range(20):
        (image / str(number)).write_text("x")
    command = [sys.executable, "-c", _FILL, str(tmp_path), str(image)]
    killed = subprocess.run(
        command,
        env=os.environ | {"ONGGI_FAULT": f"{point}=kill"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert "True" not in killed.stdout
    data = tmp_path / "volumes" / "data" / "_data"
    assert len(os.listdir(data)) in {0, 20}
    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert len(os.listdir(data)) == 20, again.stderr
    assert os.listdir(tmp_path / "volumes" / "data") == ["_data"]


def test_a_directory_without_a_row_becomes_a_volume(tmp_path: Path) -> None:
    (tmp_path / "volumes" / "found" / "_data").mkdir(parents=True)
    (tmp_path / "volumes" / "no-volume").mkdir()

    async def main() -> None:
        database = Database.open(tmp_path / "state.db")
        volumes = Volumes(tmp_path, database, Workers())
        assert await volumes.restore() == ["found"]
        assert [volume.name for volume in volumes.list()] == ["found"]
        await database.close()

    asyncio.run(main())
