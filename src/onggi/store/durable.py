"""Making bytes durable, and what follows when the disk says no.

All fsyncs of the store go through here. An fsync that fails with EIO is not tried again: the kernel has marked the pages
clean, so the next one would report success for bytes that are lost (fsync(2), "fsyncgate" 2018). The store is then
read-only for the rest of the process's life; running containers don't notice.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from onggi.errors import NoSpace, Unavailable
from onggi.kernel.faults import point
from onggi.kernel.filesystem import syncfs

_FATAL: Final = frozenset({errno.EIO, errno.EROFS, errno.EUCLEAN})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_broken: str | None = None
"""Why nothing is written any more; None while all is well."""


def broken() -> str | None:
    """The reason why the store is read-only, for `info` and the doctor; None when it isn't."""
    return _broken


def check_writable() -> None:
    """Raises Unavailable once a write could not be made durable."""
    if _broken is not None:
        raise Unavailable(f"the store is read-only: {_broken} (check the disk, then restart the engine)")


def declare_broken(reason: str) -> None:
    """The first reason stands."""
    global _broken
    if _broken is None:
        _broken = reason


def sync_file(fd: int, what: str) -> None:
    """The file's bytes and size are on the disk when this returns. `what` names it in errors."""
    _sync(os.fdatasync, fd, what)


def sync_directory(fd: int, what: str) -> None:
    """The names in the directory are on the disk when this returns."""
    _sync(os.fsync, fd, what)


def sync_directory_path(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_directory(fd, path)
    finally:
        os.close(fd)


def sync_filesystem(fd: int, what: str) -> None:
    """All of the file system that `fd` is on: one call for a whole tree (syncfs(2); errors are reported since Linux 5.8)."""
    _sync(syncfs, fd, what)


def _sync(operation: Callable[[int], None], fd: int, what: str) -> None:
    check_writable()
    try:
        point("store.sync")
        operation(fd)
    except OSError as error:
        if error.errno in _FATAL:
            declare_broken(f"sync of {what}: {error.strerror}")
        raise


@contextmanager
def disk_errors(what: str, *, ours: bool = True) -> Iterator[None]:
    """A full disk becomes NoSpace, a broken one Unavailable; `what` is what was being written.

    Not `ours`: the files may be anybody's (a bind mount's), whose broken disk says nothing about the store's.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpace(
                f"{what}: no space left on device (free some, for example with a prune, and try again)"
            ) from error
        if ours and error.errno in _FATAL:
            declare_broken(f"{what}: {error.strerror}")
            check_writable()
        raise
