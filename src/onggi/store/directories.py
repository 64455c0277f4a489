"""Directories that an archive is unpacked into, by path, with the last ones kept open."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from onggi.kernel.paths import Resolve, make_dirs_in_root, openat2

_KEPT: Final = 128
_FLAGS: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_STRICT: Final = Resolve.BENEATH | Resolve.NO_SYMLINKS | Resolve.NO_MAGICLINKS | Resolve.NO_XDEV
_AS_CHROOT: Final = Resolve.IN_ROOT | Resolve.NO_MAGICLINKS | Resolve.NO_XDEV


class KeptDirectories:
    """The `Directories` of unpack.py. `resolve(path, make)` opens one that isn't kept; what it answers is owned here."""

    def __init__(self, resolve: Callable[[str, bool], int]) -> None:
        self._resolve = resolve
        self._open: OrderedDict[str, int] = OrderedDict()
        self._stale: list[int] = []

    def open(self, path: str, *, make: bool = True) -> int:
        self._close_stale()
        fd = self._open.get(path)
        if fd is not None:
            self._open.move_to_end(path)
            return fd
        fd = self._resolve(path, make)
        self.added(path, fd)
        return fd

    def added(self, path: str, fd: int) -> None:
        known = self._open.pop(path, None)
        if known is not None:
            os.close(known)
        self._open[path] = fd
        if len(self._open) > _KEPT:
            _, oldest = self._open.popitem(last=False)
            os.close(oldest)

    def replaced(self, path: str) -> None:  # noqa: ARG002 - the protocol's
        """Nothing is kept: a link elsewhere may have led below `path`. Closed at the next `open`: the caller still uses one."""
        self._stale.extend(self._open.values())
        self._open.clear()

    def close(self) -> None:
        self.replaced("")
        self._close_stale()

    def _close_stale(self) -> None:
        while self._stale:
            os.close(self._stale.pop())


def layer_directories(root: int) -> KeptDirectories:
    """Those of a layer below `root`.

    A path with a link in it means what it would mean in a chroot, as for docker and containerd: some builders write
    `lib -> usr/lib` and then lib/x. No path leads out of `root`, and none to another file system.
    """

    def resolve(path: str, make: bool) -> int:
        try:
            return openat2(root, path or ".", _FLAGS, _STRICT).detach()
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ELOOP} or (error.errno == errno.ENOENT and not make):
                raise
        if make:
            return make_dirs_in_root(root, path, 0o755).detach()
        return openat2(root, path, _FLAGS, _AS_CHROOT).detach()

    return KeptDirectories(resolve)
