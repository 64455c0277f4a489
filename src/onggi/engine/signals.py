"""Signals as people write them."""

from __future__ import annotations

import signal

from onggi.errors import InvalidArgument


def signal_number(text: str) -> int:
    """`SIGTERM`, `term`, `SIGRTMIN+3` or `15`. Raises InvalidArgument in docker's words."""
    if text.isdigit():
        number = int(text)
        if number > 64:
            raise InvalidArgument(f"the linux daemon does not support signal {number}")
    else:
        name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
        base, _, offset = name.partition("+")
        found = getattr(signal, base, None)
        number = int(found) + int(offset or 0) if isinstance(found, signal.Signals) and (offset or "0").isdigit() else 0
    if not 0 < number <= 64:
        raise InvalidArgument(f"invalid signal: {text}")
    return number
