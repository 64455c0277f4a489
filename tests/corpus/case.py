"""A case: a Dockerfile, its context, what the client gives, and changes after which the cache is looked at."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engine.engines import busybox_tar

HERE = Path(__file__).parent
MTIME = 1_500_000_000
"""Of every file of a context: what is copied then has a time that can be compared."""

BASE = "corpus"
"""The image that most cases are FROM: tests/engine/engines.py's busybox."""

Files = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """`files`: path → text, or a table with `text`, `mode`, `link` or `directory`. `edits`: name → files that are different.

    `before` are Dockerfiles of images that are built first, by name. `known` says why onggi differs, where it does.
    """

    name: str
    rows: tuple[str, ...]
    dockerfile: str
    files: Files = field(default_factory=dict)
    args: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, Files] = field(default_factory=dict)
    edits: Mapping[str, Files] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    platform: str = ""
    entitlements: tuple[str, ...] = ()
    known: Mapping[str, str] = field(default_factory=dict)


def load() -> list[Case]:
    """All cases, in the order of their files."""
    found: list[Case] = []
    for path in sorted((HERE / "cases").glob("*.toml")):
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        for name, table in tables.items():
            words = {**table, "rows": tuple(table["rows"]), "entitlements": tuple(table.get("entitlements", ()))}
            found.append(Case(name=f"{path.stem}-{name}", **words))
    return found


def base_tar(salt: bytes = b"") -> bytes:
    """The base image: busybox, with the places that every image has for what is mounted in containers.

    With another `salt` it is another image: no step over it is in any cache.
    """
    out = io.BytesIO(busybox_tar())
    with tarfile.open(fileobj=out, mode="a") as made:
        for name in ("dev", "proc", "sys"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            made.addfile(info)
        for name in ("etc/hosts", "etc/resolv.conf"):
            made.addfile(tarfile.TarInfo(name))
        info = tarfile.TarInfo("var/salt")
        info.size = len(salt)
        made.addfile(info, io.BytesIO(salt))
    return out.getvalue()


def write(root: Path, files: Files, *, mtime: int = MTIME) -> None:
    """Puts `files` below `root`, all with the same time. An edit needs another: clients send what has changed in time or size."""
    for name, value in files.items():
        entry = value if isinstance(value, dict) else {"text": value}
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.get("directory"):
            path.mkdir(exist_ok=True)
        elif "link" in entry:
            path.symlink_to(entry["link"])
        elif "hard" in entry:
            path.hardlink_to(root / entry["hard"])
        else:
            data = _archive(entry["archive"]) if "archive" in entry else entry.get("text", "").encode()
            path.write_bytes(data)
            path.chmod(0o644)
        if "mode" in entry:
            path.chmod(int(entry["mode"], 8))
    for directory, names, others in os.walk(root, topdown=False):
        for name in (*names, *others):
            os.utime(os.path.join(directory, name), (mtime, mtime), follow_symlinks=False)
    os.utime(root, (mtime, mtime))


def _archive(kind: str) -> bytes:
    """A tar of a file, a directory and a link with owners of their own; packed when `kind` says so."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, way, link in (("f", tarfile.REGTYPE, ""), ("d", tarfile.DIRTYPE, ""), ("l", tarfile.SYMTYPE, "f")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mtime = way, link, MTIME
            info.uid, info.gid, info.mode = 3, 4, 0o755 if way == tarfile.DIRTYPE else 0o640
            info.size = 6 if way == tarfile.REGTYPE else 0
            made.addfile(info, io.BytesIO(b"packed"))
    data = out.getvalue()
    return gzip.compress(data, mtime=0) if kind == "tar.gz" else data
