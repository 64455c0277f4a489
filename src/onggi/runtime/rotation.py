"""A log's older files: `log.1` is the last one before the live file; `log.1.gz` when it is compressed.

A reader that holds a file reads it to its end, also when it is no longer kept: files are renamed and replaced, never cut
(R-21). A compressed file says in its header what it was made of (inode, size, time of the last write), so that a reader that
holds that one knows it again; the inode alone may be another file's by then.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from typing import Final

from onggi.kernel import process

SUFFIX: Final = ".gz"
_PIECE: Final = 256 * 1024
_HEADER: Final = struct.Struct("<2sBBIBB")
_NAMED: Final = 8


def shift(path: str, max_file: int) -> None:
    """Every file becomes one older, `max_file` stay with the live one that is to come. Raises OSError."""
    if max_file == 1:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    for suffix in ("", SUFFIX):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}.{max_file - 1}{suffix}")
    for number in range(max_file - 1, 1, -1):
        for suffix in ("", SUFFIX):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{path}.{number - 1}{suffix}", f"{path}.{number}{suffix}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, f"{path}.1")


def compress_beside(path: str) -> int:
    """Compress `path` in a process of its own, for 1 s of a processor a 60 MB; returns its pid, the caller's to reap.

    Raises OSError when there can be no process. A file that can't be compressed stays as it is.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        process.close_others([])
        os.nice(10)
        compress(path)
    finally:
        os._exit(0)


def compress(path: str) -> None:
    """`path` becomes `path`.gz: the whole of it is there before the old one goes. Raises OSError."""
    new = f"{path}{SUFFIX}.tmp"
    source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        target = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            _pack(source, target)
            os.rename(new, f"{path}{SUFFIX}")
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        finally:
            os.close(target)
        os.unlink(path)
    finally:
        os.close(source)


def _pack(source: int, target: int) -> None:
    """Gzip as RFC 1952 has it, with the identity as the file's name."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    _write(target, _HEADER.pack(b"\x1f\x8b", 8, _NAMED, 0, 0, 3) + identity(source) + b"\0")
    checksum = size = 0
    while block := os.read(source, _PIECE):
        checksum, size = zlib.crc32(block, checksum), size + len(block)
        _write(target, packer.compress(block))
    _write(target, packer.flush() + struct.pack("<II", checksum, size & 0xFFFFFFFF))


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def identity(fd: int) -> bytes:
    """Of a file that isn't written any more."""
    status = os.fstat(fd)
    return b"%d-%d-%d" % (status.st_ino, status.st_size, status.st_mtime_ns)


def origin(fd: int) -> bytes:
    """Identity of the file that a compressed one was made of; b"" when it doesn't say."""
    head = os.pread(fd, 128, 0)
    if len(head) <= _HEADER.size or not head[3] & _NAMED:
        return b""
    return head[_HEADER.size :].partition(b"\0")[0]
