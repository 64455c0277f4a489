"""Builds for tests: a context from a dict, what the build said, and the tree that came out."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from onggi.build.options import options_from_query
from onggi.engine.engine import Engine
from onggi.images.catalog import Image

Files = Mapping[str, "str | bytes | tarfile.TarInfo | None"]


def context(dockerfile: str, files: Files | None = None, mtime: int = 1_500_000_000) -> bytes:
    """A context's tar. A file's value is its text or bytes, None for a directory, a TarInfo for anything else."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, value in {"Dockerfile": dockerfile, **(files or {})}.items():
            info = value if isinstance(value, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name, info.mtime = name, info.mtime or mtime
            data = value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b""
            if value is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            if not isinstance(value, tarfile.TarInfo):
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def archive(files: Files) -> bytes:
    """A tar without a Dockerfile."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, value in files.items():
            info = value if isinstance(value, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            data = value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b""
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()


@dataclass
class Built:
    """`said` is all text of the stream."""

    image: Image
    said: str
    messages: list[dict[str, Any]]

    @property
    def steps(self) -> list[str]:
        return [line for line in self.said.splitlines() if line.startswith("Step ")]

    @property
    def cached(self) -> int:
        return self.said.count(" ---> Using cache")


async def build(
    engine: Engine,
    text: str,
    files: Files | None = None,
    /,
    *,
    said: list[str] | None = None,
    body: bytes = b"",
    secrets: Mapping[str, bytes] | None = None,
    **query: str,
) -> Built:
    """Raises what the build raises; `said` gets its text as it comes."""
    data = body or context(text, files)
    words = {"networkmode": ["none"], **{name: [value] for name, value in query.items()}}
    messages: list[dict[str, Any]] = []

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 65536):
            yield data[at : at + 65536]

    def output(message: msgspec.Struct) -> None:
        decoded = msgspec.json.decode(msgspec.json.encode(message))
        messages.append(decoded)
        if said is not None:
            said.append(decoded.get("stream", ""))

    image_id = await engine.builder.build(chunks(), options_from_query(words), output, secrets)
    return Built(engine.images.resolve(image_id), "".join(m.get("stream", "") for m in messages), messages)


def tree(engine: Engine, image: Image, *, below: int = 1) -> dict[str, str]:
    """Path → what is there, of an image's layers above the first `below`: `mode uid:gid content`, upper ones win."""
    found: dict[str, str] = {}
    for layer in image.layers[below:]:
        root = engine.layers.path(layer)
        for directory, names, files in os.walk(root):
            for name in (*names, *files):
                path = os.path.join(directory, name)
                status = os.lstat(path)
                owner = f"{status.st_uid}:{status.st_gid}"
                what = f"{stat.S_IMODE(status.st_mode):o} {owner}"
                if stat.S_ISLNK(status.st_mode):
                    what = f"-> {os.readlink(path)}"
                elif stat.S_ISREG(status.st_mode):
                    with open(path, encoding="utf-8", errors="replace") as file:
                        what += f" {file.read()}"
                elif stat.S_ISDIR(status.st_mode):
                    what += " /"
                found[os.path.relpath(path, root)] = what
    return found
