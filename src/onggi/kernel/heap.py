"""The C heap of this process."""

from __future__ import annotations

from onggi.kernel.syscalls import libc


def trim() -> None:
    """Gives pages that hold nothing back to the kernel; for the end of a start, whose garbage the allocator keeps.

    Source: malloc_trim(3). A C library without it (musl) keeps them.
    """
    give_back = getattr(libc, "malloc_trim", None)
    if give_back is not None:
        give_back(0)
