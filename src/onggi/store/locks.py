"""One engine for a data root: two would each believe the other's containers to be leftovers."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Final

from onggi.errors import Conflict

LOCK_FILE: Final = "lock"


class RootLock:
    """flock on `<root>/lock`, held until `close` or the end of the process; children don't inherit it.

    flock, not fcntl's: that one is lost as soon as any descriptor of the file is closed. The holder's pid is in the file
    for people to read.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, root: str | os.PathLike[str]) -> RootLock:
        """Raises Conflict when another engine has it."""
        path = os.path.join(root, LOCK_FILE)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
            raise Conflict(
                f"{root} is in use by another engine (pid {holder}): stop it, or choose another data root"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        return cls(fd)

    def close(self) -> None:
        os.close(self._fd)
