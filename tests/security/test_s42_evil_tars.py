"""Hostile archives against everything that unpacks: nothing outside of the target changes. Needs root."""

from __future__ import annotations

import io
import itertools
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from onggi.engine import archivejobs
from onggi.errors import OnggiError
from onggi.store import jobs
from onggi.store.unpack import Limits

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: files of any owner are made"),
    pytest.mark.row("S-42"),
]

Entry = tuple[str, bytes, str, bytes]
FILE, FOLDER, LINK, HARD, FIFO, NODE = (
    tarfile.REGTYPE,
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.FIFOTYPE,
    tarfile.CHRTYPE,
)
UP = "../" * 12


def _tar(entries: list[Entry]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, target, data in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size, info.mode = kind, target, len(data), 0o4777
            info.pax_headers = {
                "SCHILY.xattr.trusted.overlay.redirect": "/etc",
                "SCHILY.xattr.trusted.overlay.opaque": "y",
            }
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _corpus(outside: str) -> Iterator[tuple[str, list[Entry]]]:
    """Archives that try to reach `outside`, which lies two directories above the target and has `secret` in it."""
    ways_out = [
        f"{UP}{outside[1:]}/x",
        "../../outside/x",
        f"/{UP}{outside[1:]}/x",
        "a/../../../outside/x",
        "./../x",
        "..",
        "../",
        "a/../..",
        f"{outside}/x",
        "...",
        "//../x",
    ]
    for name, (kind, target, data) in itertools.product(
        ways_out,
        [
            (FILE, "", b"evil"),
            (FOLDER, "", b""),
            (LINK, outside, b""),
            (HARD, f"{outside}/secret", b""),
            (FIFO, "", b""),
            (NODE, "", b""),
        ],
    ):
        yield f"name {name} {kind!r}", [(name, kind, target, data)]
    targets = [
        outside,
        f"{UP}{outside[1:]}",
        "..",
        "../..",
        "/",
        ".",
        "/proc/self/cwd",
        "/proc/self/root",
        f"/proc/self/root{outside}",
        "x",
        "loop",
        "/proc/thread-self/fd/0",
    ]
    through: list[list[Entry]] = [
        [("link/evil", FILE, "", b"evil")],
        [("link/secret", FILE, "", b"evil")],
        [("link/evil", FOLDER, "", b""), ("link/evil/x", FILE, "", b"x")],
        [("link/evil", LINK, "/etc/passwd", b"")],
        [("link/evil", HARD, "link/secret", b"")],
        [("hard", HARD, "link/secret", b""), ("hard", FILE, "", b"evil")],
        [("hard", HARD, "link", b""), ("hard/evil", FILE, "", b"evil")],
        [("link/.wh.secret", FILE, "", b"")],
        [("link/.wh..wh..opq", FILE, "", b"")],
        [("link", FILE, "", b"evil")],
        [("link", FOLDER, "", b""), ("link/evil", FILE, "", b"evil")],
        [("link/", FOLDER, "", b""), ("link/", FILE, "", b"evil")],
        [("loop", LINK, "link/loop", b""), ("loop/evil", FILE, "", b"evil")],
    ]
    for target, entries in itertools.product(targets, through):
        yield f"link to {target} then {[entry[:2] for entry in entries]}", [("link", LINK, target, b""), *entries]
    for name in (
        ".wh.",
        ".wh..",
        ".wh...",
        "a/.wh...",
        ".wh.../x",
        "../.wh.secret",
        f"{UP}{outside[1:]}/.wh.secret",
        ".wh..wh..opq/../../x",
        "../.wh..wh..opq",
    ):
        yield f"whiteout {name}", [("a", FOLDER, "", b""), (name, FILE, "", b"")]
    for target in (
        f"{outside}/secret",
        f"{UP}{outside[1:]}/secret",
        "../../outside/secret",
        "/etc/passwd",
        "",
        ".",
        "/",
        "a",
    ):
        yield f"hard link {target}", [("a", FOLDER, "", b""), ("hard", HARD, target, b""), ("hard", FILE, "", b"evil")]
        yield (
            f"hard link over itself {target}",
            [(target or "e", FILE, "", b"1"), (target or "e", HARD, target or "e", b"")],
        )
    yield "deep", [("d/" * 600 + "x", FILE, "", b"")]
    yield "long", [("n" * 300, FILE, "", b"")]
    yield "long path", [("p/" * 2500, FOLDER, "", b"")]


def _picture(directory: Path) -> list[tuple[object, ...]]:
    """Everything about everything below, itself included."""
    found: list[tuple[object, ...]] = []
    for path in [directory, *sorted(directory.rglob("*"))]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found.append(
            (
                str(path),
                status.st_mode,
                status.st_uid,
                status.st_nlink,
                status.st_mtime_ns,
                content,
                tuple(os.listxattr(path)),
            )
        )
    return found


def _unpack_layer(archive: bytes, target: int) -> None:
    with _as_pipe(archive) as source:
        jobs.unpack_layer(
            msgspec.msgpack.encode(jobs.UnpackLayer(None, Limits())), [source.fileno(), target], lambda _: None
        )


def _copy_into(archive: bytes, target: int) -> None:
    with _as_pipe(archive) as source:
        archivejobs.put(
            msgspec.msgpack.encode(archivejobs.Put(archivejobs.ViewSpec("c"), "/")),
            [target, source.fileno()],
            lambda _: None,
        )


def _as_pipe(archive: bytes) -> io.BufferedRandom:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the caller's block
    file.write(archive)
    file.flush()
    file.seek(0)
    return file


@pytest.mark.parametrize("unpack", [_unpack_layer, _copy_into], ids=["layer", "cp"])
def test_no_archive_reaches_anything_outside(tmp_path: Path, unpack, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "secret").write_text("the host's")
    before = _picture(outside)
    monkeypatch.setattr(jobs.durable, "sync_filesystem", lambda *_: None)
    old_mask = os.umask(0)
    count = refused = 0
    try:
        for what, entries in _corpus(str(outside)):
            place = tmp_path / f"place-{count}"
            (place / "target").mkdir(parents=True)
            fd = os.open(place / "target", os.O_RDONLY | os.O_DIRECTORY)
            try:
                unpack(_tar(entries), fd)
            except (OnggiError, OSError):
                refused += 1
            finally:
                os.close(fd)
            assert os.listdir(place) == ["target"], what
            assert _picture(outside) == before, what
            assert "trusted.overlay.redirect" not in os.listxattr(place / "target"), what
            count += 1
    finally:
        os.umask(old_mask)
    assert count >= 200
    assert 40 < refused < count - 40
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("place-")) == ["outside"]
