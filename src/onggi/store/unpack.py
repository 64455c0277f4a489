"""A tar's members as files below one directory, and nowhere else.

Runs in a worker process (worker.py), as root: tars are written by strangers. tarparse.py says what a member is; every file is
made here, in a directory that is held open, by a name without slashes and with O_EXCL or its like, so that nothing that
the tar has made before (a link, a directory swapped for a link) leads anywhere (invariant 3 of the room). Which directory a
path means is `Directories`' business: in a layer links are followed as in a chroot, never out of it.

Order counts: chown clears setuid bits and file capabilities, so owner, mode, xattrs, time, in this order; a directory's time is
set when all is done.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from isal.isal_zlib import crc32

from onggi.errors import Corrupt, InvalidArgument
from onggi.kernel.namespaces import is_rootless
from onggi.store import checksum, tarparse
from onggi.store.remove import remove_entry
from onggi.store.tarparse import Member, shown
from onggi.store.tarread import TarReader

WHITEOUT_PREFIX: Final = ".wh."
OPAQUE_NAME: Final = ".wh..wh..opq"
_AUFS_PREFIX: Final = ".wh..wh."
OPAQUE_XATTR: Final = "user.overlay.opaque" if is_rootless() else "trusted.overlay.opaque"

_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_XATTRS: Final = frozenset({b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"})
"""Besides user.*: a layer that could set trusted.overlay.* would hide or redirect what lies below it."""

_SAFE_DEVICES: Final = frozenset({(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)})
"""null, zero, full, random, urandom, tty, console, ptmx: what root trees come with. Others are passed over: a device node in
an image is a way to the host's devices wherever the device cgroup is looser than the image's author should know. An
ordinary user makes none at all."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one archive may be: far above any real one, and low enough to stop a bomb before the disk is full."""

    entries: int = 3_000_000
    total_bytes: int = 1 << 40
    depth: int = 512
    ratio: int = 400
    """Unpacked to packed bytes, counted from `ratio_from_bytes` on. deflate can't do more than 1032."""
    ratio_from_bytes: int = 1 << 28


@dataclass(frozen=True, slots=True)
class Rules:
    """How members become files.

    whiteouts: `.wh.x` hides x of lower layers (image-spec, layer.md) and becomes overlayfs' own sign for it.
    root_metadata: an entry for the root itself sets the directory's owner and mode.
    keep_kind: a directory is not replaced by a file, nor a file by a directory (docker's noOverwriteDirNonDir).
    owner: all files belong to it, whatever the tar says.
    """

    whiteouts: bool = False
    root_metadata: bool = False
    keep_kind: bool = False
    owner: tuple[int, int] | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(slots=True)
class Tally:
    entries: int = 0
    size: int = 0
    skipped: int = 0
    """Device nodes and others that were passed over."""
    checksum: int | None = 0
    """Of all files' contents (checksum.py); None when it isn't known: something was replaced on the way, or is sparse."""


class Directories(Protocol):
    """Directories below the root, by path. Descriptors stay the provider's; the one given last is open until the next `open`."""

    def open(self, path: str, *, make: bool = True) -> int:
        """The directory `path` ("" is the root). `make` makes missing ones, 0755. Raises OSError."""

    def added(self, path: str, fd: int) -> None:
        """`path` was just made and opened: the provider owns `fd` now and may keep it."""

    def replaced(self, path: str) -> None:
        """What was at `path` is gone: nothing remembered at or below it holds any longer."""


class Extractor:
    """Unpacks one archive. Holds: umask 0."""

    def __init__(self, directories: Directories, rules: Rules, check: Callable[[], None] = lambda: None) -> None:
        self._directories = directories
        self._rules = rules
        self._check = check
        """Called for each member: raises to stop (cancelled, bomb)."""
        self.tally = Tally()
        self._owner = rules.owner
        self._times: dict[str, int] = {}
        self._whiteouts: set[str] = set()
        self._may_inherit = not rules.whiteouts
        """Whether a new file may get a group that isn't ours: its directory is setgid. A fresh layer has none at first."""
        self._last_raw = b"\0"
        self._last_path = ""

    def extract(self, reader: TarReader) -> Tally:
        """Raises Corrupt on what no tar should hold, OSError from the disk. What was made stays: the caller throws it away."""
        limits = self._rules.limits
        tally = self.tally
        while (member := reader.next()) is not None:
            tally.entries += 1
            if tally.entries > limits.entries:
                raise Corrupt(f"the archive has more than {limits.entries} entries")
            tally.size += member.size
            if tally.size > limits.total_bytes:
                raise Corrupt(f"the archive unpacks to more than {limits.total_bytes} bytes")
            self._check()
            self._member(member, reader)
        self._set_times()
        return tally

    def _member(self, member: Member, reader: TarReader) -> None:
        directory, name = self._place(member.name)
        if not name:
            if member.type == tarparse.DIRECTORY and self._rules.root_metadata:
                fd = os.open(".", _OLD_DIRECTORY, dir_fd=self._directories.open(""))
                try:
                    self._finish_directory(fd, "", member)
                finally:
                    os.close(fd)
            return
        if self._rules.whiteouts and name.startswith(WHITEOUT_PREFIX):
            self._whiteout(directory, name)
            return
        path = f"{directory}/{name}" if directory else name
        parent = self._directories.open(directory)
        match member.type:
            case tarparse.FILE:
                self._file(parent, name, path, member, reader)
            case tarparse.DIRECTORY:
                self._directory(parent, name, path, member)
            case tarparse.SYMLINK:
                if not member.link:
                    raise Corrupt(f"tar: the link {path!r} has no target")
                target = os.fsdecode(member.link)
                self._make(parent, name, path, member, lambda: os.symlink(target, name, dir_fd=parent))
                self._finish_special(parent, name, member)
            case tarparse.HARD_LINK:
                self._hard_link(parent, name, path, member)
            case tarparse.FIFO:
                self._make(parent, name, path, member, lambda: os.mkfifo(name, member.mode, dir_fd=parent))
                self._finish_special(parent, name, member)
            case tarparse.CHAR_DEVICE if (member.major, member.minor) in _SAFE_DEVICES and not is_rootless():
                device = os.makedev(member.major, member.minor)
                self._make(
                    parent,
                    name,
                    path,
                    member,
                    lambda: os.mknod(name, member.mode | stat.S_IFCHR, device, dir_fd=parent),
                )
                self._finish_special(parent, name, member)
            case _:
                self.tally.skipped += 1

    def _place(self, raw: bytes) -> tuple[str, str]:
        """Directory and last name of a member, cleaned as Go's filepath.Clean does. ("", "") is the root itself."""
        directory, _, name = raw.rpartition(b"/")
        if name not in {b"", b".", b".."}:
            # Members of one directory follow each other.
            if directory == self._last_raw:
                return self._last_path, os.fsdecode(name)
            path = "/".join(self._clean(directory, raw))
            self._last_raw, self._last_path = directory, path
            return path, os.fsdecode(name)
        parts = self._clean(raw, raw)
        return "/".join(parts[:-1]), parts[-1] if parts else ""

    def _clean(self, path: bytes, whole: bytes, what: str = "entry name") -> list[str]:
        parts: list[str] = []
        for part in os.fsdecode(path).split("/"):
            if part == "..":
                if not parts:
                    raise Corrupt(f"invalid {what} {shown(whole)}")
                parts.pop()
            elif part not in {"", "."}:
                parts.append(part)
        if len(parts) > self._rules.limits.depth:
            raise Corrupt(f"tar: a path with {len(parts)} elements (at most {self._rules.limits.depth})")
        return parts

    def _make(self, parent: int, name: str, path: str, member: Member, make: Callable[[], None]) -> None:
        """`make`, after clearing away what has the name. Twice at most: someone else may be at work in the directory."""
        try:
            make()
        except FileExistsError:
            self._clear(parent, name, path, member)
            make()

    def _clear(self, parent: int, name: str, path: str, member: Member) -> None:
        """Removes what has the name; a directory only when the rules let it be replaced by something else."""
        is_directory = stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode)
        if self._rules.keep_kind and is_directory != (member.type == tarparse.DIRECTORY):
            if is_directory:
                raise InvalidArgument(f'cannot overwrite directory "{path}" with non-directory "{name}"')
            raise InvalidArgument(f'cannot overwrite non-directory "{path}" with directory "{name}"')
        if is_directory:
            self._directories.replaced(path)
            self._times = {at: time for at, time in self._times.items() if at != path and not at.startswith(path + "/")}
        remove_entry(parent, name)
        if path in self._whiteouts:
            self._whiteouts.discard(path)
        else:
            self.tally.checksum = None

    def _file(self, parent: int, name: str, path: str, member: Member, reader: TarReader) -> None:
        try:
            fd = os.open(name, _NEW_FILE, member.mode & 0o777, dir_fd=parent)
        except FileExistsError:
            self._clear(parent, name, path, member)
            fd = os.open(name, _NEW_FILE, member.mode & 0o777, dir_fd=parent)
        try:
            if member.is_sparse:
                self.tally.checksum = None
                for offset, piece in reader.data(member):
                    _write_at(fd, piece, offset)
                os.ftruncate(fd, member.real_size)
            elif member.size:
                crc = 0
                for _, piece in reader.data(member):
                    _write(fd, piece)
                    crc = crc32(piece, crc)
                if self.tally.checksum is not None:
                    self.tally.checksum = checksum.added(self.tally.checksum, crc, member.size)
            self._finish(fd, member)
            os.utime(fd, ns=(member.mtime_ns, member.mtime_ns))
        finally:
            os.close(fd)

    def _directory(self, parent: int, name: str, path: str, member: Member) -> None:
        was_whiteout = path in self._whiteouts
        try:
            os.mkdir(name, member.mode & 0o777, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                self._clear(parent, name, path, member)
                os.mkdir(name, member.mode & 0o777, dir_fd=parent)
        fd = os.open(name, _OLD_DIRECTORY, dir_fd=parent)
        try:
            self._finish_directory(fd, path, member)
            if was_whiteout:
                # `.wh.x` came before x/: the new directory hides the lower one with all that is in it.
                os.setxattr(fd, OPAQUE_XATTR, b"y")
        except BaseException:
            os.close(fd)
            raise
        self._directories.added(path, fd)

    def _finish_directory(self, fd: int, path: str, member: Member) -> None:
        self._finish(fd, member)
        # mkdir leaves out setgid and sticky, and one inside a setgid directory has inherited it.
        os.fchmod(fd, member.mode)
        self._may_inherit = self._may_inherit or bool(member.mode & stat.S_ISGID)
        self._times[path] = member.mtime_ns

    def _finish(self, fd: int, member: Member) -> None:
        """Owner, mode, xattrs of what `fd` is."""
        uid, gid = self._owner or (member.uid, member.gid)
        if uid or gid or self._may_inherit:
            os.fchown(fd, uid, gid)
        if member.mode & 0o7000:
            os.fchmod(fd, member.mode)
        for key, value in member.xattrs.items():
            self._xattr(fd, key, value)

    def _xattr(self, fd: int, key: bytes, value: bytes) -> None:
        if key not in _XATTRS and (not key.startswith(b"user.") or key.startswith(b"user.overlay.")):
            return
        try:
            os.setxattr(fd, key, value)
        except OSError as error:
            # A file system without xattrs: only lost capabilities break a program, and must be told.
            if error.errno not in {errno.ENOTSUP, errno.EPERM} or key == b"security.capability":
                raise OSError(error.errno, f"set {os.fsdecode(key)}: {error.strerror}") from error

    def _finish_special(self, parent: int, name: str, member: Member) -> None:
        """What can't be opened: links, FIFOs, devices. Their names stand in a directory that is held open."""
        uid, gid = self._owner or (member.uid, member.gid)
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(member.mtime_ns, member.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _hard_link(self, parent: int, name: str, path: str, member: Member) -> None:
        parts = self._clean(member.link, member.link, "hardlink target")
        target = "/".join(parts)
        if not parts:
            raise Corrupt(f"tar: {path!r} is a hard link to the root")
        if target == path:
            return
        try:
            source = os.dup(self._directories.open("/".join(parts[:-1]), make=False))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Corrupt(f"tar: {path!r} is a hard link to {target!r}, which isn't there") from error
        try:
            if stat.S_ISDIR(os.lstat(parts[-1], dir_fd=source).st_mode):
                raise Corrupt(f"tar: {path!r} is a hard link to the directory {target!r}")
            # Opened again: the call above may have closed what `parent` was.
            parent = self._directories.open(path.rpartition("/")[0])
            self._make(
                parent,
                name,
                path,
                member,
                lambda: os.link(parts[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False),
            )
        except FileNotFoundError as error:
            raise Corrupt(f"tar: {path!r} is a hard link to {target!r}, which isn't there") from error
        finally:
            os.close(source)

    def _whiteout(self, directory: str, name: str) -> None:
        """`.wh.x` hides x of the layers below, never what this layer has, wherever in the tar it stands."""
        if name == OPAQUE_NAME:
            fd = os.open(".", _OLD_DIRECTORY, dir_fd=self._directories.open(directory))
            try:
                os.setxattr(fd, OPAQUE_XATTR, b"y")
            finally:
                os.close(fd)
            return
        if name.startswith(_AUFS_PREFIX):
            return
        hidden = name.removeprefix(WHITEOUT_PREFIX)
        if hidden in {"", ".", ".."}:
            raise Corrupt(f"tar: a whiteout of {hidden!r}")
        parent = self._directories.open(directory)
        try:
            make_whiteout(parent, hidden)
            self._whiteouts.add(f"{directory}/{hidden}" if directory else hidden)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(hidden, dir_fd=parent).st_mode):
                fd = os.open(hidden, _OLD_DIRECTORY, dir_fd=parent)
                try:
                    os.setxattr(fd, OPAQUE_XATTR, b"y")
                finally:
                    os.close(fd)

    def _set_times(self) -> None:
        """Directories' times, deepest first: making a file in one has changed them."""
        for path, time in sorted(self._times.items(), reverse=True):
            try:
                directory = self._directories.open(path, make=False)
            except (FileNotFoundError, NotADirectoryError):
                continue
            os.utime(".", ns=(time, time), dir_fd=directory)


def make_whiteout(parent: int, name: str) -> None:
    """Overlayfs' whiteout: a character device 0:0 (Documentation/filesystems/overlayfs.rst)."""
    os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(0, 0), dir_fd=parent)


def is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _write(fd: int, piece: memoryview) -> None:
    written = os.write(fd, piece)
    while written < len(piece):
        written += os.write(fd, piece[written:])


def _write_at(fd: int, piece: memoryview, offset: int) -> None:
    while piece:
        written = os.pwrite(fd, piece, offset)
        piece = piece[written:]
        offset += written
