"""STOPSIGNAL: names and numbers that Linux has. Pure."""

from __future__ import annotations

import signal
from typing import Final

from onggi.errors import InvalidArgument

_REALTIME: Final = frozenset(
    [*(f"RTMIN+{number}" for number in range(1, 16)), *(f"RTMAX-{number}" for number in range(1, 15)), "RTMIN", "RTMAX"]
)


def check_signal(text: str) -> None:
    """Raises InvalidArgument in docker's words."""
    if text.isascii() and text.isdigit():
        if 0 < int(text[:6]) <= 64:
            return
        raise InvalidArgument(f"invalid signal: {text}")
    name = text.upper().removeprefix("SIG")
    if name not in _REALTIME and f"SIG{name}" not in signal.Signals.__members__:
        raise InvalidArgument(f"invalid signal: {text}")
