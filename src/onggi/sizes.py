"""Sizes as people write them, read as docker's units package does. Pure."""

from __future__ import annotations

import re
from typing import Final

from onggi.errors import InvalidArgument

_SIZE: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+) ?([kmgtp]?)(i?b)?", re.IGNORECASE)
_POWERS: Final = " kmgtp"


def human_size(text: str) -> int:
    """Bytes of `10m`, in powers of a thousand. Raises InvalidArgument."""
    return _size(text, 1000)


def memory_size(text: str) -> int:
    """Bytes of `10m`, in powers of 1,024. Raises InvalidArgument."""
    return _size(text, 1024)


def _size(text: str, base: int) -> int:
    found = _SIZE.fullmatch(text)
    if not found:
        raise InvalidArgument(f"invalid size: '{text}'")
    return int(float(found[1]) * base ** _POWERS.index(found[2].lower() or " "))
