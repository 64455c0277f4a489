"""Tars of every make: links, long names, sparse files, large numbers, capabilities, names that are no text. Needs root."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from onggi.errors import OnggiError
from tests.kernel.layering import Store, entry, folder, link, tar, with_store

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: files of any owner are made")


@pytest.mark.row("I-032", "I-034")
def test_a_hard_link_is_the_same_file_and_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("host")

    async def scenario(store: Store) -> None:
        layer = await store.apply(
            tar(folder("a"), entry("a/x", data=b"1"), link("y", "a/x", tarfile.LNKTYPE), link("z", "./a/../a/x", tarfile.LNKTYPE),
                link("s", "a/x"), link("to-link", "s", tarfile.LNKTYPE))
        )  # fmt: skip
        root = Path(store.layers.path(layer.diff_id))
        assert {(root / name).stat().st_ino for name in ("a/x", "y", "z")} == {(root / "y").stat().st_ino}
        assert (root / "to-link").readlink() == Path("a/x")  # the link itself, not what it leads to
        for target in (f"{tmp_path}/secret", "../" * 12 + str(tmp_path)[1:] + "/secret"):
            with pytest.raises(OnggiError):
                await store.apply(tar(link("out", target, tarfile.LNKTYPE)))
        with pytest.raises(OnggiError):
            await store.apply(tar(link("up", str(tmp_path)), link("out", "up/secret", tarfile.LNKTYPE)))
        assert (tmp_path / "secret").stat().st_nlink == 1

    with_store(tmp_path, scenario)


@pytest.mark.row("I-044")
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_long_targets_are_whole(tmp_path: Path, form: int) -> None:
    name, target = "/".join(["d" * 200] * 8) + "/file", "t" * 3000
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, data in (entry(name, data=b"1"), link("l" * 150, target), link("h" * 150, name, tarfile.LNKTYPE)):
            archive.addfile(info, io.BytesIO(data))

    async def scenario(store: Store) -> None:
        layer = await store.apply(out.getvalue())
        root = Path(store.layers.path(layer.diff_id))
        assert (root / name).read_text() == "1"
        assert os.readlink(root / ("l" * 150)) == target
        assert (root / ("h" * 150)).samefile(root / name)

    with_store(tmp_path, scenario)


@pytest.mark.row("I-045")
@pytest.mark.parametrize(
    "form",
    [["gnu"], ["posix", "--sparse-version=0.0"], ["posix", "--sparse-version=0.1"], ["posix", "--sparse-version=1.0"]],
)
def test_sparse_files_of_every_form_have_their_bytes_and_their_holes(tmp_path: Path, form: list[str]) -> None:
    with (tmp_path / "disk").open("wb") as file:
        for at in range(40):  # more pieces than one header has room for
            file.seek(at * 1_000_000)
            file.write(b"%d" % at)
        file.truncate(50_000_000)
    made = subprocess.run(
        ["tar", "-C", tmp_path, "--sparse", f"--format={form[0]}", *form[1:], "-cf", "-", "disk"],
        capture_output=True,
        check=True,
    )
    assert len(made.stdout) < 1_000_000

    async def scenario(store: Store) -> None:
        layer = await store.apply(made.stdout)
        root = Path(store.layers.path(layer.diff_id))
        assert os.listdir(root) == ["disk"]
        assert (root / "disk").read_bytes() == (tmp_path / "disk").read_bytes()
        assert (root / "disk").stat().st_blocks * 512 < 2_000_000

    with_store(tmp_path, scenario)


@pytest.mark.row("I-046")
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_owners_beyond_two_million_are_kept(tmp_path: Path, form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        archive.addfile(entry("f", uid=4_000_000_000, gid=3_000_000)[0])

    async def scenario(store: Store) -> None:
        layer = await store.apply(out.getvalue())
        status = Path(store.layers.path(layer.diff_id), "f").stat()
        assert (status.st_uid, status.st_gid) == (4_000_000_000, 3_000_000)

    with_store(tmp_path, scenario)


@pytest.mark.row("I-040")
def test_a_capability_outlives_the_owner_that_is_not_root(tmp_path: Path) -> None:
    """chown(2) takes security.capability away, so that it must be set afterwards."""
    capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

    async def scenario(store: Store) -> None:
        headers = {"SCHILY.xattr.security.capability": capability}
        layer = await store.apply(tar(entry("ping", data=b"x", uid=1000, gid=1000, mode=0o4755, pax_headers=headers)))
        path = Path(store.layers.path(layer.diff_id), "ping")
        assert os.getxattr(path, "security.capability") == capability.encode("latin-1")
        assert (path.stat().st_uid, path.stat().st_mode & 0o7777) == (1000, 0o4755)

    with_store(tmp_path, scenario)


@pytest.mark.row("I-048")
def test_names_that_are_no_text_are_kept_byte_for_byte(tmp_path: Path) -> None:
    name = b"caf\xe9-\xff\xfe"
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        archive.addfile(entry(os.fsdecode(name), data=b"1")[0], io.BytesIO(b"1"))

    async def scenario(store: Store) -> None:
        layer = await store.apply(out.getvalue())
        assert os.listdir(os.fsencode(store.layers.path(layer.diff_id))) == [name]

    with_store(tmp_path, scenario)


@pytest.mark.row("I-049")
def test_global_headers_as_git_archive_writes_them_are_no_files(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "a" * 40}) as archive:
        archive.addfile(entry("f", data=b"1")[0], io.BytesIO(b"1"))

    async def scenario(store: Store) -> None:
        assert store.tree(await store.apply(out.getvalue())) == {"f": "1"}

    with_store(tmp_path, scenario)


@pytest.mark.row("I-053")
def test_a_layer_of_two_images_is_on_the_disk_once(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        archive = tar(entry("x", data=b"1" * 100_000))
        first = await store.apply(archive)
        again = await store.apply(archive)
        assert first.diff_id == again.diff_id
        assert list(store.layers.walk()) == [first.diff_id]

    with_store(tmp_path, scenario)


@pytest.mark.row("I-043")
def test_access_lists_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "shared"
    source.mkdir()
    # POSIX ACL, version 2: owner rwx, user 1000 r-x, group r-x, mask r-x, others none (linux/posix_acl_xattr.h).
    entries = [
        (0x01, 7, 0xFFFFFFFF),
        (0x02, 5, 1000),
        (0x04, 5, 0xFFFFFFFF),
        (0x10, 5, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    ]
    value = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + rights.to_bytes(2, "little") + who.to_bytes(4, "little")
        for tag, rights, who in entries
    )

    async def scenario(store: Store) -> None:
        headers = {"SCHILY.xattr.system.posix_acl_access": value.decode("utf-8", "surrogateescape")}
        layer = await store.apply(tar(entry("f", data=b"1", mode=0o750, pax_headers=headers)))
        assert os.getxattr(Path(store.layers.path(layer.diff_id), "f"), "system.posix_acl_access") == value

    with_store(tmp_path, scenario)
