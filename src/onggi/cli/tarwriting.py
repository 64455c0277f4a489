"""A tar of a context, written by hand: a header costs a fifth of tarfile's, and a context may have a hundred thousand files.

POSIX pax (IEEE Std 1003.1, pax, "pax Interchange Format"): what a ustar header can't say, nanoseconds and long names among it, stands in
an extended header before it.
"""

from __future__ import annotations

import os
import stat
import struct

from onggi.cli.command import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 512
_pack = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x").pack
_OWNER = b"0000000\0"
_MAGIC = b"ustar\x0000"
_NAME_LIMIT = 100
_SIZE_LIMIT = 8 << 30
"""Eleven octal digits."""

_PIECE = 1 << 18
_REGULAR, _HARD, _LINK, _CHARACTER, _BLOCKS, _DIRECTORY, _FIFO, _EXTENDED = (
    b"0",
    b"1",
    b"2",
    b"3",
    b"4",
    b"5",
    b"6",
    b"x",
)
_KINDS = {
    stat.S_IFREG: _REGULAR, stat.S_IFLNK: _LINK, stat.S_IFCHR: _CHARACTER, stat.S_IFBLK: _BLOCKS, stat.S_IFDIR: _DIRECTORY, stat.S_IFIFO: _FIFO,
}  # fmt: skip


class TarWriter:
    """Gives the archive in pieces. Owners are root, as docker's client sends them."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._size = 0
        self._links: dict[tuple[int, int], bytes] = {}

    def data(self, name: str, data: bytes, mode: int) -> Iterator[bytes]:
        """A file that is on no disk."""
        self._put(_header(os.fsencode(name), _REGULAR, mode, len(data), 0) + data + _padding(len(data)))
        yield from self._full()

    def file(self, path: str, name: str, status: os.stat_result) -> Iterator[bytes]:
        """What is at `path`, by lstat; nothing for a socket. Raises OSError, Exit for a file that gets shorter meanwhile."""
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return
        encoded, mode = os.fsencode(name), stat.S_IMODE(status.st_mode)
        first = self._links.setdefault((status.st_dev, status.st_ino), encoded) if status.st_nlink > 1 else encoded
        if kind == _REGULAR and first != encoded:
            self._put(_header(encoded, _HARD, mode, 0, status.st_mtime_ns, first))
        elif kind == _REGULAR:
            self._put(_header(encoded, kind, mode, status.st_size, status.st_mtime_ns))
            yield from self._body(path, status.st_size)
        else:
            link = os.fsencode(os.readlink(path)) if kind == _LINK else b""
            encoded += b"/" if kind == _DIRECTORY else b""
            self._put(_header(encoded, kind, mode, 0, status.st_mtime_ns, link, status.st_rdev))
        yield from self._full()

    def end(self) -> Iterator[bytes]:
        self._put(bytes(2 * _BLOCK))
        yield b"".join(self._pending)

    def _body(self, path: str, size: int) -> Iterator[bytes]:
        left = size
        with open(path, "rb", buffering=0) as file:
            while left:
                piece = file.read(min(left, _PIECE))
                if not piece:
                    raise Exit(1, f"{path} got shorter while it was being sent")
                self._put(piece)
                left -= len(piece)
                yield from self._full()
        self._put(_padding(size))

    def _put(self, data: bytes) -> None:
        self._pending.append(data)
        self._size += len(data)

    def _full(self) -> Iterator[bytes]:
        if self._size >= _PIECE:
            yield b"".join(self._pending)
            self._pending, self._size = [], 0


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _header(name: bytes, kind: bytes, mode: int, size: int, mtime_ns: int, link: bytes = b"", device: int = 0) -> bytes:
    records: dict[str, bytes] = {}
    seconds, fraction = divmod(mtime_ns, 10**9)
    if fraction or seconds < 0:
        records["mtime"] = f"{mtime_ns / 10**9:.9f}".encode() if seconds < 0 else b"%d.%09d" % (seconds, fraction)
    if len(name) > _NAME_LIMIT:
        records["path"] = name
    if len(link) > _NAME_LIMIT:
        records["linkpath"] = link
    if size >= _SIZE_LIMIT:
        records["size"] = b"%d" % size
    block = _block(name[:_NAME_LIMIT], kind, mode, size % _SIZE_LIMIT, max(0, seconds), link[:_NAME_LIMIT], device)
    return _extended(records) + block if records else block


def _extended(records: dict[str, bytes]) -> bytes:
    if any(not _is_utf8(value) for value in records.values()):
        records = {"hdrcharset": b"BINARY", **records}
    body = b"".join(_record(name.encode(), value) for name, value in records.items())
    return _block(b"././@PaxHeader", _EXTENDED, 0o644, len(body), 0) + body + _padding(len(body))


def _record(name: bytes, value: bytes) -> bytes:
    """Its length, which counts its own digits, then the rest."""
    rest = len(name) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, name, value)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _block(name: bytes, kind: bytes, mode: int, size: int, seconds: int, link: bytes = b"", device: int = 0) -> bytes:
    block = bytearray(
        _pack(
            name, b"%07o\0" % mode, _OWNER, _OWNER, b"%011o\0" % size, b"%011o\0" % seconds, b" " * 8, kind, link, _MAGIC, b"", b"",
            b"%07o\0" % os.major(device), b"%07o\0" % os.minor(device), b"",
        )
    )  # fmt: skip
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
