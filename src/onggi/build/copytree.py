"""COPY --from: files of another stage or image, read from a tree that its author has laid out.

Runs in a worker process. Sources are found and opened below the source's root as in a chroot; a directory is walked by descriptors.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final

from onggi.build.destination import Destination
from onggi.build.modes import Mode
from onggi.errors import NotFound
from onggi.globs import Glob, has_wildcard, split_pivot, steps_of
from onggi.ignore import IgnoreRules
from onggi.kernel.fds import Fd
from onggi.kernel.namespaces import is_rootless
from onggi.kernel.paths import open_in_root
from onggi.store.unpack import is_whiteout

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ANYTHING: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def sources(root: Fd, pattern: str, *, parents: bool) -> list[tuple[str, str]]:
    """(path, what a destination directory gets of it) of all that `pattern` means. Raises NotFound, as `find`."""
    if not parents:
        return [(path, path.rpartition("/")[2]) for path in find(root, pattern)]
    before, after = split_pivot(pattern)
    bases = find(root, before, deep=True)
    return [
        (path, path[len(base) :].lstrip("/")) for base in bases for path in find(root, after, below=base, deep=True)
    ]


def find(root: Fd, pattern: str, *, below: str = "", deep: bool = False) -> list[str]:
    """Paths that `pattern` means below a directory, sorted; `deep`: the element `**` is any number of directories.

    Raises NotFound when there is none and the pattern is plain.
    """
    parts = steps_of(pattern)
    if not has_wildcard(pattern):
        path = "/".join([below, *parts] if below else parts)
        try:
            open_in_root(root, path or "/", os.O_PATH).close()
        except OSError:
            raise NotFound(f"COPY failed: stat {pattern}: file does not exist") from None
        return [path]
    found = {below}
    for part in parts:
        step = _depths if deep and part == "**" else _step
        found = {path for above in found for path in step(root, above, part)}
    return sorted(found)


def _depths(root: Fd, above: str, part: str) -> Iterator[str]:
    """The place itself, and all that is below it; links are not followed."""
    del part
    yield above
    try:
        # Names alone: each is opened below the root again when its turn comes.
        with open_in_root(root, above or "/", _DIRECTORY) as directory, os.scandir(directory.fileno()) as entries:
            names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except OSError:
        return
    for name, is_directory in names:
        path = f"{above}/{name}" if above else name
        if is_directory:
            yield from _depths(root, path, "**")
        else:
            yield path


def _step(root: Fd, above: str, part: str) -> Iterator[str]:
    glob = Glob(part, deep=False)
    try:
        with open_in_root(root, above or "/", _DIRECTORY) as directory:
            names = os.listdir(directory.fileno())
    except OSError:
        return
    for name in names:
        if glob.matches(name):
            yield f"{above}/{name}" if above else name


def digest(root: Fd, patterns: Sequence[str], exclude: Sequence[str], *, parents: bool) -> str:
    """Of what `copy` would take: names, kinds, modes, owners, contents, link targets, xattrs; not of times. Raises NotFound."""
    rules = IgnoreRules(exclude)
    hasher = hashlib.sha256()
    for pattern in patterns:
        for path, _ in sources(root, pattern, parents=parents):
            with open_in_root(root, path or "/", os.O_PATH) as found:
                hasher.update(repr((pattern, path)).encode("utf-8", "surrogateescape"))
                _digest(hasher, found, "", rules)
    return hasher.hexdigest()


def _digest(hasher: hashlib._Hash, found: Fd, path: str, rules: IgnoreRules) -> None:
    status = os.fstat(found.fileno())
    kind = stat.S_IFMT(status.st_mode)
    told: list[object] = [path, status.st_mode, status.st_uid, status.st_gid, status.st_rdev]
    at = f"/proc/self/fd/{found.fileno()}"
    if kind == stat.S_IFLNK:
        told.append(os.readlink("", dir_fd=found.fileno()))
    elif kind in (stat.S_IFREG, stat.S_IFDIR):
        with contextlib.suppress(OSError):
            told.append([(name, os.getxattr(at, name)) for name in sorted(os.listxattr(at)) if _kept(name)])
    hasher.update(repr(told).encode("utf-8", "surrogateescape"))
    if kind == stat.S_IFREG:
        with open(at, "rb") as file:
            hasher.update(hashlib.file_digest(file, "sha256").digest())
    elif kind == stat.S_IFDIR:
        with Fd(os.open(".", _DIRECTORY, dir_fd=found.fileno())) as opened:
            for name in sorted(os.listdir(opened.fileno())):
                below = f"{path}/{name}" if path else name
                if rules and rules.ignores(below):
                    continue
                with Fd(os.open(name, _ANYTHING, dir_fd=opened.fileno())) as each:
                    _digest(hasher, each, below, rules)


class Walk:
    """Copies trees of one source root. `include`: only what these patterns fit. `mtime_ns`: the time of all that is made; -1: its own."""

    def __init__(
        self,
        root: Fd,
        destination: Destination,
        exclude: Sequence[str],
        mode: Mode | None,
        *,
        keep_owner: bool,
        include: Sequence[str] = (),
        mtime_ns: int = -1,
    ) -> None:
        self._root = root
        self._destination = destination
        self._exclude = IgnoreRules(exclude)
        self._include = IgnoreRules(include)
        self._mtime_ns = mtime_ns
        self._mode = mode
        self._owner = destination.owner
        self._keep_owner = keep_owner
        self._links: dict[tuple[int, int], Fd] = {}

    def contents(self, source: Fd, top: int, prefix: str) -> None:
        """What the directory `source` holds, into the directory `top`."""
        with os.scandir(source.fileno()) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            path = f"{prefix}/{name}" if prefix else name
            with Fd(os.open(name, _ANYTHING, dir_fd=source.fileno())) as found:
                status = os.fstat(found.fileno())
                if self._exclude and self._exclude.ignores(path):
                    continue
                if self._include and not self._is_wanted(found, status, path):
                    continue
                if stat.S_ISDIR(status.st_mode):
                    self._directory(source, name, top, path, status)
                else:
                    self.one(found, status, top, name)

    def _is_wanted(self, found: Fd, status: os.stat_result, path: str) -> bool:
        """Whether a pattern fits it, or something below it."""
        if self._include.ignores(path):
            return True
        if not stat.S_ISDIR(status.st_mode):
            return False
        with Fd(os.open(".", _DIRECTORY, dir_fd=found.fileno())) as opened:
            for name in os.listdir(opened.fileno()):
                with Fd(os.open(name, _ANYTHING, dir_fd=opened.fileno())) as below:
                    if self._is_wanted(below, os.fstat(below.fileno()), f"{path}/{name}"):
                        return True
        return False

    def _directory(self, source: Fd, name: str, top: int, path: str, status: os.stat_result) -> None:
        made, _ = self._destination.subdirectory(top, name)
        try:
            with Fd(os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=source.fileno())) as below:
                _copy_xattrs(below.fileno(), made)
                self.contents(below, made, path)
            self.like(made, status)
        finally:
            os.close(made)

    def like(self, made: int, status: os.stat_result) -> None:
        """A directory gets the owner, mode and time of its source."""
        os.fchown(made, *self._owner_of(status))
        os.fchmod(made, self._bits(status.st_mode, directory=True))
        os.utime(made, ns=self._times(status))

    def _times(self, status: os.stat_result) -> tuple[int, int]:
        mtime_ns = status.st_mtime_ns if self._mtime_ns < 0 else self._mtime_ns
        return mtime_ns, mtime_ns

    def one(self, found: Fd, status: os.stat_result, directory: int, name: str) -> None:
        """A file, link, FIFO or device; sockets mean nothing elsewhere."""
        kind = stat.S_IFMT(status.st_mode)
        if is_whiteout(status):
            return  # of a tree that is a difference: over another tree it would hide something
        if kind == stat.S_IFREG:
            self._file(found, status, directory, name)
            return
        if kind == stat.S_IFSOCK or (kind in (stat.S_IFCHR, stat.S_IFBLK) and is_rootless()):
            return
        self._destination.clear(directory, name)
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink("", dir_fd=found.fileno()), name, dir_fd=directory)
        else:
            os.mknod(name, kind | self._bits(status.st_mode), status.st_rdev, dir_fd=directory)
        os.chown(name, *self._owner_of(status), dir_fd=directory, follow_symlinks=False)
        os.utime(name, ns=self._times(status), dir_fd=directory, follow_symlinks=False)

    def _file(self, found: Fd, status: os.stat_result, directory: int, name: str) -> None:
        identity = (status.st_dev, status.st_ino)
        first = self._links.get(identity) if status.st_nlink > 1 else None
        if first is not None:
            self._destination.clear(directory, name)
            os.link(f"/proc/self/fd/{first.fileno()}", name, dst_dir_fd=directory, follow_symlinks=True)
            return
        mode = self._bits(status.st_mode)
        with Fd(os.open(f"/proc/self/fd/{found.fileno()}", _FILE)) as source:
            fd = self._destination.new_file(directory, name, mode & 0o777)
            try:
                offset = 0
                while sent := os.sendfile(fd, source.fileno(), offset, 1 << 30):
                    offset += sent
                os.fchown(fd, *self._owner_of(status))
                if mode & 0o7000:
                    os.fchmod(fd, mode)
                _copy_xattrs(source.fileno(), fd)
                os.utime(fd, ns=self._times(status))
            finally:
                os.close(fd)
        if status.st_nlink > 1:
            self._links[identity] = Fd(os.open(name, _ANYTHING, dir_fd=directory))

    def _owner_of(self, status: os.stat_result) -> tuple[int, int]:
        """What comes from another stage keeps its owner, as in docker, unless --chown says otherwise."""
        return (status.st_uid, status.st_gid) if self._keep_owner else (self._owner.uid, self._owner.gid)

    def _bits(self, mode: int, *, directory: bool = False) -> int:
        mode = stat.S_IMODE(mode)
        return self._mode.apply(mode, directory=directory) if self._mode else mode


def copy(
    root: Fd,
    pattern: str,
    destination: Destination,
    target: str,
    *,
    several: bool,
    parents: bool,
    exclude: Sequence[str],
    keep_owner: bool,
    mode: Mode | None,
) -> None:
    """Raises NotFound, InvalidArgument, OSError."""
    paths = sources(root, pattern, parents=parents)
    several = several or len(paths) > 1
    for path, name in paths:
        # Hard links are within one source.
        walk = Walk(root, destination, exclude, mode, keep_owner=keep_owner)
        base = target.rstrip("/")
        with open_in_root(root, path or "/", os.O_PATH) as found:
            status = os.fstat(found.fileno())
            if stat.S_ISDIR(status.st_mode):
                if parents and name:
                    base = f"{base}/{name}"
                top = destination.directory(base or "/")
                try:
                    with Fd(os.open(".", _DIRECTORY, dir_fd=found.fileno())) as opened:
                        walk.contents(opened, top, "")
                    if path:
                        os.utime(f"/proc/self/fd/{top}", ns=(status.st_mtime_ns, status.st_mtime_ns))
                finally:
                    os.close(top)
                continue
            directory, last = destination.place(target if not parents else f"{base}/", name, several=several)
            try:
                walk.one(found, status, directory, last)
            finally:
                os.close(directory)


def _copy_xattrs(source: int, target: int) -> None:
    with contextlib.suppress(OSError):
        for name in os.listxattr(source):
            if _kept(name):
                os.setxattr(target, name, os.getxattr(source, name))


def _kept(name: str) -> bool:
    return name == "security.capability" or (name.startswith("user.") and not name.startswith("user.overlay."))
