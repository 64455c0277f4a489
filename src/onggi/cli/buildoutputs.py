"""`build -o`: what becomes of the image. It is in the engine anyhow; files and archives of it are brought here."""

from __future__ import annotations

import csv
import os
import sys
import tarfile

from onggi.cli.command import Exit
from onggi.client import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from onggi.cli.command import Context

_ARCHIVES = ("docker", "oci")
_KINDS = ("local", "tar", "image", "registry", "cacheonly", *_ARCHIVES)


class Output:
    """One -o: its kind, and where it goes ("-" is stdout)."""

    def __init__(self, text: str) -> None:
        fields = next(csv.reader([text]), [])
        if len(fields) == 1 and "=" not in fields[0]:
            # A path alone: a directory, or with "-" a tar.
            fields = ["type=tar", "dest=-"] if fields[0] == "-" else ["type=local", f"dest={fields[0]}"]
        attrs = dict(field.partition("=")[::2] for field in fields)
        self.kind, self.place = attrs.pop("type", ""), attrs.pop("dest", "")
        self.names = [name for name in attrs.pop("name", "").split(",") if name]
        self.rewrites = attrs.pop("rewrite-timestamp", "") == "true"
        self.push = self.kind == "registry" or attrs.pop("push", "") == "true"
        if self.kind not in _KINDS:
            raise Exit(
                1, f"unsupported output type {self.kind!r} (local, tar, docker, oci, image, registry, cacheonly)"
            )
        if self.kind in ("local", "tar", "oci") and not self.place:
            raise Exit(1, f"dest is required for {self.kind} exporter")

    @property
    def is_brought(self) -> bool:
        """Whether something of the image comes here."""
        return bool(self.place) and self.kind in ("local", "tar", *_ARCHIVES)


def bring(context: Context, output: Output, identifier: str) -> None:
    """Writes what was asked for. Raises what the engine says."""
    call = images.save([identifier]) if output.kind in _ARCHIVES else images.files(identifier)
    pieces = context.engine.stream(call)
    if output.kind == "local":
        _unpack(pieces, output.place)
    elif output.place == "-":
        _copy(pieces, sys.stdout.buffer)
    else:
        with open(output.place, "wb") as file:
            _copy(pieces, file)


def _copy(pieces: Iterator[bytes], out: IO[bytes]) -> None:
    for piece in pieces:
        out.write(piece)
    out.flush()


class _Reader:
    """Pieces as a file to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _unpack(pieces: Iterator[bytes], directory: str) -> None:
    """Files of an image belong to whoever asks for them, and stay below `directory`."""
    os.makedirs(directory, exist_ok=True)
    with tarfile.open(fileobj=_Reader(pieces), mode="r|") as archive:  # type: ignore[call-overload]
        for member in archive:
            if member.isdev():
                continue
            member.uid, member.gid = os.getuid(), os.getgid()
            member.uname = member.gname = ""
            archive.extract(member, directory, filter="tar")
