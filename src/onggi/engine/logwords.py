"""Values of log options as Go reads them, refused in its words. Pure."""

from __future__ import annotations

import re
from typing import Final

from onggi.errors import InvalidArgument

_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_DURATION: Final = re.compile(r"([-+]?)((?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+")
_TERM: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def number(text: str) -> int:
    """Raises InvalidArgument."""
    if not re.fullmatch(r"[-+]?\d{1,18}", text):
        raise InvalidArgument(f'strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)


def unsigned(text: str, limit: int) -> int:
    """Raises InvalidArgument."""
    if not re.fullmatch(r"\d{1,20}", text):
        raise InvalidArgument(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) > limit:
        raise InvalidArgument(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def boolean(text: str) -> bool:
    """Raises InvalidArgument."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise InvalidArgument(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def duration_s(text: str) -> float:
    """Raises InvalidArgument."""
    if text in {"0", "+0", "-0"}:
        return 0.0
    found = _DURATION.fullmatch(text)
    if not found:
        if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)", text):
            raise InvalidArgument(f'time: missing unit in duration "{text}"')
        raise InvalidArgument(f'time: invalid duration "{text}"')
    total = sum(float(value) * _SECONDS[unit] for value, unit in _TERM.findall(text))
    return -total if found[1] == "-" else total


def duration_text(seconds: float) -> str:
    """As Go prints one below an hour: `1ms`, `10s`, `1m30s`."""
    if seconds < 1:
        for unit, factor in (("ms", 1e3), ("µs", 1e6)):
            if seconds * factor >= 1:
                return f"{seconds * factor:g}{unit}"
        return f"{seconds * 1e9:g}ns" if seconds else "0s"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"
