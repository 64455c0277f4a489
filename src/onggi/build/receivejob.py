"""Runs in a worker process: a context's tar becomes one file of bodies and an index, in one pass, each body digested on the way.

Nothing of the context becomes a file of its own: a link in it leads nowhere, a name in it is only a word (S-49). Descriptors:
the archive as it comes, packed in any known way, and the spool.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

import msgspec

from onggi.build.entries import DIRECTORY, FIFO, FILE, SYMLINK, Entry, Received
from onggi.errors import Corrupt
from onggi.store import tarparse
from onggi.store.compression import PIECE_BYTES, Compression, Reader, open_reader
from onggi.store.tarparse import Member
from onggi.store.tarread import TarReader
from onggi.store.unpack import Limits
from onggi.store.worker import Report

_FLUSH_BYTES: Final = 1024 * 1024
_ENTRIES_LIMIT: Final = 1_000_000
_DEPTH_LIMIT: Final = 512
_KINDS: Final = {
    tarparse.FILE: FILE,
    tarparse.DIRECTORY: DIRECTORY,
    tarparse.SYMLINK: SYMLINK,
    tarparse.FIFO: FIFO,
}


class Receive(msgspec.Struct, frozen=True):
    """`plain` names the one file that the stream is when it is no archive (a Dockerfile from a URL); "" refuses that."""

    plain: str = ""
    limits: Limits = Limits()


def receive(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """Answers `Received`. Raises Corrupt, OSError."""
    request = msgspec.msgpack.decode(args, type=Receive)
    source, spool = fds
    try:
        return msgspec.msgpack.encode(_Receiver(source, spool, request).run())
    except BaseException:
        # This process holds the file a moment longer than whoever hears of the error.
        os.ftruncate(spool, 0)
        raise


class _Source:
    """The packed bytes, counted."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.packed = 0

    def read(self, size: int, /) -> bytes:
        data = os.read(self._fd, size)
        self.packed += len(data)
        return data


class _Receiver:
    def __init__(self, source: int, spool: int, request: Receive) -> None:
        self._source = _Source(source)
        self._limits = request.limits
        self._plain = request.plain
        self._spool = spool
        self._buffer = bytearray()
        self._written = 0
        self._unpacked = 0
        self._reader: Reader | None = None
        self._head = b""

    def run(self) -> Received:
        compression, self._reader = open_reader(self._source)
        self._head = self._pull()
        if self._plain and compression is Compression.NONE and not _is_tar(self._head):
            return self._one_file()
        tar = TarReader(self._more)
        entries: list[Entry] = []
        while (member := tar.next()) is not None:
            if len(entries) >= _ENTRIES_LIMIT:
                raise Corrupt(f"the build context has more than {_ENTRIES_LIMIT} entries")
            entry = self._entry(member, tar)
            if entry is not None:
                entries.append(entry)
        # The client may still be writing the padding of its last record.
        tar.drain()
        self._flush()
        return Received(entries, self._unpacked)

    def _pull(self) -> bytes:
        if self._reader is None:
            return b""
        piece = self._reader.read(PIECE_BYTES)
        self._unpacked += len(piece)
        limits = self._limits
        if self._unpacked > max(limits.ratio_from_bytes, self._source.packed * limits.ratio):
            raise Corrupt(
                f"the build context unpacks to more than {limits.ratio} times its {self._source.packed} bytes"
            )
        return piece

    def _more(self) -> bytes:
        piece, self._head = self._head, b""
        return piece or self._pull()

    def _one_file(self) -> Received:
        hasher = hashlib.sha256()
        while piece := self._more():
            hasher.update(piece)
            self._append(piece)
        self._flush()
        entry = Entry(self._plain, FILE, 0o644, 0, self._written, 0, hasher.digest())
        return Received([entry], self._unpacked)

    def _entry(self, member: Member, tar: TarReader) -> Entry | None:
        path = clean_path(member.name)
        mode = member.mode & 0o7777
        if member.type == tarparse.HARD_LINK:
            return Entry(path, FILE, mode, member.mtime_ns, link=clean_path(member.link), inode=-1)
        kind = _KINDS.get(member.type)
        if kind is None:
            return None
        entry = Entry(path, kind, mode, member.mtime_ns)
        if kind == FILE:
            self._body(entry, member, tar)
        elif kind == SYMLINK:
            entry.link = text(member.link)
        if member.xattrs:
            entry.xattrs = {name: value for name, value in member.xattrs.items() if _kept(name)}
        return entry

    def _body(self, entry: Entry, member: Member, tar: TarReader) -> None:
        hasher = hashlib.sha256()
        entry.offset = self._written + len(self._buffer)
        position = 0
        for offset, piece in tar.data(member):
            # A hole is zeros to whoever reads the file, and to its digest.
            while position < offset:
                zeros = bytes(min(offset - position, _FLUSH_BYTES))
                hasher.update(zeros)
                self._append(zeros)
                position += len(zeros)
            hasher.update(piece)
            self._append(piece)
            position += len(piece)
        size = member.real_size if member.is_sparse else member.size
        while position < size:
            zeros = bytes(min(size - position, _FLUSH_BYTES))
            hasher.update(zeros)
            self._append(zeros)
            position += len(zeros)
        entry.size = position
        entry.digest = hasher.digest()

    def _append(self, piece: bytes | memoryview) -> None:
        self._buffer += piece
        if len(self._buffer) >= _FLUSH_BYTES:
            self._flush()
        if self._written > self._limits.total_bytes:
            raise Corrupt(f"the build context unpacks to more than {self._limits.total_bytes} bytes")

    def _flush(self) -> None:
        left = memoryview(self._buffer)
        while left:
            left = left[os.write(self._spool, left) :]
        left.release()
        self._written += len(self._buffer)
        self._buffer = bytearray()


def _is_tar(head: bytes) -> bool:
    """New and GNU archives say so at 257; older ones have a checksum in octal."""
    if len(head) < tarparse.BLOCK:
        return False
    return head[257:262] == b"ustar" or head[148:154].strip(b" \0").isdigit()


def _kept(name: bytes) -> bool:
    return name == b"security.capability" or (name.startswith(b"user.") and not name.startswith(b"user.overlay."))


def text(raw: bytes) -> str:
    """A name as text. msgpack's strings are UTF-8: what isn't comes as Latin-1 in a private range (`raw_name` undoes it)."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(chr(0xF700 + byte) if byte >= 0x80 else chr(byte) for byte in raw)


def clean_path(raw: bytes) -> str:
    """Raises Corrupt for a path that leads out of the context."""
    parts: list[str] = []
    for part in text(raw).split("/"):
        if part == "..":
            if not parts:
                raise Corrupt(f"tar: {raw!r} leads out of the build context")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if len(parts) > _DEPTH_LIMIT:
        raise Corrupt(f"tar: a path with {len(parts)} elements (at most {_DEPTH_LIMIT})")
    return "/".join(parts)
