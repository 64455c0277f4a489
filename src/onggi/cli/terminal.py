"""The user's terminal: raw mode that always ends, its size, and news of a change of size."""

from __future__ import annotations

import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def is_terminal(fd: int) -> bool:
    return os.isatty(fd)


def size() -> tuple[int, int]:
    """(rows, columns), (0, 0) without a terminal."""
    try:
        found = os.get_terminal_size(sys.stdin.fileno())
    except OSError:
        return 0, 0
    return found.lines, found.columns


@contextmanager
def raw_mode(fd: int) -> Iterator[None]:
    """Every key goes to the container, none is echoed here. Put back on every way out."""
    before = termios.tcgetattr(fd)
    try:
        # At once and nothing thrown away: what was typed ahead is for the container.
        tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextmanager
def following_size(changed: Callable[[int, int], None]) -> Iterator[None]:
    """Calls `changed` with the size now, and at each SIGWINCH."""

    def tell(*_: object) -> None:
        rows, columns = size()
        if rows and columns:
            changed(rows, columns)

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        tell()
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
