"""An image as it can be compared: config, history, and what each layer holds. No time that differs from build to build is in it."""

from __future__ import annotations

import hashlib
import stat
import tarfile
from collections.abc import Mapping
from typing import IO, Any

MTIMES_BEFORE = 1_600_000_000
"""Times before it come from a context, and are compared."""


def config(document: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of an image's config that its Dockerfile decides; nothing that is empty."""
    run = {name: value for name, value in (document.get("config") or {}).items() if value}
    found = {name: document[name] for name in ("architecture", "os", "author") if document.get(name)}
    return {**found, "config": dict(sorted(run.items()))}


def history(document: Mapping[str, Any], below: int) -> list[list[Any]]:
    """What was done, without the first `below` entries, which are the base's."""
    entries = document.get("history") or []
    return [
        [entry.get("created_by", ""), entry.get("comment", ""), bool(entry.get("empty_layer"))]
        for entry in entries[below:]
    ]


def tar_layer(file: IO[bytes]) -> list[str]:
    """A layer's tar, one line for each member."""
    lines = []
    with tarfile.open(fileobj=file) as archive:
        for member in archive:
            name = member.name.removeprefix("./").strip("/")
            if name in ("", "."):
                continue
            if member.isdir():
                what = "d"
            elif member.issym():
                what = f"l -> {member.linkname}"
            elif member.islnk():
                what = f"h -> {member.linkname.removeprefix('./').strip('/')}"
            elif member.isreg():
                body = archive.extractfile(member)
                what = f"f {_digest(body.read() if body else b'')}"
            else:
                what = f"? {member.type!r}"
            hidden = name.rpartition("/")[2].startswith(".wh.")
            lines.append(name if hidden else _line(name, what, member.mode, member.uid, member.gid, member.mtime))
    return sorted(lines)


def _line(name: str, what: str, mode: int, uid: int, gid: int, mtime: float) -> str:
    # A directory's time is that of its last change on the way through BuildKit's own snapshots.
    time = f" @{int(mtime)}" if 0 <= mtime < MTIMES_BEFORE and what != "d" else ""
    bits = "" if what.startswith("l") else f" {stat.S_IMODE(mode):o}"
    return f"{name} {what}{bits} {uid}:{gid}{time}"


def _digest(data: bytes) -> str:
    if len(data) < 40 and data.isascii() and all(letter == 10 or letter >= 32 for letter in data):
        return repr(data.decode())
    return hashlib.sha256(data).hexdigest()[:16]
