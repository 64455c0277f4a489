"""Connections that the kernel has made for a server and the server hasn't accepted yet: they are reset if it ends now."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final

_LISTEN: Final = "0A"
"""TCP_LISTEN of include/net/tcp_states.h, as /proc/net/tcp shows it."""

_LOOK_S: Final = 0.02
_QUIET: Final = 3
"""Looks in a row that must find none: a handshake under way isn't in the queue yet."""


def waiting(pid: int) -> int:
    """How many wait in the namespace of `pid`, 0 when it is gone.

    Source: proc_net_tcp in the kernel's documentation; of a listening socket, rx_queue is the length of its accept queue.
    """
    count = 0
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{name}").read_text(encoding="ascii").splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTEN:
                    count += int(words[4].partition(":")[2], 16)
    return count


async def accepted(pid: int, timeout_s: float) -> None:
    """Returns when none has waited for a moment, or after `timeout_s`."""
    quiet = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while quiet < _QUIET:
                quiet = 0 if waiting(pid) else quiet + 1
                await asyncio.sleep(_LOOK_S)
