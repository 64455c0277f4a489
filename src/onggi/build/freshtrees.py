"""Directories that a copy has just made, filled below the overlay.

Runs in a worker process. Making a file through overlayfs costs about five times what it costs in the upper directory itself (a
temporary file in the work directory, a rename, a credential switch). A directory that this very copy has made has nothing below it, so
the upper directory's own is the same directory; it is written there, and never again through the overlay while that is mounted
(Documentation/filesystems/overlayfs.rst, "Changes to underlying filesystems").
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from onggi.kernel.fds import Fd
from onggi.kernel.paths import Resolve, openat2

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_WITHIN: Final = Resolve.BENEATH | Resolve.NO_SYMLINKS | Resolve.NO_MAGICLINKS


class FreshTree:
    """The directory `path` of a copy, as it is in the upper directory, and all below it."""

    def __init__(self, path: str, root: Fd) -> None:
        self.path = path
        self._root = root
        self._times: list[tuple[str, int]] = []

    def holds(self, path: str) -> bool:
        return path == self.path or not self.path or path.startswith(f"{self.path}/")

    def open(self, path: str) -> Fd:
        """A directory in it, for writing. Raises OSError."""
        below = path[len(self.path) :].lstrip("/")
        return openat2(self._root, below or ".", _DIRECTORY, _WITHIN)

    def later(self, path: str, mtime_ns: int) -> None:
        """The time of a directory, which what is made in it would change."""
        self._times.append((path, mtime_ns))

    def close(self) -> None:
        """All is in it: the directories get their times. Raises OSError."""
        with self._root:
            for path, mtime_ns in reversed(self._times):
                with self.open(path) as at:
                    os.utime(f"/proc/self/fd/{at.fileno()}", ns=(mtime_ns, mtime_ns))


def twin(upper: str, made: int) -> Fd | None:
    """`made`, a directory in an overlay that is on nobody's path, as it is in the upper directory; None unless that is certain."""
    path = os.readlink(f"/proc/self/fd/{made}").lstrip("/")
    with contextlib.suppress(OSError), Fd(os.open(upper, _DIRECTORY)) as root:
        found = openat2(root, path or ".", _DIRECTORY, _WITHIN)
        # On one filesystem the overlay shows a directory of the upper one under its own number.
        if os.fstat(found.fileno()).st_ino == os.fstat(made).st_ino:
            return found
        found.close()
    return None
