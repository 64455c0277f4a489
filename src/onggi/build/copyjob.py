"""Runs in a worker process: COPY and ADD put files over the layers of a stage, straight into the directory that becomes the layer.

The tree that is written to is an overlay of the stage's layers with the new one on top, as a detached mount: the kernel does the
copying up, and every path is resolved in it as in a chroot, by descriptor (S-49). Sources are the spool of a context, or another
detached mount. Rights: root; holds descriptors of the spool only.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Generator
from typing import Final

import msgspec

from onggi.build import copytree, modes
from onggi.build.destination import Destination, Owner
from onggi.build.entries import DIRECTORY, FIFO, FILE, SYMLINK, Entry, raw_name
from onggi.build.freshtrees import FreshTree, fresh_tree
from onggi.errors import InvalidArgument
from onggi.kernel import mounts
from onggi.kernel.fds import Fd
from onggi.runtime import users
from onggi.store.compression import Reader, open_reader
from onggi.store.directories import layer_directories
from onggi.store.snapshots import OVERLAY_OPTIONS
from onggi.store.tarparse import BLOCK
from onggi.store.tarread import TarReader
from onggi.store.unpack import Extractor, Limits, Rules
from onggi.store.worker import Report

NO_OWNER: Final = "unable to convert uid/gid chown string to host mapping"

_PIECE: Final = 1024 * 1024
_RATIO_FROM: Final = 1 << 30


class Spooled(msgspec.Struct, tag="spooled", array_like=True):
    """A file, or a directory's contents, from the spool of this number. Paths of `entries` are relative to the source, which comes first.

    `name` is what a file is called in a directory (with --parents: a path). `unpack`: an archive gives its contents.
    """

    name: str
    entries: list[Entry]
    unpack: bool = False
    spool: int = 0


class InTree(msgspec.Struct, tag="tree", array_like=True):
    """A path in the source mount, perhaps with wildcards."""

    pattern: str


class CopyArgs(msgspec.Struct):
    """Where to: `lower` topmost first, `upper`, `work`; `destination` is absolute. `source_lower` is for `InTree`.

    `chown` is user[:group] of the destination's own passwd and group. `earlier` is a layer that the same copy made before, of files
    with these digests: what hasn't changed is linked to it.
    """

    lower: list[str]
    upper: str
    work: str
    destination: str
    sources: list[Spooled | InTree]
    source_lower: list[str] = []
    chown: str = ""
    chmod: str = ""
    parents: bool = False
    exclude: list[str] = []
    earlier: str = ""
    earlier_digests: dict[str, bytes] = {}


def copy(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """Descriptors: the arguments (a memfd: they may be long), spools. Raises InvalidArgument, OSError."""
    memfd, *spools = fds
    request = msgspec.msgpack.decode(_all(memfd), type=CopyArgs)
    del args
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(_open_root(request))
        source = stack.enter_context(_open_source(request)) if request.source_lower else None
        _Copying(request, root, spools, source).run()
    return b""


def digest_sources(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """Answers the digest of what a COPY --from would take. Raises NotFound, OSError."""
    del fds
    request = msgspec.msgpack.decode(args, type=CopyArgs)
    patterns = [source.pattern for source in request.sources if isinstance(source, InTree)]
    with _open_source(request) as source:
        return copytree.digest(source, patterns, request.exclude, parents=request.parents).encode()


def make_directory(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """WORKDIR: `destination` is a directory when this answers; what had to be made belongs to `chown`."""
    del fds
    request = msgspec.msgpack.decode(args, type=CopyArgs)
    with _open_root(request) as root:
        os.close(Destination(root, owner_of(root, request.chown)).directory(request.destination))
    return b""


def _all(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _open_root(request: CopyArgs) -> Fd:
    if not request.lower:
        return Fd(os.open(request.upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    return mounts.overlay(request.lower, request.upper, request.work, options=OVERLAY_OPTIONS)


def _open_source(request: CopyArgs) -> Fd:
    if len(request.source_lower) == 1:
        return Fd(os.open(request.source_lower[0], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    return mounts.overlay(request.source_lower, None, None, options=OVERLAY_OPTIONS)


def owner_of(root: Fd, chown: str) -> Owner:
    """Numbers need no entry; a user by name brings the group of the same name, else that of its passwd line."""
    if not chown:
        return Owner(0, 0)
    user, colon, group = chown.partition(":")
    passwd, groups = users.read_lines(root, "/etc/passwd"), users.read_lines(root, "/etc/group")
    uid = _number(user)
    entry = next((line for line in passwd if line[0] == user and len(line) > 3), None) if uid is None else None
    if uid is None:
        uid = _number(entry[2]) if entry else None
        if uid is None:
            raise InvalidArgument(f"{NO_OWNER}: can't find uid for user {user}: no such user: {user}")
    name = group if colon and group else user
    gid = _number(name)
    if gid is None:
        found = next((line for line in groups if line[0] == name and len(line) > 2), None)
        gid = _number(found[2]) if found else _number(entry[3]) if entry and not group else None
    if gid is None:
        raise InvalidArgument(f"{NO_OWNER}: can't find gid for group {name}: no such group: {name}")
    return Owner(uid, gid)


def _number(text: str) -> int | None:
    """An id; None for a name. Raises InvalidArgument for a number that is none (CVE-2024-40635: more overflowed to root)."""
    if not text.isascii() or not text.isdigit():
        return None
    if len(text) > 10 or int(text) > users.MAX_ID:
        raise InvalidArgument(f"{NO_OWNER}: uids and gids must be in range 0-{users.MAX_ID}")
    return int(text)


class _Copying:
    def __init__(self, request: CopyArgs, root: Fd, spools: list[int], source: Fd | None) -> None:
        self._request = request
        self._root = root
        self._spools, self._spool = spools, -1
        self._source = source
        self._mode = modes.parse(request.chmod) if request.chmod else None
        made = self._mode.octal if self._mode and self._mode.octal is not None else 0o755
        self._destination = Destination(root, owner_of(root, request.chown), made)
        self._owner = self._destination.owner
        self._several = len(request.sources) > 1
        self._links: dict[int, Fd] = {}
        self._fresh: FreshTree | None = None
        # Several sources may meet in one directory, and hard links lead from one to another: then all go through the overlay.
        linked = any(each.inode for item in request.sources if isinstance(item, Spooled) for each in item.entries)
        self._overlaid = bool(request.lower) and not self._several and not linked

    def run(self) -> None:
        for source in self._request.sources:
            if isinstance(source, InTree):
                if self._source is None:
                    raise InvalidArgument("a source without a tree")
                copytree.copy(
                    self._source,
                    source.pattern,
                    self._destination,
                    self._request.destination,
                    several=self._several,
                    parents=self._request.parents,
                    exclude=self._request.exclude,
                    keep_owner=not self._request.chown,
                    mode=self._mode,
                )
            else:
                self._spool = self._spools[source.spool]
                # Hard links are within one copy of one source.
                self._links = {}
                self._spooled(source)

    def _spooled(self, source: Spooled) -> None:
        if source.unpack and self._unpacked(source.entries[0]):
            return
        if source.entries[0].kind == DIRECTORY:
            self._contents(source)
        else:
            self._one(source)

    def _one(self, source: Spooled) -> None:
        entry = source.entries[0]
        directory, name = self._destination.place(
            self._request.destination, os.fsdecode(raw_name(source.name)), several=self._several
        )
        try:
            self._make(directory, name, entry)
        finally:
            os.close(directory)

    def _contents(self, source: Spooled) -> None:
        """What a directory holds, into the destination."""
        base = self._request.destination.rstrip("/")
        if self._request.parents and source.name:
            base = f"{base}/{source.name}"
        top = self._destination.directory(base or "/")
        times: list[tuple[str, int]] = []
        try:
            with contextlib.closing(self._below(top, source.entries[1:])) as found:
                for path, parent, name, entry in found:
                    if entry.kind == DIRECTORY:
                        self._subdirectory(parent, name, path, entry, times)
                    else:
                        self._make(parent, name, entry)
            for path, mtime_ns in reversed(times):
                with self._destination.below(top, path) as at:
                    os.utime(f"/proc/self/fd/{at.fileno()}", ns=(mtime_ns, mtime_ns))
            first = source.entries[0]
            if first.mtime_ns:
                # As BuildKit: the destination gets the source's time, also when it was there before.
                os.utime(f"/proc/self/fd/{top}", ns=(first.mtime_ns, first.mtime_ns))
        finally:
            os.close(top)

    def _subdirectory(self, parent: int, name: str, path: str, entry: Entry, times: list[tuple[str, int]]) -> None:
        made, is_new = self._destination.subdirectory(parent, name)
        try:
            os.fchown(made, self._owner.uid, self._owner.gid)
            os.fchmod(made, self._bits(entry.mode, directory=True))
            _set_xattrs(made, entry.xattrs)
            if self._fresh is not None:
                self._fresh.later(path, entry.mtime_ns)
                return
            if is_new and self._overlaid:
                self._fresh = self._fresh_tree(made, path)
            if self._fresh is not None:
                self._fresh.later(path, entry.mtime_ns)
                return
        finally:
            os.close(made)
        times.append((path, entry.mtime_ns))

    def _fresh_tree(self, made: int, path: str) -> FreshTree | None:
        request = self._request
        return fresh_tree(request.upper, made, path, request.earlier, request.earlier_digests)

    def _below(self, top: int, entries: list[Entry]) -> Generator[tuple[str, int, str, Entry]]:
        """Entries with the open directory that each belongs in; those of one directory follow each other, mostly."""
        known = ""
        parent = os.dup(top)
        try:
            for entry in entries:
                path = os.fsdecode(raw_name(entry.path))
                directory, _, name = path.rpartition("/")
                if directory != known:
                    os.close(parent)
                    parent = -1
                    parent = self._open(top, directory).detach()
                    known = directory
                yield path, parent, name, entry
        finally:
            if parent >= 0:
                os.close(parent)
            self._leave()

    def _open(self, top: int, directory: str) -> Fd:
        """A directory that is there, in the fresh tree or through the overlay."""
        if self._fresh is not None and self._fresh.holds(directory):
            return self._fresh.open(directory)
        self._leave()
        return self._destination.below(top, directory)

    def _leave(self) -> None:
        fresh, self._fresh = self._fresh, None
        if fresh is not None:
            fresh.close()

    def _make(self, directory: int, name: str, entry: Entry) -> None:
        """A file, link or FIFO called `name`; what has the name goes, unless it is a directory."""
        if entry.kind == FILE:
            self._file(directory, name, entry)
            return
        self._destination.clear(directory, name)
        if entry.kind == SYMLINK:
            os.symlink(raw_name(entry.link), os.fsencode(name), dir_fd=directory)
        elif entry.kind == FIFO:
            os.mkfifo(name, self._bits(entry.mode), dir_fd=directory)
        os.chown(name, self._owner.uid, self._owner.gid, dir_fd=directory, follow_symlinks=False)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=directory, follow_symlinks=False)

    def _file(self, directory: int, name: str, entry: Entry) -> None:
        first = self._links.get(entry.inode) if entry.inode else None
        if first is not None:
            self._destination.clear(directory, name)
            os.link(f"/proc/self/fd/{first.fileno()}", name, dst_dir_fd=directory, follow_symlinks=True)
            return
        mode = self._bits(entry.mode)
        if self._fresh and self._fresh.linked(directory, name, entry, mode, (self._owner.uid, self._owner.gid)):
            return
        fd = self._destination.new_file(directory, name, mode & 0o777)
        try:
            _send(self._spool, fd, entry.offset, entry.size)
            if self._owner.uid or self._owner.gid:
                os.fchown(fd, self._owner.uid, self._owner.gid)
            if mode & 0o7000:
                os.fchmod(fd, mode)
            _set_xattrs(fd, entry.xattrs)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)
        if entry.inode:
            self._links[entry.inode] = Fd(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory))

    def _bits(self, mode: int, *, directory: bool = False) -> int:
        return self._mode.apply(mode, directory=directory) if self._mode else mode

    def _unpacked(self, entry: Entry) -> bool:
        """ADD of an archive: its contents go into the destination. False when it is none, and is a file like any other."""
        if entry.kind != FILE:
            return False
        owner = (self._owner.uid, self._owner.gid) if self._request.chown else None
        return unpacked(self._spool, entry, self._destination, self._request.destination, owner)


def unpacked(spool: int, entry: Entry, destination: Destination, path: str, owner: tuple[int, int] | None) -> bool:
    """Whether a file is an archive, whose contents are then in the directory `path`.

    Its own owners and modes are kept unless there is an `owner`: so docker unpacks. Raises InvalidArgument, Corrupt, OSError.
    """
    if not _is_archive(spool, entry):
        return False
    top = destination.directory(path)
    try:
        directories = layer_directories(top)
        try:
            Extractor(directories, Rules(owner=owner)).extract(TarReader(_Bounded(spool, entry).more))
        finally:
            directories.close()
    finally:
        os.close(top)
    return True


class _Slice:
    """A part of the spool as a file to read."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._fd, self._at, self._end = fd, offset, offset + size

    def read(self, size: int, /) -> bytes:
        piece = os.pread(self._fd, min(size, self._end - self._at), self._at)
        self._at += len(piece)
        return piece


class _Bounded:
    """An archive of the spool, unpacked, up to what a real one gives."""

    def __init__(self, spool: int, entry: Entry) -> None:
        self._reader = _decoded(spool, entry)
        self._entry = entry
        self._unpacked = 0

    def more(self) -> bytes:
        piece = self._reader.read(_PIECE)
        self._unpacked += len(piece)
        ratio = Limits().ratio
        if self._unpacked > max(_RATIO_FROM, self._entry.size * ratio):
            raise InvalidArgument(f"the archive unpacks to more than {ratio} times its {self._entry.size} bytes")
        return piece


def _decoded(spool: int, entry: Entry) -> Reader:
    return open_reader(_Slice(spool, entry.offset, entry.size))[1]


def _is_archive(spool: int, entry: Entry) -> bool:
    """Packed in a known way or not, what comes out must begin as a tar does; its name says nothing."""
    try:
        reader, head = _decoded(spool, entry), b""
        while len(head) < BLOCK and (piece := reader.read(BLOCK - len(head))):
            head += piece
        return len(head) == BLOCK and TarReader(iter((head,)).__next__).next() is not None
    except Exception:  # noqa: BLE001 - whatever can't be decoded is a file like any other
        return False


def _send(spool: int, fd: int, offset: int, size: int) -> None:
    while size:
        sent = os.sendfile(fd, spool, offset, min(size, 1 << 30))
        if not sent:
            raise OSError(errno.EIO, "the spooled context is shorter than its index")
        offset += sent
        size -= sent


def _set_xattrs(fd: int, xattrs: dict[bytes, bytes]) -> None:
    for name, value in xattrs.items():
        try:
            os.setxattr(fd, name, value)
        except OSError as error:
            if error.errno != errno.ENOTSUP or name == b"security.capability":
                raise
