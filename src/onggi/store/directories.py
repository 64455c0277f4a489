"""Directories of a layer that is being unpacked, by path, with the last ones kept open."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from typing import Final

from onggi.kernel.paths import Resolve, make_dirs_in_root, openat2

_KEPT: Final = 128
_FLAGS: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_STRICT: Final = Resolve.BENEATH | Resolve.NO_SYMLINKS | Resolve.NO_MAGICLINKS | Resolve.NO_XDEV
_AS_CHROOT: Final = Resolve.IN_ROOT | Resolve.NO_MAGICLINKS | Resolve.NO_XDEV


class LayerDirectories:
    """The `Directories` (unpack.py) below `root`.

    A path with a link in it means what it would mean in a chroot, as for docker and containerd: some builders write
    `lib -> usr/lib` and then lib/x. No path leads out of `root`, and none to another file system.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._open: OrderedDict[str, int] = OrderedDict()

    def open(self, path: str, *, make: bool = True) -> int:
        if not path:
            return self._root
        fd = self._open.get(path)
        if fd is not None:
            self._open.move_to_end(path)
            return fd
        fd = self._resolve(path, make=make)
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
        # A link elsewhere may have led below `path`, so nothing is kept.
        self.close()

    def close(self) -> None:
        while self._open:
            _, fd = self._open.popitem()
            os.close(fd)

    def _resolve(self, path: str, *, make: bool) -> int:
        try:
            return openat2(self._root, path, _FLAGS, _STRICT).detach()
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ELOOP}:
                raise
            if error.errno == errno.ENOENT and not make:
                raise
        if make:
            return make_dirs_in_root(self._root, path, 0o755).detach()
        return openat2(self._root, path, _FLAGS, _AS_CHROOT).detach()
