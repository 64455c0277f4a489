"""Paths in a container's files, resolved here, one name at a time and by descriptor. Runs in a worker process.

As in a chroot: absolute links begin at the container's root, `..` doesn't leave it (it goes back to a descriptor that is held,
never through the directory's own `..`, which a rename may have moved). Each step opens one name with O_NOFOLLOW, so whatever
the container swaps meanwhile, the way goes through its own files (CVE-2018-15664). Links of /proc are taken as text: there is no
magic in them here. Mounts of a container that isn't running are joined in by path.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from typing import Final, Self

from onggi.store.directories import KeptDirectories

_STEP: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS: Final = 40
"""As many as the kernel follows (MAXSYMLINKS)."""
_NAME_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Join:
    """`fd` (O_PATH) is what is seen at `path`, a clean path without a slash in front."""

    path: str
    fd: int
    read_only: bool


class Found:
    """The end of a walk: `fd` (O_PATH) is what `path` names; `read_only` if it lies in a mount that is."""

    def __init__(self, fd: int, path: str, *, read_only: bool) -> None:
        self.fd = fd
        self.path = path
        self.read_only = read_only

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    @property
    def status(self) -> os.stat_result:
        return os.fstat(self.fd)


class PathWalk:
    """Resolves paths below `root`, with `joins` in their places."""

    def __init__(self, root: int, joins: list[Join]) -> None:
        self._root = root
        self._joins: dict[str, Join] = {}
        for join in sorted(joins, key=lambda join: join.path.count("/")):
            # A mount's destination is a path like any other: /var/run/x is mounted at /run/x.
            path = join.path
            try:
                parent, _, name = path.rpartition("/")
                with self.find(parent) as found:
                    path = f"{found.path}/{name}" if found.path else name
            except OSError:
                pass
            self._joins[path] = Join(path, join.fd, join.read_only)

    @property
    def joins(self) -> dict[str, Join]:
        return self._joins

    def find(self, path: str, *, follow_last: bool = True) -> Found:
        """What `path` is. Raises OSError: ENOENT, ENOTDIR, ELOOP, with `path` in its text."""
        try:
            return self._walk(path, follow_last=follow_last)
        except FileNotFoundError:
            # A mount's destination need not exist in the image yet: then its path is the text.
            clean = "/".join(lexical(path))
            for at in sorted(self._joins, key=len, reverse=True):
                if clean == at or clean.startswith(at + "/"):
                    return self._walk(clean, follow_last=follow_last, start=self._joins[at])
            raise

    def _walk(self, path: str, *, follow_last: bool, start: Join | None = None) -> Found:
        names: list[str] = []
        stack = [os.dup(self._root)]
        joins: list[Join | None] = [None]
        left = path.split("/")[::-1]
        if start is not None:
            # Its parents don't exist: `..` from here leads to the root.
            names, left = [start.path], path[len(start.path) :].split("/")[::-1]
            stack.append(os.dup(start.fd))
            joins.append(start)
        links = 0
        try:
            while left:
                name = left.pop()
                if name in {"", "."}:
                    # A slash at the end wants a directory.
                    if not left and names and not stat.S_ISDIR(os.fstat(stack[-1]).st_mode):
                        raise NotADirectoryError(errno.ENOTDIR, f"lstat {path}: not a directory")
                    continue
                if not stat.S_ISDIR(os.fstat(stack[-1]).st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, f"lstat {path}: not a directory")
                if name == "..":
                    if names:
                        names.pop()
                        joins.pop()
                        os.close(stack.pop())
                    continue
                at = "/".join([*names, name])
                join = self._joins.get(at)
                fd = os.dup(join.fd) if join else self._step(name, stack[-1], path)
                if stat.S_ISLNK(os.fstat(fd).st_mode) and (left or follow_last):
                    try:
                        target = os.readlink("", dir_fd=fd)
                    finally:
                        os.close(fd)
                    links += 1
                    if links > _LINKS or len(target) > _NAME_BYTES or not target:
                        raise OSError(errno.ELOOP, f"lstat {path}: too many levels of symbolic links")
                    if target.startswith("/"):
                        while names:
                            names.pop()
                            joins.pop()
                            os.close(stack.pop())
                    left.extend(target.split("/")[::-1])
                    continue
                names.append(name)
                stack.append(fd)
                joins.append(join or joins[-1])
            last = joins[-1]
            return Found(os.dup(stack[-1]), "/".join(names), read_only=bool(last and last.read_only))
        finally:
            for fd in stack:
                os.close(fd)

    def _step(self, name: str, above: int, path: str) -> int:
        try:
            return os.open(name, _STEP, dir_fd=above)
        except OSError as error:
            raise OSError(error.errno, f"lstat {path}: {(error.strerror or '').lower()}") from error

    def final_target(self, path: str) -> str:
        """Where the link at `path` leads in the end, as far as there is anything: docker's LinkTarget."""
        try:
            with self.find(path) as found:
                return "/" + found.path
        except OSError:
            pass
        with self.find(path, follow_last=False) as link:
            target = os.readlink("", dir_fd=link.fd)
            parent = link.path.rpartition("/")[0]
        return "/" + "/".join(lexical(target if target.startswith("/") else f"{parent}/{target}"))


def view_directories(walk: PathWalk, base: str) -> KeptDirectories:
    """Those of an archive that is unpacked at `base`, a clean path in the container."""

    def resolve(path: str, make: bool) -> int:
        whole = f"{base}/{path}" if path else base
        try:
            found = walk.find(whole)
        except FileNotFoundError:
            if not make or not path:
                raise
            parent, _, name = path.rpartition("/")
            above = resolve(parent, True)
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=above)
            finally:
                os.close(above)
            found = walk.find(whole)
        if found.read_only:
            os.close(found.fd)
            raise OSError(errno.EROFS, f"openat {path}: read-only file system")
        return found.fd

    return KeptDirectories(resolve)


def lexical(path: str) -> list[str]:
    """`path` from the root, cleaned without looking at any file."""
    names: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del names[-1:]
        elif name not in {"", "."}:
            names.append(name)
    return names
