"""A directory or file of a stack of layers without mounting it: the directories that make it up, or the file itself.

What a mount shows of another stage is an overlay of those. Layers don't change, so what is found stays true. Blocking; a few
system calls for each part of the path and each layer.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from typing import Final

from onggi.errors import NotFound

_LINKS_LIMIT: Final = 40
_OPAQUE: Final = ("trusted.overlay.opaque", "user.overlay.opaque")


def below(layers: Sequence[str], path: str) -> list[str]:
    """Directories to lay over each other, topmost first; or one path that is a file. `layers` are topmost first.

    Links are followed within the tree. Raises NotFound.
    """
    parts = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    trail: list[list[str]] = [list(layers)]
    links = 0
    while parts:
        part = parts.pop()
        if part == "..":
            if len(trail) > 1:
                trail.pop()
            continue
        found = _step(trail[-1], part)
        if not found:
            raise NotFound(f'failed to calculate checksum of ref: "/{path.strip("/")}": not found')
        if len(found) == 1 and os.path.islink(found[0]):
            links += 1
            if links > _LINKS_LIMIT:
                raise NotFound(f"{path}: too many levels of symbolic links")
            target = os.readlink(found[0])
            if target.startswith("/"):
                trail = trail[:1]
            parts += [each for each in reversed(target.split("/")) if each not in ("", ".")]
            continue
        if parts and not os.path.isdir(found[0]):
            raise NotFound(f'failed to calculate checksum of ref: "/{path.strip("/")}": not found')
        trail.append(found)
    return trail[-1]


def _step(directories: Sequence[str], name: str) -> list[str]:
    """`name` in the merged view of `directories`: directories that merge, or one other thing; empty when it isn't there."""
    found: list[str] = []
    for directory in directories:
        path = os.path.join(directory, name)
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not stat.S_ISDIR(status.st_mode):
            # Below a directory it is hidden; on top it is the thing itself, or a whiteout that hides all below.
            return found or ([] if stat.S_ISCHR(status.st_mode) and not status.st_rdev else [path])
        found.append(path)
        if _is_opaque(path):
            break
    return found


def _is_opaque(path: str) -> bool:
    for name in _OPAQUE:
        try:
            if os.getxattr(path, name, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False


def copy_contents(layers: Sequence[str], target: str) -> None:
    """What the merged view of `layers` holds, into the directory `target`: regular files, directories and links."""
    for name in sorted({name for directory in layers for name in os.listdir(directory)}):
        found = _step(layers, name)
        if not found:
            continue
        path = os.path.join(target, name)
        status = os.lstat(found[0])
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(path)
            copy_contents(found, path)
            os.chmod(path, stat.S_IMODE(status.st_mode))
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(found[0]), path)
        elif stat.S_ISREG(status.st_mode):
            shutil.copyfile(found[0], path)
            os.chmod(path, stat.S_IMODE(status.st_mode))
        os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)
