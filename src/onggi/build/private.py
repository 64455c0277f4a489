"""Places on a tmpfs for what must never touch a disk: secrets of a build, and sockets of agents."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from typing import Final

from onggi.kernel import filesystem

_SHARED_MEMORY: Final = "/dev/shm"
_TMPFS_MAGIC: Final = 0x01021994
"""Source: linux/magic.h."""


class PrivatePlaces:
    """`root` is the engine's run directory; where that is no tmpfs, a directory of this `tag` in /dev/shm is used."""

    def __init__(self, root: str, tag: str) -> None:
        self.root = os.path.join(root, "build") if _is_memory(root) else f"{_SHARED_MEMORY}/onggi-{tag}"

    @contextlib.contextmanager
    def directory(self) -> Iterator[str]:
        """A new directory that goes with the block, and everything in it."""
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        path = os.path.join(self.root, secrets.token_hex(8))
        os.mkdir(path, 0o700)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.rmdir(self.root)

    def clean(self) -> None:
        """What an ended engine has left."""
        shutil.rmtree(self.root, ignore_errors=True)


def _is_memory(path: str) -> bool:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return filesystem.magic(fd) == _TMPFS_MAGIC
    finally:
        os.close(fd)
