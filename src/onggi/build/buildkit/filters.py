"""Filters of records: `key==value`, `!=`, `~=` (regular expression), `<`, `<=`, `>`, `>=`, or a key alone; comma for and, several for or.

Source: containerd's filters package, and moby buildkit solver/llbsolver/history/filter.go for times. Pure.
"""

from __future__ import annotations

import csv
import datetime as dt
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from onggi.errors import InvalidArgument

Fields = Mapping[str, "str | int"]
"""Text, or a number: seconds since the epoch for times, nanoseconds for durations."""

_OPERATORS: Final = re.compile(r"(==|!=|~=|<=|>=|<|>|=)")
_PARTS: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS_NS: Final = {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9}
_PATTERN_LIMIT: Final = 256


def matcher(expressions: Sequence[str]) -> Callable[[Fields], bool]:
    """Whether a record's fields match one of `expressions`; without any all do. Raises InvalidArgument."""
    alternatives = [_all_of(expression) for expression in expressions if expression]
    if not alternatives:
        return lambda _fields: True
    return lambda fields: any(matches(fields) for matches in alternatives)


def _all_of(expression: str) -> Callable[[Fields], bool]:
    terms = [_term(word.strip()) for word in next(csv.reader([expression]), []) if word.strip()]
    return lambda fields: all(matches(fields) for matches in terms)


def _term(word: str) -> Callable[[Fields], bool]:
    key, operator, value = (*_OPERATORS.split(word, maxsplit=1), "", "")[:3]
    key, value = key.strip(), value.strip().strip('"')
    if not re.fullmatch(r"[\w.\-/]+", key):
        raise InvalidArgument(f"invalid filter {word!r}")
    match operator:
        case "":
            return lambda fields: fields.get(key) not in (None, "", "false", 0)
        case "==" | "=":
            return lambda fields: str(fields.get(key, "")) == value
        case "!=":
            return lambda fields: str(fields.get(key, "")) != value
        case "~=":
            pattern = _pattern(value)
            return lambda fields: pattern.search(str(fields.get(key, ""))) is not None
        case _:
            return _ordered(key, operator, value)


def _pattern(value: str) -> re.Pattern[str]:
    if len(value) > _PATTERN_LIMIT:
        raise InvalidArgument(f"a filter's pattern has at most {_PATTERN_LIMIT} letters")
    try:
        return re.compile(value)
    except re.error as error:
        raise InvalidArgument(f"invalid pattern {value!r}: {error}") from None


def _ordered(key: str, operator: str, value: str) -> Callable[[Fields], bool]:
    bound = nanoseconds(value) if key == "duration" else _moment_s(value)

    def matches(fields: Fields) -> bool:
        found = fields.get(key)
        if not isinstance(found, int):
            return False
        return {"<": found < bound, "<=": found <= bound, ">": found > bound, ">=": found >= bound}[operator]

    return matches


def nanoseconds(text: str) -> int:
    """Go's durations: `1h30m`. Raises InvalidArgument."""
    if not text or _PARTS.sub("", text):
        raise InvalidArgument(f"invalid duration {text!r}")
    return int(sum(float(number) * _UNITS_NS[unit] for number, unit in _PARTS.findall(text)))


def _moment_s(text: str) -> int:
    """A time (RFC 3339), or how long ago."""
    try:
        return int(time.time() - nanoseconds(text) / 1e9)
    except InvalidArgument:
        pass
    try:
        return int(dt.datetime.fromisoformat(text).timestamp())
    except ValueError:
        raise InvalidArgument(f"invalid time {text!r}") from None
