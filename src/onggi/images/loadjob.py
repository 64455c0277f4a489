"""Runs in a worker process: an image archive's files, each under a number of our own, with its size and digest.

A name in the archive is a key in a table and never a path (S-52). Descriptors: the archive as it comes, packed in any known
way, and an empty directory.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from typing import Final

import msgspec

from onggi.errors import Corrupt
from onggi.oci.digest import Digest, DigestField
from onggi.store import tarparse
from onggi.store.compression import PIECE_BYTES, open_reader
from onggi.store.tarread import TarReader
from onggi.store.unpack import Limits
from onggi.store.worker import Report

_ENTRIES_LIMIT: Final = 100_000
_LINKS_FOLLOWED: Final = 8


class Receive(msgspec.Struct, frozen=True):
    limits: Limits = Limits()


class Spooled(msgspec.Struct, frozen=True):
    """A file of the archive: its bytes are in the directory under `number`."""

    number: int
    size: int
    digest: DigestField


class Received(msgspec.Struct, frozen=True):
    files: dict[str, Spooled]


def receive(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """Answers `Received`. Raises Corrupt, OSError."""
    request = msgspec.msgpack.decode(args, type=Receive)
    return msgspec.msgpack.encode(_Receiver(fds[0], fds[1], request.limits).run())


class _Receiver:
    def __init__(self, source: int, directory: int, limits: Limits) -> None:
        self._source, self._directory, self._limits = source, directory, limits
        self._packed = self._unpacked = 0
        _, self._reader = open_reader(self)

    def read(self, size: int, /) -> bytes:
        """The archive's packed bytes, counted: for the decoder."""
        data = os.read(self._source, size)
        self._packed += len(data)
        return data

    def run(self) -> Received:
        tar = TarReader(self._more)
        files: dict[str, Spooled] = {}
        links: dict[str, str] = {}
        count = 0
        while (member := tar.next()) is not None:
            count += 1
            if count > _ENTRIES_LIMIT:
                raise Corrupt(f"the archive has more than {_ENTRIES_LIMIT} entries: this is no image")
            name = clean_name(member.name)
            if member.type == tarparse.FILE:
                files[name] = self._spool(count, tar, member)
            elif member.type == tarparse.SYMLINK:
                links[name] = clean_name(os.fsencode(posixpath.dirname(name)) + b"/" + member.link)
            elif member.type == tarparse.HARD_LINK:
                links[name] = clean_name(member.link)
        tar.drain()
        # Old archives name a layer that two images share by a link to the other's.
        for name, target in links.items():
            for _ in range(_LINKS_FOLLOWED):
                if target in files:
                    files.setdefault(name, files[target])
                    break
                target = links.get(target, "")  # noqa: PLW2901 - that is what following means
        return Received(files)

    def _more(self) -> bytes:
        piece = self._reader.read(PIECE_BYTES)
        self._unpacked += len(piece)
        limits = self._limits
        if self._unpacked > min(limits.total_bytes, max(limits.ratio_from_bytes, self._packed * limits.ratio)):
            raise Corrupt(f"the archive unpacks to more than {limits.ratio} times its {self._packed} bytes")
        return piece

    def _spool(self, number: int, tar: TarReader, member: tarparse.Member) -> Spooled:
        if member.is_sparse:
            raise Corrupt("the archive has sparse files: no tool writes images so")
        hasher = hashlib.sha256()
        fd = os.open(str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._directory)
        try:
            for _, piece in tar.data(member):
                hasher.update(piece)
                view = piece
                while view:
                    view = view[os.write(fd, view) :]
        finally:
            os.close(fd)
        return Spooled(number, member.size, Digest("sha256:" + hasher.hexdigest()))


def clean_name(name: bytes) -> str:
    """Without `.`, `..` and slashes at the ends. Pure; `..` above the root stays at the root."""
    return posixpath.normpath("/" + os.fsdecode(name)).lstrip("/")
