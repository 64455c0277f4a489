"""The query of a request: text, flags, numbers, times and filters. Pure: each asks for one name, or raises InvalidArgument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs

import msgspec

from onggi.api.times import parse_moment
from onggi.errors import InvalidArgument

Filters = dict[str, list[str]]
"""Name of a filter → the values of which one must hold."""

_FALSE: Final = frozenset({"", "0", "no", "false", "none"})
_MOST_FIELDS: Final = 1000
_EMPTY: Final[dict[str, list[str]]] = {}


# {"label": ["a"]}, or as docker's CLI writes it {"label": {"a": true}}.
_decode_filters: Final = msgspec.json.Decoder(dict[str, list[str] | dict[str, bool]] | None).decode


class Query:
    """Names are case-sensitive, as dockerd's are. A name given twice: the first counts, `texts` gives all."""

    __slots__ = ("_values",)

    def __init__(self, raw: str) -> None:
        if not raw:
            self._values = _EMPTY
            return
        try:
            self._values = parse_qs(raw, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
        except ValueError as error:
            raise InvalidArgument(f"invalid query: {error}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def everything(self) -> Mapping[str, Sequence[str]]:
        """All names with their values, for those that know their own names."""
        return self._values

    def text(self, name: str, default: str = "") -> str:
        values = self._values.get(name)
        return values[0] if values else default

    def texts(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Absent is `default`; empty, 0, no, false and none are false; all else is true."""
        values = self._values.get(name)
        return default if values is None else values[0].strip().lower() not in _FALSE

    def number(self, name: str, default: int | None = None) -> int | None:
        text = self.text(name)
        if not text:
            return default
        try:
            return _integer(text)
        except ValueError:
            raise InvalidArgument(
                f'invalid value for {name}: strconv.Atoi: parsing "{text[:32]}": invalid syntax'
            ) from None

    def moment(self, name: str, now_ns: int) -> int:
        """Nanoseconds since 1970; 0 when it isn't given or is 0."""
        text = self.text(name)
        return parse_moment(text, now_ns) if text and text != "0" else 0

    def filters(self, allowed: frozenset[str], name: str = "filters") -> Filters:
        """The filters, of which each name is one of `allowed`. Raises InvalidArgument as dockerd does."""
        text = self.text(name)
        if not text:
            return {}
        try:
            decoded = _decode_filters(text) or {}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidArgument(f"invalid filters: want a JSON object of lists, got {text[:64]}") from None
        found: Filters = {}
        for key, values in decoded.items():
            if key not in allowed:
                raise InvalidArgument(f"invalid filter '{key}'")
            found[key] = values if isinstance(values, list) else list(values)
        return found


def _integer(text: str) -> int:
    """As Go's Atoi: no spaces, no underscores, 64 bits."""
    if not text.lstrip("+-").isascii() or not text.lstrip("+-").isdigit() or len(text) > 19:
        raise ValueError(text)
    return int(text)
