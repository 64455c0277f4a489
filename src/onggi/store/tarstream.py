"""A tree as a tar: an overlay's upper directory as a layer, or a plain tree for `export` and `cp`.

Deterministic: the same tree gives the same bytes, whenever and in whatever order its files were made: entries by name,
the first name of a hard link has the data, whiteouts have no time of their own. Walks by descriptors, follows no link, holds
no file in memory.

The tree may change meanwhile (a running container's): a file that shrinks is filled up with zeros, one that grows is cut, one
that goes away is left out.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from onggi.store import tarformat, tarparse
from onggi.store.tarparse import Member
from onggi.store.unpack import OPAQUE_NAME, OPAQUE_XATTR, WHITEOUT_PREFIX, is_whiteout

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PIECE: Final = 256 * 1024
_KEPT_XATTRS: Final = frozenset({"security.capability", "system.posix_acl_access", "system.posix_acl_default"})

_TYPES: Final = {
    stat.S_IFREG: tarparse.FILE,
    stat.S_IFDIR: tarparse.DIRECTORY,
    stat.S_IFLNK: tarparse.SYMLINK,
    stat.S_IFIFO: tarparse.FIFO,
    stat.S_IFCHR: tarparse.CHAR_DEVICE,
    stat.S_IFBLK: tarparse.BLOCK_DEVICE,
}
"""Sockets are missing: tar has no type for them, and they mean nothing elsewhere."""


class Sink:
    """Where the archive goes: collected into large writes, digested on the way if asked."""

    def __init__(self, fd: int | None, *, digest: bool = False) -> None:
        self._fd = fd
        self._hash = hashlib.sha256() if digest else None
        self._buffer = bytearray()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= _PIECE:
            self.flush()

    def copy(self, fd: int, size: int) -> None:
        """`size` bytes of the file `fd`; what it lacks is zeros."""
        if self._hash is None and self._fd is not None and size >= _PIECE:
            self.flush()
            offset = 0
            while offset < size and (sent := os.sendfile(self._fd, fd, offset, min(size - offset, 1 << 30))):
                offset += sent
            self.size += offset
            size -= offset
        else:
            while size and (piece := os.read(fd, min(size, _PIECE))):
                self.write(piece)
                size -= len(piece)
        while size:
            self.write(bytes(min(size, _PIECE)))
            size -= min(size, _PIECE)

    def flush(self) -> None:
        if not self._buffer:
            return
        self.size += len(self._buffer)
        if self._hash is not None:
            self._hash.update(self._buffer)
        if self._fd is not None:
            left = memoryview(self._buffer)
            while left:
                left = left[os.write(self._fd, left) :]
            left.release()
        self._buffer = bytearray()

    def hexdigest(self) -> str:
        """Of all that was flushed. Holds: made with digest=True."""
        if self._hash is None:
            raise ValueError("this sink has no digest")
        return self._hash.hexdigest()


@dataclass(slots=True)
class Packing:
    """How a tree becomes an archive.

    whiteouts: overlayfs' signs become `.wh.` files, and names of that form are left out.
    stay: another file system that is mounted below is an empty directory or file in the archive.
    owner: maps a file's owner.
    enter: what is at a path instead of what the tree has there (a volume joined in); a descriptor that stays the caller's.
    """

    whiteouts: bool = False
    stay: bool = False
    owner: Callable[[int, int], tuple[int, int]] | None = None
    enter: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Packer:
    """Writes trees into one archive. `entries` and `files_size` count what was written."""

    sink: Sink
    packing: Packing = field(default_factory=Packing)
    entries: int = 0
    files_size: int = 0
    _links: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def tree(self, fd: int, name: bytes, path: str = "") -> None:
        """The directory `fd` as `name` (without a slash at its end; b"." for the root) and all below it.

        `path` is where it is in the tree that `Packing.enter` speaks of, "" for its root.
        """
        status = os.fstat(fd)
        self._directory(fd, name, status)
        stack = [(fd, name, path, iter(self._names(fd)))]
        device = status.st_dev
        try:
            while stack:
                above, prefix, at, names = stack[-1]
                entry = next(names, None)
                if entry is None:
                    stack.pop()
                    if above != fd:
                        os.close(above)
                    continue
                inside = f"{at}/{entry}" if at else entry
                member_name = os.fsencode(entry) if prefix == b"." else prefix + b"/" + os.fsencode(entry)
                opened = self._entry(above, entry, member_name, inside, device)
                if opened is not None:
                    stack.append((opened, member_name, inside, iter(self._names(opened))))
        finally:
            for above, _, _, _ in stack:
                if above != fd:
                    os.close(above)

    def file(self, parent: int, entry: str, name: bytes) -> None:
        """One entry that is no directory."""
        self._entry(parent, entry, name, entry, None)

    def end(self) -> None:
        self.sink.write(tarformat.END)
        self.sink.flush()

    def _entry(self, parent: int, entry: str, name: bytes, path: str, device: int | None) -> int | None:
        """Writes one entry; a directory comes back opened, to be gone through."""
        joined = self.packing.enter.get(path)
        try:
            status = os.fstat(joined) if joined is not None else os.lstat(entry, dir_fd=parent)
        except FileNotFoundError:
            return None
        if self.packing.whiteouts:
            if is_whiteout(status):
                directory, _, last = name.rpartition(b"/")
                hidden = os.fsencode(WHITEOUT_PREFIX) + last
                self._empty(directory + b"/" + hidden if directory else hidden)
                return None
            if entry.startswith(WHITEOUT_PREFIX):
                return None
        foreign = self.packing.stay and device is not None and status.st_dev != device
        if stat.S_ISDIR(status.st_mode):
            return self._enter(parent, entry, name, joined, foreign=foreign)
        if joined is not None or (foreign and stat.S_ISREG(status.st_mode)):
            self._plain(name, status, joined)
        elif stat.S_ISREG(status.st_mode):
            self._file(parent, entry, name, status)
        elif stat.S_IFMT(status.st_mode) in _TYPES:
            self._special(parent, entry, name, status)
        return None

    def _enter(self, parent: int, entry: str, name: bytes, joined: int | None, *, foreign: bool) -> int | None:
        try:
            fd = os.open(entry if joined is None else ".", _DIRECTORY, dir_fd=parent if joined is None else joined)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            self._directory(fd, name, os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        if foreign:
            os.close(fd)
            return None
        return fd

    def _names(self, fd: int) -> list[str]:
        return sorted(os.listdir(fd), key=os.fsencode)

    def _directory(self, fd: int, name: bytes, status: os.stat_result) -> None:
        xattrs, opaque = self._xattrs(fd)
        self._write(self._member(name + b"/", tarparse.DIRECTORY, status, xattrs=xattrs))
        if opaque and self.packing.whiteouts:
            opaque_name = os.fsencode(OPAQUE_NAME)
            self._empty(opaque_name if name == b"." else name + b"/" + opaque_name)

    def _file(self, parent: int, entry: str, name: bytes, status: os.stat_result) -> None:
        if status.st_nlink > 1:
            first = self._links.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                self._write(self._member(name, tarparse.HARD_LINK, status, link=first))
                return
        try:
            fd = os.open(entry, _FILE, dir_fd=parent)
        except (FileNotFoundError, OSError) as error:
            if isinstance(error, FileNotFoundError) or self._gone(parent, entry, status):
                return
            raise
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return
            self._contents(fd, name, status)
        finally:
            os.close(fd)

    def _gone(self, parent: int, entry: str, status: os.stat_result) -> bool:
        """Whether the file that couldn't be opened has been swapped for something else meanwhile."""
        try:
            now = os.lstat(entry, dir_fd=parent)
        except FileNotFoundError:
            return True
        return (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino)

    def _contents(self, fd: int, name: bytes, status: os.stat_result) -> None:
        xattrs, _ = self._xattrs(fd)
        member = self._member(name, tarparse.FILE, status, xattrs=xattrs, size=status.st_size)
        self._write(member)
        self.sink.copy(fd, member.size)
        if member.padding:
            self.sink.write(bytes(member.padding))
        self.files_size += member.size

    def _plain(self, name: bytes, status: os.stat_result, joined: int | None) -> None:
        """A file that another one is mounted over (empty), or one joined in."""
        if joined is None:
            self._write(self._member(name, tarparse.FILE, status))
            return
        fd = os.open(f"/proc/self/fd/{joined}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._contents(fd, name, os.fstat(fd))
        finally:
            os.close(fd)

    def _special(self, parent: int, entry: str, name: bytes, status: os.stat_result) -> None:
        kind = _TYPES[stat.S_IFMT(status.st_mode)]
        link = b""
        if kind == tarparse.SYMLINK:
            try:
                link = os.fsencode(os.readlink(entry, dir_fd=parent))
            except OSError:
                return
        self._write(self._member(name, kind, status, link=link))

    def _empty(self, name: bytes) -> None:
        self._write(Member(name=name, type=tarparse.FILE, mode=0o600, uid=0, gid=0, size=0, mtime_ns=0))

    def _member(
        self,
        name: bytes,
        kind: bytes,
        status: os.stat_result,
        *,
        link: bytes = b"",
        xattrs: dict[bytes, bytes] | None = None,
        size: int = 0,
    ) -> Member:
        uid, gid = status.st_uid, status.st_gid
        if self.packing.owner:
            uid, gid = self.packing.owner(uid, gid)
        device = kind in {tarparse.CHAR_DEVICE, tarparse.BLOCK_DEVICE}
        return Member(
            name=name,
            type=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=uid,
            gid=gid,
            size=size,
            mtime_ns=status.st_mtime_ns,
            link=link,
            major=os.major(status.st_rdev) if device else 0,
            minor=os.minor(status.st_rdev) if device else 0,
            xattrs=xattrs or {},
        )

    def _write(self, member: Member) -> None:
        self.entries += 1
        self.sink.write(tarformat.header(member))

    def _xattrs(self, fd: int) -> tuple[dict[bytes, bytes], bool]:
        """Those that belong in an archive, and whether the directory is opaque."""
        try:
            names = os.listxattr(fd)
        except OSError:
            return {}, False
        if not names:
            return {}, False
        found = {}
        for name in names:
            if name in _KEPT_XATTRS or (name.startswith("user.") and not name.startswith("user.overlay.")):
                found[os.fsencode(name)] = os.getxattr(fd, name)
        return found, OPAQUE_XATTR in names and os.getxattr(fd, OPAQUE_XATTR) == b"y"
