"""Descriptors that close themselves."""

from __future__ import annotations

import os
from typing import Self


class Fd:
    """Owner of one descriptor: closed with the block, with `close`, or when nobody holds it any more."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """The number. Raises ValueError after close or detach."""
        if self._fd < 0:
            raise ValueError("the descriptor is closed")
        return self._fd

    def detach(self) -> int:
        """The number, which the caller owns from now on."""
        fd, self._fd = self.fileno(), -1
        return fd

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self._fd >= 0:
            self.close()

    def __repr__(self) -> str:
        return f"Fd({self._fd})"


AnyFd = int | Fd
"""What every function of this room takes for a descriptor."""

AT_FDCWD = -100


def number(fd: AnyFd) -> int:
    return fd if isinstance(fd, int) else fd.fileno()
