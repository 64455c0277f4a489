"""The C heap of this process."""

from __future__ import annotations

from typing import Final

from onggi.kernel.syscalls import libc

_TRIM_THRESHOLD: Final = -1
_SMALL: Final = 128 * 1024


def stay_small() -> None:
    """What is freed at the heap's end goes back to the kernel at once, instead of when there are megabytes of it.

    The C library raises its thresholds with the largest block that was ever freed, to be quicker with blocks of that size;
    a process that lives for months with a few large ones early on keeps what they took. Source: mallopt(3).
    """
    tune = getattr(libc, "mallopt", None)
    if tune is not None:
        tune(_TRIM_THRESHOLD, _SMALL)


def trim() -> None:
    """Gives pages that hold nothing back to the kernel; for the end of a start, whose garbage the allocator keeps.

    Source: malloc_trim(3). A C library without it (musl) keeps them.
    """
    give_back = getattr(libc, "malloc_trim", None)
    if give_back is not None:
        give_back(0)
