"""ConsoleSize as Go's `[2]uint` reads it: what is missing is 0, what is more is not looked at."""

from __future__ import annotations

from collections.abc import Sequence

from onggi.errors import InvalidArgument


def terminal_size(words: Sequence[int]) -> tuple[int, int]:
    """(rows, columns). Raises InvalidArgument for less than nothing. struct winsize has 16 bits of each (tty_ioctl(4))."""
    rows, columns = [*words, 0, 0][:2]
    if rows < 0 or columns < 0:
        raise InvalidArgument(f"invalid ConsoleSize {list(words)}: rows and columns can't be negative")
    return rows & 0xFFFF, columns & 0xFFFF
