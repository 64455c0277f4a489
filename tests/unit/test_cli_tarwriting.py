"""The tar that `onggi build` sends says to others what was on the disk."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.cli.command import Exit
from onggi.cli.tarwriting import TarWriter


def packed(root: Path) -> bytes:
    tar = TarWriter()
    pieces = [
        piece for name in sorted(os.listdir(root)) for piece in tar.file(str(root / name), name, os.lstat(root / name))
    ]
    return b"".join([*pieces, *tar.end()])


def test_another_program_reads_what_was_written(tmp_path: Path) -> None:
    long, raw = "n" * 180, b"bytes-\xff\xfe" + b"x" * 120
    (tmp_path / "plain").write_bytes(b"x" * 700)
    (tmp_path / "plain").chmod(0o4711)
    os.utime(tmp_path / "plain", ns=(0, 1_500_000_000_123_456_789))
    (tmp_path / long).write_text("long")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + raw)).write_text("raw")
    (tmp_path / "linked").hardlink_to(tmp_path / "plain")
    (tmp_path / "symbolic").symlink_to("t" * 150)
    (tmp_path / "directory").mkdir(0o750)
    os.mkfifo(tmp_path / "fifo", 0o600)
    os.utime(tmp_path / "directory", ns=(0, -1_500_000_000))
    os.utime(tmp_path / "fifo", (1_400_000_000, 1_400_000_000))
    data = packed(tmp_path)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {member.name: member for member in archive}
        assert set(found) == {"plain", long, os.fsdecode(raw), "linked", "symbolic", "directory", "fifo"}
        first, second = sorted(("plain", "linked"))
        body = archive.extractfile(first)
        assert body is not None
        assert body.read() == b"x" * 700
        assert (found[second].islnk(), found[second].linkname) == (True, first)
    assert (found[first].mode, found[first].uid, found[first].gid) == (0o4711, 0, 0)
    assert found[first].pax_headers["mtime"] == "1500000000.123456789"
    assert found["symbolic"].linkname == "t" * 150
    assert (found["directory"].mtime, found["directory"].mode, found["directory"].isdir()) == (-1.5, 0o750, True)
    # A whole second needs no header of its own.
    assert (found["fifo"].mtime, found["fifo"].pax_headers) == (1_400_000_000, {})
    listed = subprocess.run(["tar", "-tv"], input=data, capture_output=True, check=True)
    assert b"rror" not in listed.stderr
    assert len(listed.stdout.splitlines()) == 7


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=300),
        st.binary(max_size=1500),
        max_size=5,
    )
)
def test_names_and_bodies_of_any_length_come_back(files: dict[str, bytes]) -> None:
    tar = TarWriter()
    pieces = [piece for name, data in files.items() for piece in tar.data(name, data, 0o644)]
    with tarfile.open(fileobj=io.BytesIO(b"".join([*pieces, *tar.end()]))) as archive:
        for member, (name, data) in zip(archive, files.items(), strict=True):
            body = archive.extractfile(member)
            assert body is not None
            assert (member.name, body.read()) == (name.rstrip("/"), data)


def test_a_file_that_gets_shorter_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 1000)
    status = os.lstat(tmp_path / "f")
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(Exit, match="got shorter while it was being sent"):
        list(TarWriter().file(str(tmp_path / "f"), "f", status))
