"""What may be tried again, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from time import time
from typing import Final, TypeVar

from onggi.errors import OnggiError, Unavailable
from onggi.images.options import RegistryOptions

T = TypeVar("T")

_LONGEST_WAIT_S: Final = 60.0


class TryAgain(Unavailable):
    """It failed in a way that time may mend. `wait_s` is what the registry asked for, 0 if it didn't."""

    def __init__(self, message: str, wait_s: float = 0.0, *, final: OnggiError | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        self.final = final
        """What to raise when no try is left; this error itself if None."""


async def trying(options: RegistryOptions, work: Callable[[], Awaitable[T]]) -> T:
    """`work` until it doesn't raise TryAgain, or the tries are used up; then that error."""
    for attempt in range(1, options.tries + 1):
        try:
            return await work()
        except TryAgain as error:
            if attempt == options.tries:
                raise (error.final or error) from error.__cause__
            await asyncio.sleep(pause_s(options, attempt, error.wait_s))
    raise AssertionError("tries is at least 1")


def pause_s(options: RegistryOptions, attempt: int, asked_s: float) -> float:
    """After the failed `attempt` (from 1): what was asked for, else twice as long each time; never more than a minute."""
    return min(asked_s or options.backoff_s * 2.0 ** (attempt - 1), _LONGEST_WAIT_S)


def retry_after_s(header: str) -> float:
    """Seconds, or a date; 0 when it says nothing."""
    text = header.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except (ValueError, TypeError):
        return 0.0
