"""cp's rules of where and under which name, and what a container's tar may do here."""

import io
import tarfile
from pathlib import Path

import pytest

from onggi.cli.command import Exit
from onggi.cli.copying import Target, entry
from onggi.cli.tarcopies import ContainerTree, LocalTree, renaming


def tar(*members: tuple[str, dict[str, object], bytes]) -> ContainerTree:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, fields, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for field, value in fields.items():
                setattr(member, field, value)
            archive.addfile(member, io.BytesIO(data))
    return ContainerTree(iter([out.getvalue()]))


DIRECTORY, LINK = {"type": tarfile.DIRTYPE, "mode": 0o755}, tarfile.SYMTYPE


@pytest.mark.row("CL-017")
@pytest.mark.parametrize(
    ("path", "wanted"),
    [("/a/b", ("/a", "b")), ("/a/b/", ("/a", "b")), ("/a/b/.", ("/a/b", ".")), ("/", ("/", ".")), ("/a", ("/", "a"))],
)
def test_a_path_is_a_directory_and_a_name(path: str, wanted: tuple[str, str]) -> None:
    assert entry(path) == wanted


@pytest.mark.row("CL-017")
@pytest.mark.parametrize(
    ("path", "exists", "is_directory", "from_directory", "wanted"),
    [
        ("/there", True, True, True, ("/there", "")),
        ("/there", True, True, False, ("/there", "")),
        ("/d/file", True, False, False, ("/d", "file")),
        ("/d/file", True, False, True, "cannot copy directory"),
        ("/d/new", False, False, True, ("/d", "new")),
        ("/d/new/", False, False, True, ("/d", "new")),
        ("/d/new", False, False, False, ("/d", "new")),
        ("/d/new/", False, False, False, "no such directory"),
    ],
)
def test_a_copy_goes_where_cp_would_put_it(
    path: str, exists: bool, is_directory: bool, from_directory: bool, wanted: object
) -> None:
    target = Target(path, exists=exists, is_directory=is_directory)
    try:
        found: object = target.place(from_directory=from_directory)
    except Exit as error:
        found = error.message
    assert found == wanted


@pytest.mark.row("CL-017")
def test_entries_are_renamed_at_their_first_part_alone() -> None:
    assert [renaming("d", "new")(name) for name in ("d/", "d/x/d", "dd/x", "other")] == [
        "new",
        "new/x/d",
        "dd/x",
        "other",
    ]
    assert [renaming(".", "new")(name) for name in ("./", "./x/y")] == ["new", "new/x/y"]


@pytest.mark.row("CL-017")
@pytest.mark.parametrize(
    "members",
    [
        [("../out", {}, b"x")],
        [("/../out", {}, b"x")],
        [("link", {"type": LINK, "linkname": "../.."}, b""), ("link/out", {}, b"x")],
        [("d", DIRECTORY, b""), ("d/up", {"type": LINK, "linkname": "../.."}, b""), ("d/up/out", {}, b"x")],
        [("hard", {"type": tarfile.LNKTYPE, "linkname": "../out"}, b"")],
    ],
    ids=["up", "absolute", "link", "link below", "hard link"],
)
def test_a_containers_tar_writes_nothing_outside(
    tmp_path: Path, members: list[tuple[str, dict[str, object], bytes]]
) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    try:
        tar(*members).unpack(str(inside), None)
    except Exit:
        pass
    outside = [path for path in tmp_path.rglob("*") if path.name == "out" and inside not in path.parents]
    assert outside == []


@pytest.mark.row("CL-017")
def test_a_link_of_the_users_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "file").symlink_to("precious")
    tar(("file", {"uid": 12345, "mode": 0o640}, b"new")).unpack(str(tmp_path), None)
    assert (tmp_path / "precious").read_text() == "kept"
    assert ((tmp_path / "file").is_symlink(), (tmp_path / "file").read_text()) == (False, "new")
    assert (tmp_path / "file").stat().st_uid != 12345


@pytest.mark.row("CL-017")
def test_a_file_doesnt_take_a_directorys_place_nor_the_other_way(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("")
    with pytest.raises(Exit, match="cannot overwrite directory"):
        tar(("d", {}, b"x")).unpack(str(tmp_path), None)
    with pytest.raises(Exit, match="cannot overwrite non-directory"):
        tar(("f", DIRECTORY, b"")).unpack(str(tmp_path), None)


@pytest.mark.row("CL-017")
def test_a_tree_that_goes_out_and_comes_back_is_the_same(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_text("text")
    (source / "link").symlink_to("sub/file")
    target = tmp_path / "target"
    target.mkdir()
    tree = ContainerTree(LocalTree(str(source), "source").pieces())
    assert tree.is_directory
    tree.unpack(str(target), renaming("source", "copy"))
    assert (target / "copy" / "link").read_text() == "text"
    assert (target / "copy" / "link").is_symlink()
