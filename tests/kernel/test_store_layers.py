"""Layers on a real file system, overlaid by the kernel: what a tar means to a container. Needs root."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import zstandard

from onggi.errors import Corrupt
from onggi.oci.digest import Digest, sha256_of
from onggi.store.unpack import Limits
from tests.kernel.layering import Store, entry, folder, link, tar, with_store

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: files of any owner are made")


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[Store], Awaitable[None]]], None]:
    return partial(with_store, tmp_path)


@pytest.mark.row("I-028")
def test_a_whiteout_hides_the_lower_name(run) -> None:
    async def scenario(store: Store) -> None:
        base = await store.apply(
            tar(folder("a"), entry("a/x", data=b"1"), entry("a/y", data=b"2"), entry("gone", data=b"3"))
        )
        upper = await store.apply(tar(entry("a/.wh.x"), entry(".wh.gone"), entry(".wh.never-there")))
        assert store.tree(base, upper) == {"a/y": "2"}

    run(scenario)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.row("I-029")
def test_opaque_hides_lower_children_and_none_of_its_own_layer(run, first: bool) -> None:
    async def scenario(store: Store) -> None:
        base = await store.apply(tar(folder("a"), entry("a/low", data=b"1")))
        mark, own = entry("a/.wh..wh..opq"), entry("a/own", data=b"2")
        upper = await store.apply(tar(folder("a"), *((mark, own) if first else (own, mark))))
        assert store.tree(base, upper) == {"a/own": "2"}

    run(scenario)


@pytest.mark.parametrize("first", [True, False])
def test_a_whiteout_beside_its_own_layers_name_hides_only_the_lower_one(run, first: bool) -> None:
    async def scenario(store: Store) -> None:
        base = await store.apply(tar(folder("a"), entry("a/low", data=b"1"), entry("f", data=b"1")))
        marks, own = [entry(".wh.a"), entry(".wh.f")], [folder("a"), entry("a/own", data=b"2"), entry("f", data=b"2")]
        upper = await store.apply(tar(*(marks + own if first else own + marks)))
        assert store.tree(base, upper) == {"a/own": "2", "f": "2"}

    run(scenario)


@pytest.mark.row("I-030")
def test_aufs_leftovers_are_ignored(run) -> None:
    async def scenario(store: Store) -> None:
        layer = await store.apply(tar(folder(".wh..wh.plnk"), entry(".wh..wh.aufs"), entry("x", data=b"1")))
        assert store.tree(layer) == {"x": "1"}

    run(scenario)


@pytest.mark.row("I-051")
def test_a_directory_becomes_a_file_and_a_file_a_directory(run) -> None:
    async def scenario(store: Store) -> None:
        base = await store.apply(tar(folder("a"), entry("a/x", data=b"1"), entry("b", data=b"2")))
        upper = await store.apply(tar(entry("a", data=b"3"), folder("b"), entry("b/y", data=b"4")))
        assert store.tree(base, upper) == {"a": "3", "b/y": "4"}

    run(scenario)


@pytest.mark.row("I-052")
def test_the_last_of_two_entries_wins(run) -> None:
    async def scenario(store: Store) -> None:
        layer = await store.apply(
            tar(
                entry("f", data=b"1"),
                entry("f", data=b"2"),
                folder("d"),
                entry("d/x", data=b"1"),
                link("d", "f"),
                link("s", "f"),
                folder("n/d"),
                entry("n/d/x"),
                entry("n/d", data=b"4"),
                folder("n/e"),
                entry("n/e", data=b"5"),
                folder("n/e"),
                entry("n/e/z", data=b"6"),
                entry("s", data=b"3"),
            )
        )
        assert store.tree(layer) == {"f": "2", "d": "-> f", "s": "3", "n/d": "4", "n/e/z": "6"}

    run(scenario)


@pytest.mark.row("I-036")
def test_names_are_cleaned(run) -> None:
    async def scenario(store: Store) -> None:
        layer = await store.apply(
            tar(
                entry("./a//b/../c", data=b"1"),
                entry("/abs", data=b"2"),
                entry("x/./y/", data=b"3"),
                entry("./", tarfile.DIRTYPE),
            )
        )
        assert store.tree(layer) == {"a/c": "1", "abs": "2", "x/y": "3"}

    run(scenario)


@pytest.mark.row("I-035")
def test_a_link_on_the_way_is_followed_inside_the_layer_only(run, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    async def scenario(store: Store) -> None:
        layer = await store.apply(
            tar(
                folder("usr/lib"),
                link("lib", "usr/lib"),
                entry("lib/x", data=b"1"),
                folder(str(outside)[1:]),
                link("out", str(outside)),
                entry("out/y", data=b"2"),
            )
        )
        assert store.tree(layer)["usr/lib/x"] == "1"
        assert list(outside.iterdir()) == []

    run(scenario)


@pytest.mark.row("I-047", "I-050")
@pytest.mark.row("I-037")
def test_modes_owners_and_times_are_those_of_the_tar(run) -> None:
    async def scenario(store: Store) -> None:
        layer = await store.apply(
            tar(
                folder("."),
                folder("sticky", mode=0o1777, uid=7, gid=8),
                folder("group", mode=0o2775, gid=50),
                entry("group/plain", data=b"x"),
                entry("setuid", mode=0o4755, uid=1000, gid=1000, data=b"x"),
                link("link", "setuid"),
                entry("old", mtime=-5.5, pax_headers={"mtime": "-5.5"}),
                entry("fine", pax_headers={"mtime": "1600000000.123456789"}),
            )
        )
        root = Path(store.layers.path(layer.diff_id))
        modes = {name: (root / name).lstat() for name in ("sticky", "group", "group/plain", "setuid", "old", "fine")}
        assert [stat.S_IMODE(modes[name].st_mode) for name in ("sticky", "group", "setuid")] == [0o1777, 0o2775, 0o4755]
        assert (modes["sticky"].st_uid, modes["setuid"].st_uid, modes["group/plain"].st_gid) == (7, 1000, 0)
        assert modes["sticky"].st_mtime == modes["group"].st_mtime == 1_600_000_000
        assert modes["old"].st_mtime == -5.5
        assert modes["fine"].st_mtime_ns == 1_600_000_000_123_456_789

    run(scenario)


@pytest.mark.row("S-43")
@pytest.mark.row("I-042")
def test_only_harmless_xattrs_are_set(run) -> None:
    capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    headers = {
        "SCHILY.xattr.security.capability": capability,
        "SCHILY.xattr.user.note": "hi",
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.security.selinux": "x",
    }

    async def scenario(store: Store) -> None:
        layer = await store.apply(
            tar(
                entry("ping", data=b"x", pax_headers=headers),
                folder("d", pax_headers={"SCHILY.xattr.trusted.overlay.opaque": "y"}),
            )
        )
        root = store.layers.path(layer.diff_id)
        assert sorted(os.listxattr(f"{root}/ping")) == ["security.capability", "user.note"]
        assert os.listxattr(f"{root}/d") == []

    run(scenario)


def test_devices_other_than_the_harmless_ones_are_passed_over(run) -> None:
    async def scenario(store: Store) -> None:
        disk = entry("disk", tarfile.BLKTYPE, devmajor=8, devminor=0)
        fake = entry("fake-whiteout", tarfile.CHRTYPE, devmajor=0, devminor=0)
        layer = await store.apply(
            tar(
                disk,
                fake,
                entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
                entry("pipe", tarfile.FIFOTYPE),
            )
        )
        assert sorted(store.tree(layer)) == ["null", "pipe"]

    run(scenario)


@pytest.mark.row("S-45")
@pytest.mark.row("I-022")
def test_a_layer_with_another_digest_is_refused_and_leaves_nothing(run) -> None:
    async def scenario(store: Store) -> None:
        archive = tar(entry("x", data=b"hello" * 1000))
        wanted = sha256_of(archive)
        for place in range(0, len(archive) - 1024, len(archive) // 20):
            with pytest.raises(Corrupt):
                await store.apply(archive[:place] + bytes([archive[place] ^ 1]) + archive[place + 1 :], diff_id=wanted)
        with pytest.raises(Corrupt):
            await store.apply(archive + b"\0", diff_id=wanted)
        assert list(store.layers.walk()) == []
        assert (await store.apply(archive, diff_id=wanted)).diff_id == wanted

    run(scenario)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
def test_a_layer_is_the_same_however_it_is_packed(run, pack) -> None:
    async def scenario(store: Store) -> None:
        archive = tar(entry("x", data=os.urandom(300_000)))
        assert (await store.apply(pack(archive))).diff_id == sha256_of(archive)

    run(scenario)


def test_a_layer_that_two_ask_for_is_unpacked_once(run) -> None:
    async def scenario(store: Store) -> None:
        archive = tar(entry("x", data=b"1"))
        read = 0

        async def pieces():
            nonlocal read
            read += 1
            yield archive

        wanted = sha256_of(archive)
        found = await asyncio.gather(*(store.layers.apply(pieces(), diff_id=wanted) for _ in range(5)))
        assert {info.diff_id for info in found} == {wanted}
        assert read == 1

    run(scenario)


@pytest.mark.row("S-44")
def test_a_bomb_is_refused_and_leaves_nothing(run) -> None:
    async def scenario(store: Store) -> None:
        zeros = gzip.compress(tar(entry("zeros", data=bytes(40_000_000))))
        with pytest.raises(Corrupt, match="no real image"):
            await store.apply(zeros, limits=Limits(ratio_from_bytes=1_000_000))
        with pytest.raises(Corrupt, match="more than 1000000 bytes"):
            await store.apply(zeros, limits=Limits(total_bytes=1_000_000))
        with pytest.raises(Corrupt, match="more than 100 entries"):
            await store.apply(tar(*(entry(f"f{n}") for n in range(101))), limits=Limits(entries=100))

    run(scenario)


@pytest.mark.row("R-12")
def test_a_flipped_byte_is_found_and_a_second_apply_repairs_it(run) -> None:
    async def scenario(store: Store) -> None:
        archive = tar(
            entry("a/x", data=b"1" * 5000), link("a/y", "a/x", tarfile.LNKTYPE), entry("b", data=b"2"), entry("empty")
        )
        layer = await store.apply(archive, diff_id=sha256_of(archive))
        captured = await store.layers.capture(store.layers.path(layer.diff_id), keep=True)
        for info in (layer, captured):
            assert await store.layers.verify(info.diff_id)
            with (Path(store.layers.path(info.diff_id)) / "a/x").open("r+b") as file:
                file.seek(4000)
                file.write(b"0")
        assert not await store.layers.verify(layer.diff_id)
        await store.layers.remove(layer.diff_id)
        await store.apply(archive, diff_id=layer.diff_id)
        assert await store.layers.verify(layer.diff_id)

    run(scenario)


@pytest.mark.row("I-031")
def test_a_captured_layer_says_in_plain_tar_what_the_upper_directory_says(run) -> None:
    async def scenario(store: Store) -> None:
        base = await store.apply(
            tar(
                folder("keep"),
                entry("keep/x", data=b"1"),
                entry("gone", data=b"2"),
                folder("swap"),
                entry("swap/old", data=b"3"),
            )
        )
        snapshot = store.snapshots.prepare("a" * 64, [base.diff_id])
        with store.snapshots.mounted(snapshot, writable=True) as merged:
            root = merged.fileno()
            os.unlink("gone", dir_fd=root)
            os.unlink("swap/old", dir_fd=root)
            os.rmdir("swap", dir_fd=root)
            os.mkdir("swap", dir_fd=root)
            for name in ("swap/new", "keep/y", "one"):
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=root))
            os.link("one", "two", src_dir_fd=root, dst_dir_fd=root)
        copied = await store.layers.capture(snapshot.upper, keep=True)
        read_end, write_end = os.pipe()
        pack = asyncio.create_task(store.layers.pack(copied.diff_id, write_end))
        await asyncio.sleep(0)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            archive = await asyncio.to_thread(pipe.read)
        await pack
        assert Digest("sha256:" + hashlib.sha256(archive).hexdigest()) == copied.diff_id
        with tarfile.open(fileobj=io.BytesIO(archive)) as read:
            kinds = {member.name: member.type for member in read}
        assert kinds == {
            ".": tarfile.DIRTYPE,
            ".wh.gone": tarfile.REGTYPE,
            "keep": tarfile.DIRTYPE,
            "keep/y": tarfile.REGTYPE,
            "one": tarfile.REGTYPE,
            "swap": tarfile.DIRTYPE,
            "swap/.wh..wh..opq": tarfile.REGTYPE,
            "swap/new": tarfile.REGTYPE,
            "two": tarfile.LNKTYPE,
        }
        expected = {"keep/x": "1", "keep/y": "", "swap/new": "", "one": "", "two": ""}
        assert store.tree(base, copied) == expected
        moved = await store.layers.capture(snapshot.upper, keep=False)
        assert moved.diff_id == copied.diff_id
        assert store.layers.info(moved.diff_id).captured
        store.snapshots.remove("a" * 64)

    run(scenario)


@pytest.mark.row("I-056")
@pytest.mark.row("E-006")
def test_changes_are_listed_as_docker_lists_them(run) -> None:
    async def scenario(store: Store) -> None:
        base = await store.apply(
            tar(
                folder("."),
                folder("keep"),
                entry("keep/x", data=b"1"),
                entry("gone", data=b"2"),
                folder("same"),
                entry("same/y"),
            )
        )
        snapshot = store.snapshots.prepare("b" * 64, [base.diff_id])
        with store.snapshots.mounted(snapshot, writable=True) as merged:
            root = merged.fileno()
            os.unlink("gone", dir_fd=root)
            os.mkdir("new", dir_fd=root)
            for name in ("new/file", "keep/x"):
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600, dir_fd=root))
        listed = [(change.path, change.kind) for change in await store.snapshots.changes(snapshot)]
        assert listed == [("/gone", 2), ("/keep", 0), ("/keep/x", 0), ("/new", 1), ("/new/file", 1)]
        assert await store.snapshots.usage(snapshot) == 0
        store.snapshots.remove("b" * 64)

    run(scenario)
