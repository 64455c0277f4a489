"""A tree as a tar: an overlay's upper directory as a layer, or a plain tree for `export` and `cp`.

Deterministic: the same tree gives the same bytes, whenever and in whatever order its files were made: entries by name,
the first name of a hard link has the data, whiteouts have no time of their own. Walks by descriptors, follows no link, holds
no file in memory, and opens nothing before it is known to be a regular file.

The tree may change meanwhile (a running container's): a file that shrinks is filled up with zeros, one that grows is cut, one
that goes away is left out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from onggi.store import tarformat, tarparse
from onggi.store.sink import Sink
from onggi.store.tarparse import Member
from onggi.store.unpack import OPAQUE_NAME, OPAQUE_XATTR, WHITEOUT_PREFIX, is_whiteout

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANYTHING: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
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


@dataclass(slots=True)
class Packing:
    """How a tree becomes an archive.

    whiteouts: overlayfs' signs become `.wh.` files, and names of that form are left out.
    stay: another file system that is mounted below is an empty directory or file in the archive, but for the paths in `cross`.
    root_entry: the tree's own directory is an entry.
    owner: maps a file's owner.
    latest_ns: no time in the archive is later.
    enter: what is at a path instead of what the tree has there (a volume joined in); a descriptor that stays the caller's.
    """

    whiteouts: bool = False
    stay: bool = False
    cross: frozenset[str] = frozenset()
    root_entry: bool = True
    owner: Callable[[int, int], tuple[int, int]] | None = None
    latest_ns: int | None = None
    enter: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Level:
    """A directory on the way down: what is left of it, and what its entries' names begin with."""

    fd: int
    prefix: bytes
    path: str
    device: int
    names: Iterator[str]


@dataclass(slots=True)
class Packer:
    """Writes trees into one archive. `entries` and `files_size` count what was written."""

    sink: Sink
    packing: Packing = field(default_factory=Packing)
    entries: int = 0
    files_size: int = 0
    _links: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def tree(self, fd: int, name: bytes = b".", prefix: bytes = b"", path: str = "") -> None:
        """The directory `fd`, as an entry called `name`, and all below it, each called `prefix` and its path from there.

        `path` is where `fd` is in the tree that `Packing.enter` and `cross` speak of, "" for its root.
        """
        status = os.fstat(fd)
        if self.packing.root_entry:
            self._directory(fd, name, prefix, status)
        stack = [_Level(fd, prefix, path, status.st_dev, iter(_names(fd)))]
        try:
            while stack:
                level = stack[-1]
                entry = next(level.names, None)
                if entry is None:
                    stack.pop()
                    if level.fd != fd:
                        os.close(level.fd)
                    continue
                deeper = self._entry(level, entry)
                if deeper is not None:
                    stack.append(deeper)
        finally:
            for level in stack:
                if level.fd != fd:
                    os.close(level.fd)

    def single(self, fd: int, name: bytes) -> None:
        """What `fd` (O_PATH) is, as one entry; no directory."""
        self._plain(fd, name, os.fstat(fd))

    def end(self) -> None:
        self.sink.write(tarformat.END)
        self.sink.end()

    def _entry(self, level: _Level, entry: str) -> _Level | None:
        """Writes one entry; a directory comes back opened, to be gone through."""
        packing = self.packing
        if packing.whiteouts and entry.startswith(WHITEOUT_PREFIX):
            return None
        path = f"{level.path}/{entry}" if level.path else entry
        joined = packing.enter.get(path)
        try:
            fd = os.dup(joined) if joined is not None else os.open(entry, _ANYTHING, dir_fd=level.fd)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(fd)
            crossed = joined is not None or path in packing.cross
            foreign = packing.stay and status.st_dev != level.device and not crossed
            if stat.S_ISDIR(status.st_mode):
                return self._subdirectory(fd, level.prefix + os.fsencode(entry), path, foreign=foreign)
            if packing.whiteouts and is_whiteout(status):
                self._empty(level.prefix + os.fsencode(WHITEOUT_PREFIX + entry))
            elif foreign:
                # The file that something is mounted over can't be seen: an empty one stands for it.
                if stat.S_ISREG(status.st_mode):
                    self._write(self._member(level.prefix + os.fsencode(entry), tarparse.FILE, status))
            else:
                self._plain(fd, level.prefix + os.fsencode(entry), status)
        finally:
            os.close(fd)
        return None

    def _subdirectory(self, fd: int, name: bytes, path: str, *, foreign: bool) -> _Level | None:
        opened = os.open(".", _DIRECTORY, dir_fd=fd)
        try:
            status = os.fstat(opened)
            self._directory(opened, name, name + b"/", status)
            if not foreign:
                return _Level(opened, name + b"/", path, status.st_dev, iter(_names(opened)))
        except BaseException:
            os.close(opened)
            raise
        os.close(opened)
        return None

    def _directory(self, fd: int, name: bytes, prefix: bytes, status: os.stat_result) -> None:
        xattrs, opaque = self._xattrs(fd)
        self._write(self._member(name + b"/", tarparse.DIRECTORY, status, xattrs=xattrs))
        if opaque and self.packing.whiteouts:
            self._empty(prefix + os.fsencode(OPAQUE_NAME))

    def _plain(self, fd: int, name: bytes, status: os.stat_result) -> None:
        """Anything but a directory. `fd` is O_PATH: the file is opened only now that it is known to be one."""
        if stat.S_ISREG(status.st_mode):
            if status.st_nlink > 1:
                first = self._links.setdefault((status.st_dev, status.st_ino), name)
                if first != name:
                    self._write(self._member(name, tarparse.HARD_LINK, status, link=first))
                    return
            opened = os.open(f"/proc/self/fd/{fd}", _FILE)
            try:
                self._contents(opened, name, os.fstat(opened))
            finally:
                os.close(opened)
            return
        kind = _TYPES.get(stat.S_IFMT(status.st_mode))
        if kind is not None:
            link = os.fsencode(os.readlink("", dir_fd=fd)) if kind == tarparse.SYMLINK else b""
            self._write(self._member(name, kind, status, link=link))

    def _contents(self, fd: int, name: bytes, status: os.stat_result) -> None:
        xattrs, _ = self._xattrs(fd)
        member = self._member(name, tarparse.FILE, status, xattrs=xattrs, size=status.st_size)
        self._write(member)
        self.sink.copy(fd, member.size)
        if member.padding:
            self.sink.write(bytes(member.padding))
        self.files_size += member.size

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
        latest = self.packing.latest_ns
        return Member(
            name=name,
            type=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=uid,
            gid=gid,
            size=size,
            mtime_ns=status.st_mtime_ns if latest is None else min(status.st_mtime_ns, latest),
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


def _names(fd: int) -> list[str]:
    return sorted(os.listdir(fd), key=os.fsencode)
