"""Directories that a copy has just made, filled below the overlay.

Runs in a worker process. Making a file through overlayfs costs about five times what it costs in the upper directory itself (a
temporary file in the work directory, a rename, a credential switch). A directory that this very copy has made has nothing below it, so
the upper directory's own is the same directory; it is written there, and never again through the overlay while that is mounted
(Documentation/filesystems/overlayfs.rst, "Changes to underlying filesystems").
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Final

from onggi.kernel.fds import Fd
from onggi.kernel.paths import Resolve, openat2

if TYPE_CHECKING:
    from onggi.build.entries import Entry

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_WITHIN: Final = Resolve.BENEATH | Resolve.NO_SYMLINKS | Resolve.NO_MAGICLINKS


class FreshTree:
    """The directory `path` of a copy, as it is in the upper directory, and all below it.

    `before` is the same directory of a layer that an earlier copy has made, of files with these `digests` by path.
    """

    def __init__(self, path: str, root: Fd, before: Fd | None, digests: dict[str, bytes]) -> None:
        self.path = path
        self._root = root
        self._before, self._digests = before, digests
        self._beside: Fd | None = None
        """The counterpart of the directory that was opened last."""
        self._times: list[tuple[str, int]] = []

    def holds(self, path: str) -> bool:
        return path == self.path or not self.path or path.startswith(f"{self.path}/")

    def open(self, path: str) -> Fd:
        """A directory in it, for writing. Raises OSError."""
        below = path[len(self.path) :].lstrip("/") or "."
        if self._before is not None:
            self._beside = None
            with contextlib.suppress(OSError):
                self._beside = openat2(self._before, below, os.O_PATH | os.O_DIRECTORY, _WITHIN)
        return openat2(self._root, below, _DIRECTORY, _WITHIN)

    def linked(self, directory: int, name: str, entry: Entry, mode: int, owner: tuple[int, int]) -> bool:
        """Whether `name` is now a link to the file of the earlier copy, which is just what is to be made.

        `directory` is the one that was opened last.
        """
        if self._beside is None or self._digests.get(entry.path) != entry.digest or entry.inode or entry.xattrs:
            return False
        with contextlib.suppress(OSError):
            found = os.stat(name, dir_fd=self._beside.fileno(), follow_symlinks=False)
            wanted = (stat.S_IFREG | mode, *owner, entry.size, entry.mtime_ns)
            if (found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns) == wanted:
                os.link(name, name, src_dir_fd=self._beside.fileno(), dst_dir_fd=directory, follow_symlinks=False)
                return True
        return False

    def later(self, path: str, mtime_ns: int) -> None:
        """The time of a directory, which what is made in it would change."""
        self._times.append((path, mtime_ns))

    def close(self) -> None:
        """All is in it: the directories get their times. Raises OSError."""
        with self._root:
            for path, mtime_ns in reversed(self._times):
                with self.open(path) as at:
                    os.utime(f"/proc/self/fd/{at.fileno()}", ns=(mtime_ns, mtime_ns))


def fresh_tree(upper: str, made: int, path: str, earlier: str, digests: dict[str, bytes]) -> FreshTree | None:
    """`made`, a directory in an overlay that is on nobody's path, as it is in the upper directory; None unless that is certain.

    `path` is what the copy calls it, `earlier` the layer of an earlier copy or "".
    """
    below = os.readlink(f"/proc/self/fd/{made}").lstrip("/")
    root = _opened(upper, below)
    # On one filesystem the overlay shows a directory of the upper one under its own number.
    if root is None or os.fstat(root.fileno()).st_ino != os.fstat(made).st_ino:
        return None
    return FreshTree(path, root, _opened(earlier, below) if earlier else None, digests)


def _opened(top: str, below: str) -> Fd | None:
    with contextlib.suppress(OSError), Fd(os.open(top, _DIRECTORY)) as root:
        return openat2(root, below or ".", _DIRECTORY, _WITHIN)
    return None
