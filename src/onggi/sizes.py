"""Sizes as people write them, read as docker's units package does, with its words for what is none. Pure."""

from __future__ import annotations

import re
from typing import Final

from onggi.errors import InvalidArgument

_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SUFFIX: Final = re.compile("b|([kmgtp])(i?b)?", re.IGNORECASE | re.ASCII)
_POWERS: Final = " kmgtp"


def human_size(text: str) -> int:
    """Bytes of `10m`, in powers of a thousand. Raises InvalidArgument."""
    return _size(text, 1000)


def memory_size(text: str) -> int:
    """Bytes of `10m`, in powers of 1,024. Raises InvalidArgument."""
    return _size(text, 1024)


def _size(text: str, base: int) -> int:
    """The number ends with the last digit, point or space; the suffix is the rest (docker/go-units, parseSize)."""
    end = max(text.rfind(one) for one in "0123456789. ")
    if end < 0:
        raise InvalidArgument(f"invalid size: '{text}'")
    number, suffix = text[: end + (text[end] != " ")], text[end + 1 :]
    if not _NUMBER.fullmatch(number):
        raise InvalidArgument(f'strconv.ParseFloat: parsing "{number}": invalid syntax')
    if (size := float(number)) < 0:
        raise InvalidArgument(f"invalid size: '{text}'")
    if not suffix:
        return int(size)
    found = _SUFFIX.fullmatch(suffix)
    if found is None:
        raise InvalidArgument(f"invalid suffix: '{suffix if len(suffix) > 3 else suffix.lower()}'")
    return int(size * base ** _POWERS.index((found[1] or " ").lower()))
