"""Removing a tree by descriptors: no link is followed, and a tree that is deep doesn't end the stack.

Also works on trees that someone else still writes to (a volume of a running container): what appears meanwhile is removed
as well, up to `_ROUNDS` times for one directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass, field
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ROUNDS: Final = 100

_HELD: Final = 64
"""Directories held open on the way down. What lies deeper is moved up first: a container can nest directories without end."""


@dataclass(slots=True)
class _Level:
    above: int
    name: str
    fd: int
    directories: list[str] = field(default_factory=list)
    """Found, not yet gone down into."""
    rounds: int = 0


def remove_entry(parent: int, name: str) -> None:
    """`name` in `parent` is gone, with all below it. What isn't there is fine."""
    try:
        os.unlink(name, dir_fd=parent)
        return
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in {errno.EISDIR, errno.EPERM}:
            raise
    _remove_directory(parent, name)


def remove_tree(path: str) -> None:
    """The directory (or file) at `path`, whose parent is ours."""
    directory, name = os.path.split(path)
    fd = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_entry(fd, name)
    finally:
        os.close(fd)


def _remove_directory(parent: int, name: str) -> None:
    """Depth first, without recursion."""
    stack: list[_Level] = []
    moved = 0
    try:
        stack.append(_enter(parent, name))
        while stack:
            level = stack[-1]
            if level.directories:
                child = level.directories.pop()
                if len(stack) >= _HELD:
                    top = stack[0]
                    moved += 1
                    os.rename(child, f".onggi-{moved}", src_dir_fd=level.fd, dst_dir_fd=top.fd)
                    top.directories.append(f".onggi-{moved}")
                else:
                    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                        stack.append(_enter(level.fd, child))
                continue
            try:
                os.rmdir(level.name, dir_fd=level.above)
            except FileNotFoundError:
                pass
            except OSError as error:
                level.rounds += 1
                if error.errno != errno.ENOTEMPTY or level.rounds > _ROUNDS:
                    raise
                level.directories = _unlink_files(level.fd)
                continue
            os.close(level.fd)
            stack.pop()
    finally:
        for level in stack:
            os.close(level.fd)


def _enter(parent: int, name: str) -> _Level:
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        return _Level(parent, name, fd, _unlink_files(fd))
    except BaseException:
        os.close(fd)
        raise


def _unlink_files(fd: int) -> list[str]:
    """Unlinks what isn't a directory, removes empty ones, and returns the others."""
    directories: list[str] = []
    with os.scandir(fd) as found:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    for name, is_directory in entries:
        try:
            if is_directory:
                os.rmdir(name, dir_fd=fd)
            else:
                os.unlink(name, dir_fd=fd)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR, errno.EPERM}:
                raise
            directories.append(name)
    return directories
