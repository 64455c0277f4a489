"""How long tests wait: as long as they say, and that times SLOW in a machine that is emulated (scripts/guest)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Final

SLOW: Final = int(os.environ.get("GUEST_SCALE", "1"))


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether it holds before the deadline: what is watched is another process's, which tells nobody."""
    deadline = time.monotonic() + seconds * SLOW
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


async def soon(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Returns when it holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds * SLOW):
        while not holds():
            await asyncio.sleep(0.02)
