"""Runs in a worker process: walks the tree of an image for the databases of its packages. Descriptor: the tree.

Rights: root; opens what is below the descriptor only, without following links (S-49), and no file above 64 MiB.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from onggi.build.exporters import packages
from onggi.build.exporters.packages import Package
from onggi.kernel.fds import Fd
from onggi.kernel.paths import Resolve, openat2
from onggi.store.worker import Report

_FILE_LIMIT: Final = 64 * 1024 * 1024
_ENTRIES_LIMIT: Final = 3_000_000
_NOT_PACKAGES: Final = frozenset({"proc", "sys", "dev"})

Reader = Callable[[str, str], list[Package]]


class Found(msgspec.Struct):
    """`distribution` is os-release's ID."""

    distribution: str
    packages: list[Package]


def scan(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """Answers `Found`. What can't be read is as if it weren't there. Raises OSError for the tree itself."""
    (tree,) = fds
    found: list[Package] = []
    for path, read in _databases(tree):
        text = _text(tree, path)
        if text is not None:
            found += read(text, f"/{path}")
    return msgspec.msgpack.encode(Found(_distribution(tree), found))


def _databases(tree: int) -> Iterator[tuple[str, Reader]]:
    entries = 0
    for directory, names, files, _ in os.fwalk(".", dir_fd=tree):
        place = directory.removeprefix("./").removeprefix(".")
        entries += len(files)
        if entries > _ENTRIES_LIMIT:
            return
        if not place:
            names[:] = [name for name in names if name not in _NOT_PACKAGES]
        names.sort()
        for name in sorted(files):
            reader = _reader(place, name)
            if reader is not None:
                yield f"{place}/{name}" if place else name, reader


def _reader(place: str, name: str) -> Reader | None:
    if (place, name) == ("var/lib/dpkg", "status") or place == "var/lib/dpkg/status.d":
        return packages.from_dpkg if not name.endswith(".md5sums") else None
    if name == "installed" and place in ("lib/apk/db", "usr/lib/apk/db"):
        return packages.from_apk
    if (name == "METADATA" and place.endswith(".dist-info")) or (name == "PKG-INFO" and place.endswith(".egg-info")):
        return packages.from_metadata
    if name == "package.json":
        above = place.rsplit("/", 2)
        in_modules = above[-2:-1] == ["node_modules"] or (above[-2:-1] or [""])[0].startswith("@")
        return packages.from_npm if in_modules else None
    return None


def _text(tree: int, path: str) -> str | None:
    with contextlib.suppress(OSError):
        flags = os.O_RDONLY | os.O_NONBLOCK
        with openat2(tree, path, flags, Resolve.BENEATH | Resolve.NO_SYMLINKS) as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_size <= _FILE_LIMIT:
                return _all(file, status.st_size).decode("utf-8", "replace")
    return None


def _all(file: Fd, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := os.pread(file.fileno(), size - len(data), len(data))):
        data += piece
    return data


def _distribution(tree: int) -> str:
    for path in ("usr/lib/os-release", "etc/os-release"):
        for line in (_text(tree, path) or "").splitlines():
            if line.startswith("ID="):
                name = line[3:].strip().strip("\"'")
                return name if name.isascii() and name.replace("-", "").isalnum() else ""
    return ""
