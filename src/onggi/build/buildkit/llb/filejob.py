"""Runs in a worker process: the actions of one FileOp, one after the other, in one overlay.

Paths are of strangers: each is resolved in the root as in a chroot, and what is made is made by name in a directory that is held open.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

import msgspec

from onggi.build import copytree, modes
from onggi.build.copyjob import owner_of, unpacked
from onggi.build.destination import Destination, Owner
from onggi.build.entries import FILE, Entry
from onggi.errors import InvalidArgument, NotFound
from onggi.globs import has_wildcard
from onggi.kernel import mounts
from onggi.kernel.fds import Fd
from onggi.kernel.paths import open_in_root
from onggi.store.remove import remove_entry
from onggi.store.snapshots import OVERLAY_OPTIONS
from onggi.store.worker import Report

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_UMASK: Final = 0o022
"""BuildKit's own, which its mkfile and mkdir are subject to."""

_CLIENTS_FAULT: Final = frozenset(
    {
        errno.EEXIST,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENOTEMPTY,
        errno.EINVAL,
        errno.ENAMETOOLONG,
        errno.EXDEV,
    }
)
"""What the kernel answers to paths that aren't there, or are something else."""

NOW: Final = -1
"""No time is asked for."""


class Chown(msgspec.Struct, array_like=True):
    """`words` are user[:group], "" for nobody in particular; names are those of the tree `lower`, or of the root itself."""

    words: str = ""
    lower: list[str] = []


class MakeFile(msgspec.Struct, tag="mkfile"):
    path: str
    mode: int
    data: bytes
    owner: Chown
    mtime_ns: int = NOW


class MakeDirectory(msgspec.Struct, tag="mkdir"):
    path: str
    mode: int
    parents: bool
    owner: Chown
    mtime_ns: int = NOW


class MakeLink(msgspec.Struct, tag="symlink"):
    path: str
    target: str
    owner: Chown
    mtime_ns: int = NOW


class Remove(msgspec.Struct, tag="rm"):
    path: str
    missing_is_fine: bool
    wildcard: bool


class Copy(msgspec.Struct, tag="copy"):
    """`lower` is the tree that `source` is in; `mode` is "" or as chmod(1) has it."""

    lower: list[str]
    source: str
    destination: str
    owner: Chown
    mode: str = ""
    follow: bool = False
    contents: bool = False
    unpack: bool = False
    make_parents: bool = False
    wildcard: bool = False
    none_is_fine: bool = False
    mtime_ns: int = NOW
    include: list[str] = []
    exclude: list[str] = []
    required: list[str] = []


Action = MakeFile | MakeDirectory | MakeLink | Remove | Copy


class FileArgs(msgspec.Struct):
    """`lower` topmost first, `upper`, `work`: the overlay that is written to."""

    lower: list[str]
    upper: str
    work: str
    actions: list[Action]


def act(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """The descriptor: a memfd with the arguments, which may be long. Raises InvalidArgument, NotFound, OSError."""
    del args
    (memfd,) = fds
    request = msgspec.msgpack.decode(os.pread(memfd, os.fstat(memfd).st_size, 0), type=FileArgs)
    with _opened(request.lower, request.upper, request.work) as root:
        for action in request.actions:
            try:
                _act(root, action)
            except OSError as error:
                if error.errno not in _CLIENTS_FAULT:
                    raise
                raise InvalidArgument(f"{_told(action)}: {os.strerror(error.errno or 0).lower()}") from error
    return b""


def _act(root: Fd, action: Action) -> None:
    match action:
        case MakeFile():
            _make_file(root, action)
        case MakeDirectory():
            _make_directory(root, action)
        case MakeLink():
            _make_link(root, action)
        case Remove():
            _remove(root, action)
        case Copy():
            with _opened(action.lower) as source:
                _Copying(root, source, action).run()


def _told(action: Action) -> str:
    match action:
        case MakeFile():
            return f"open {action.path}"
        case MakeDirectory():
            return f"mkdir {action.path}"
        case MakeLink():
            return f"symlink {action.target} {action.path}"
        case Remove():
            return f"rm {action.path}"
        case Copy():
            return f"copy {action.source} {action.destination}"


def _opened(lower: list[str], upper: str | None = None, work: str | None = None) -> Fd:
    if upper and lower:
        return mounts.overlay(lower, upper, work, options=OVERLAY_OPTIONS)
    if not upper and len(lower) > 1:
        return mounts.overlay(lower, None, None, options=OVERLAY_OPTIONS)
    return Fd(os.open(upper or lower[0], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


def _owner(root: Fd, asked: Chown) -> Owner:
    if not asked.lower:
        return owner_of(root, asked.words)
    with _opened(asked.lower) as tree:
        return owner_of(tree, asked.words)


def _place(root: Fd, path: str) -> tuple[Fd, str]:
    """The open parent of `path`, and its last name. Raises InvalidArgument for the root itself, OSError."""
    directory, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise InvalidArgument(f"invalid path {path!r}: it has no name of its own")
    try:
        return open_in_root(root, directory or "/", _DIRECTORY), name
    except NotADirectoryError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None


def _finish(fd: int, owner: Owner, mtime_ns: int) -> None:
    os.fchown(fd, owner.uid, owner.gid)
    if mtime_ns >= 0:
        os.utime(fd, ns=(mtime_ns, mtime_ns))


def _make_file(root: Fd, action: MakeFile) -> None:
    owner = _owner(root, action.owner)
    # What is there keeps its mode, and a link is followed in the root: so BuildKit's os.WriteFile does.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOCTTY | os.O_NONBLOCK
    with open_in_root(root, action.path, flags, action.mode & 0o777 & ~_UMASK) as file:
        left = memoryview(action.data)
        while left:
            left = left[os.write(file.fileno(), left) :]
        _finish(file.fileno(), owner, action.mtime_ns)


def _make_directory(root: Fd, action: MakeDirectory) -> None:
    owner = _owner(root, action.owner)
    if not action.parents:
        parent, name = _place(root, action.path)
        with parent:
            try:
                os.mkdir(name, action.mode & 0o777 & ~_UMASK, dir_fd=parent.fileno())
            except FileExistsError:
                return
    fd = Destination(root, owner, action.mode & 0o777 & ~_UMASK).directory(action.path)
    try:
        if not action.parents or action.mtime_ns >= 0:
            _finish(fd, owner, action.mtime_ns)
    finally:
        os.close(fd)


def _make_link(root: Fd, action: MakeLink) -> None:
    owner = _owner(root, action.owner)
    parent, name = _place(root, action.path)
    with parent:
        os.symlink(action.target, name, dir_fd=parent.fileno())
        os.chown(name, owner.uid, owner.gid, dir_fd=parent.fileno(), follow_symlinks=False)
        if action.mtime_ns >= 0:
            times = (action.mtime_ns, action.mtime_ns)
            os.utime(name, ns=times, dir_fd=parent.fileno(), follow_symlinks=False)


def _remove(root: Fd, action: Remove) -> None:
    paths = [action.path]
    if action.wildcard and has_wildcard(action.path):
        paths = [f"/{path}" for path in copytree.find(root, action.path)]
    for path in paths:
        try:
            parent, name = _place(root, path)
            with parent:
                os.lstat(name, dir_fd=parent.fileno())
                remove_entry(parent.fileno(), name)
        except FileNotFoundError:
            if not action.missing_is_fine:
                raise NotFound(f"stat {action.path}: no such file or directory") from None


class _Copying:
    """One copy. What a directory of the source becomes follows fsutil's copy, which BuildKit uses."""

    def __init__(self, root: Fd, source: Fd, action: Copy) -> None:
        self._root, self._source, self._action = root, source, action
        self._owner = _owner(root, action.owner)
        self._mode = modes.parse(action.mode) if action.mode else None
        # Parents that are made on the way are 0755; they belong to whom the copy is for.
        self._destination = Destination(root, self._owner)

    def run(self) -> None:
        action = self._action
        paths = [action.source.strip("/")]
        if action.wildcard and has_wildcard(action.source):
            paths = copytree.find(self._source, action.source)
            if not paths and not action.none_is_fine:
                raise NotFound(f"{action.source} not found")
        for path in paths:
            with self._found(path) as found:
                self._required(found)
                self._one(path, found)

    def _found(self, path: str) -> Fd:
        flags = os.O_PATH if self._action.follow or not path else os.O_PATH | os.O_NOFOLLOW
        try:
            return open_in_root(self._source, path or "/", flags)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"lstat /{path}: no such file or directory") from error

    def _required(self, found: Fd) -> None:
        for path in self._action.required if self._action.include else ():
            try:
                open_in_root(found, path, os.O_PATH).close()
            except OSError:
                raise NotFound(f"required path {path}: no such file or directory") from None

    def _one(self, path: str, found: Fd) -> None:
        action = self._action
        status = os.fstat(found.fileno())
        name = path.rpartition("/")[2]
        if stat.S_ISREG(status.st_mode) and action.unpack and self._unpacked(found, status):
            return
        walk = copytree.Walk(
            self._source, self._destination, action.exclude, self._mode,
            keep_owner=not action.owner.words, include=action.include, mtime_ns=action.mtime_ns,
        )  # fmt: skip
        if not stat.S_ISDIR(status.st_mode):
            directory, last = self._placed(action.destination, name)
            try:
                walk.one(found, status, directory, last)
            finally:
                os.close(directory)
            return
        target = action.destination
        if not action.contents and name and (target.endswith("/") or self._is_directory(target)):
            target = f"{target.rstrip('/')}/{name}"
        self._check_parent(target)
        top = self._destination.directory(target)
        try:
            with Fd(os.open(".", _DIRECTORY, dir_fd=found.fileno())) as opened:
                walk.contents(opened, top, "")
            if not action.contents:
                walk.like(top, status)
        finally:
            os.close(top)

    def _unpacked(self, found: Fd, status: os.stat_result) -> bool:
        with Fd(os.open(f"/proc/self/fd/{found.fileno()}", os.O_RDONLY | os.O_CLOEXEC)) as file:
            entry = Entry("", FILE, status.st_mode, status.st_mtime_ns, status.st_size)
            owner = (self._owner.uid, self._owner.gid) if self._action.owner.words else None
            return unpacked(file.fileno(), entry, self._destination, self._action.destination, owner)

    def _placed(self, destination: str, name: str) -> tuple[int, str]:
        """Where one file goes: into a directory that is there or is said to be one, else under the destination's own name."""
        if not self._is_directory(destination):
            self._check_parent(destination)
        return self._destination.place(destination, name, several=False)

    def _check_parent(self, path: str) -> None:
        if not self._action.make_parents and not self._is_directory(os.path.dirname(path.rstrip("/")) or "/"):
            raise NotFound(f"failed to stat {path}: no such file or directory")

    def _is_directory(self, path: str) -> bool:
        try:
            open_in_root(self._root, path, os.O_PATH | os.O_DIRECTORY).close()
        except OSError:
            return False
        return True
