"""Times as queries give them: seconds with a fraction, RFC 3339 with parts missing, or a duration back from now. Pure.

Source: moby's timestamp.GetTimestamp and Go's time.ParseDuration.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from onggi.errors import InvalidArgument

_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_LONGEST_TEXT: Final = 64
_seconds = re.compile(r"(-?[0-9]{1,18})(?:\.([0-9]{1,9})[0-9]*)?").fullmatch
_term = re.compile(r"([0-9]{0,18}(?:\.[0-9]{0,18})?)(ns|us|µs|μs|ms|s|m|h)").match
_date = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:T([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?)?)?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})?"
).fullmatch


def parse_duration(text: str) -> int | None:
    """Nanoseconds of a Go duration (`1h30m`, `1.5s`), None when it is none."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    total, at = 0, 0
    while at < len(rest):
        found = _term(rest, at)
        if found is None or found[1] in ("", "."):
            return None
        whole, _, fraction = found[1].partition(".")
        unit = _UNITS[found[2]]
        total += int(whole or 0) * unit
        if fraction:
            total += int(fraction) * unit // 10 ** len(fraction)
        at = found.end()
    return sign * total if rest else None


def parse_moment(text: str, now_ns: int) -> int:
    """Nanoseconds since 1970 of what a query's `since` or `until` says. Raises InvalidArgument.

    A date without a zone is UTC: the engine's zone means nothing to a client on another machine.
    """
    if len(text) > _LONGEST_TEXT:
        raise InvalidArgument(f"invalid time {text[:_LONGEST_TEXT]!r}…")
    if found := _seconds(text):
        nanoseconds = int((found[2] or "").ljust(9, "0"))
        return int(found[1]) * 1_000_000_000 + (-nanoseconds if text.startswith("-") else nanoseconds)
    if found := _date(text):
        day, hour, minute, second, fraction, zone = found.groups(default="")
        offset = "+00:00" if zone in ("", "Z") else zone
        try:
            moment = datetime.fromisoformat(f"{day}T{hour or '00'}:{minute or '00'}:{second or '00'}{offset}")
        except ValueError:
            raise InvalidArgument(f"invalid time {text!r}") from None
        return int(moment.timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)
    if (duration := parse_duration(text)) is not None:
        return now_ns - duration
    raise InvalidArgument(f'invalid time "{text}": want seconds, RFC 3339 or a duration such as 10m')


def rfc3339_nano(time_ns: int) -> str:
    """Go's RFC3339Nano in UTC: no zeros at the end of the fraction."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    text = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"
