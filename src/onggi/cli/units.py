"""Sizes, durations and times as docker's command line writes and reads them (docker/go-units, Go's time)."""

from __future__ import annotations

import re
import sys
import time

from onggi.durations import human_duration
from onggi.errors import InvalidArgument
from onggi.sizes import memory_size

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def parse_bytes(text: str) -> int:
    """`64m`, `1.5g`, `1024`: powers of 1024. Raises ValueError."""
    try:
        return memory_size(text)
    except InvalidArgument as error:
        raise ValueError(str(error)) from None


def parse_duration(text: str) -> int:
    """Go's `1h2m3.5s` in nanoseconds. Raises ValueError in Go's words."""
    bare = text[1:] if text[:1] in ("+", "-") else text
    if bare == "0":
        return 0
    parts = _DURATION.findall(bare)
    if not parts or "".join(number + unit for number, unit in parts) != bare:
        raise ValueError(_bad_duration(text, bare))
    return (-1 if text.startswith("-") else 1) * sum(int(float(number) * _NANOSECONDS[unit]) for number, unit in parts)


def _bad_duration(text: str, bare: str) -> str:
    if re.fullmatch(r"\d+(\.\d*)?|\.\d+", bare):
        return f'time: missing unit in duration "{text}"'
    if found := re.fullmatch(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))*\d+(?:\.\d+)?([^\d.]+).*", bare):
        return f'time: unknown unit "{found[1]}" in duration "{text}"'
    return f'time: invalid duration "{text}"'


def _scaled(size: float, base: float, units: tuple[str, ...], digits: int) -> str:
    step = 0
    while size >= base and step < len(units) - 1:
        size /= base
        step += 1
    return f"{size:.{digits}g}{units[step]}" if size < 10**digits else f"{size:.0f}{units[step]}"


_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def human_size(size: float, digits: int = 4) -> str:
    """Decimal, `1.23GB` (units.HumanSizeWithPrecision: %.4g)."""
    return _scaled(size, 1000.0, _DECIMAL, digits)


def binary_size(size: float) -> str:
    """Binary, `1.5GiB` (units.BytesSize)."""
    return _scaled(size, 1024.0, _BINARY, 4)


def ago(created_s: float) -> str:
    return f"{human_duration(time.time() - created_s)} ago"


def stamp(created_s: float) -> str:
    """`2024-01-02 15:04:05 +0000 UTC`, in the local zone as Go prints it."""
    local = time.localtime(created_s)
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", local)


def rfc3339(text: str) -> float:
    """Seconds of an RFC 3339 time; 0.0 for Go's zero time or what can't be read."""
    found = re.match(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text)
    if not found or found[1] == "0001":
        return 0.0
    import calendar

    seconds = calendar.timegm((*(int(found[part]) for part in range(1, 7)), 0, 0, 0))
    zone = found[8]
    offset = 0 if zone == "Z" else (int(zone[1:3]) * 3600 + int(zone[4:]) * 60) * (-1 if zone[0] == "-" else 1)
    return seconds - offset + float(f"0.{found[7] or 0}")


def since_argument(text: str) -> str:
    """`10m` before now, RFC 3339 or a unix time, as the API takes it: seconds (client side, as docker does).

    Raises ValueError in docker's words.
    """
    if not text or re.fullmatch(r"\d+(\.\d+)?", text):
        return text
    try:
        return str(int(time.time() - parse_duration(text) / 1e9))  # whole seconds, as docker has them
    except ValueError:
        pass
    return f"{_moment(text):.9f}"


def _moment(text: str) -> float:
    """A date, with as much of the clock as there is; in the local zone unless it names one."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d(?:\.\d+)?))?)?)?(Z|[+-]\d\d:\d\d)?", text)
    if not found:
        raise ValueError(f'failed to parse value as time or duration: "{text}"')
    date, hour, minute, second, zone = found.groups(default="")
    seconds = rfc3339(f"{date}T{hour or '00'}:{minute or '00'}:{second or '00'}{zone or 'Z'}")
    if zone:
        return seconds
    return seconds - time.localtime(seconds).tm_gmtoff


_ESCAPES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """`text` without control characters: a name must not move the cursor of whoever lists it."""
    return _ESCAPES.sub("\N{REPLACEMENT CHARACTER}", text)


def for_terminal(value: object) -> object:
    """JSON's value with every string of it cleaned, where a person's terminal gets it; as it is for files and pipes.

    What the user's own template says (colours, mostly) is no business of ours: the data is cleaned, not the text made of it.
    """
    return _cleaned(value) if sys.stdout.isatty() else value


def _cleaned(value: object) -> object:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {key: _cleaned(one) for key, one in value.items()}
    return [_cleaned(one) for one in value] if isinstance(value, list) else value
