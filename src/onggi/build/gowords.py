"""Values as Go prints them: docker's history is written with %v and %q. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from onggi.oci.image import HealthConfig

_ESCAPES: Final = {
    "\a": r"\a", "\b": r"\b", "\t": r"\t", "\n": r"\n", "\v": r"\v", "\f": r"\f", "\r": r"\r", '"': r"\"", "\\": r"\\"
}  # fmt: skip
_UNITS: Final = (("h", 3600 * 10**9), ("m", 60 * 10**9))


def quoted_text(text: str) -> str:
    """`%q` of a string (strconv.Quote). A byte that is no UTF-8 is a surrogate here, as os.fsdecode makes it."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(letter: str) -> str:
    code = ord(letter)
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    if letter.isprintable():
        return letter
    if 0xDC80 <= code <= 0xDCFF:
        return rf"\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return rf"\x{code:02x}"
    return rf"\u{code:04x}" if code < 0x10000 else rf"\U{code:08x}"


def quoted(words: Iterable[str]) -> str:
    """`%q` of a list of strings."""
    return "[" + " ".join(map(quoted_text, words)) + "]"


def plain(words: Iterable[str]) -> str:
    """`%v` of a list of strings."""
    return "[" + " ".join(words) + "]"


def duration(nanoseconds: int) -> str:
    """`%v` of a time.Duration: 1m30s, 1.5s, 20ms."""
    if not nanoseconds:
        return "0s"
    if nanoseconds < 10**9:
        for unit, size in (("ms", 10**6), ("µs", 10**3)):
            if nanoseconds >= size:
                return f"{_decimal(nanoseconds, size)}{unit}"
        return f"{nanoseconds}ns"
    text = ""
    for unit, size in _UNITS:
        count, nanoseconds = divmod(nanoseconds, size)
        if count or text:
            text += f"{count}{unit}"
    return f"{text}{_decimal(nanoseconds, 10**9)}s"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def health(config: HealthConfig) -> str:
    """`%q` of the structure: the number of retries is quoted as a letter."""
    times = (config.interval, config.timeout, config.start_period, config.start_interval)
    words = " ".join(f'"{duration(each)}"' for each in times)
    return f"&{{{quoted(config.test)} {words} {_rune(config.retries)}}}"


def _rune(value: int) -> str:
    """`%q` of a number."""
    escapes = {7: r"\a", 8: r"\b", 9: r"\t", 10: r"\n", 11: r"\v", 12: r"\f", 13: r"\r", 39: r"\'", 92: r"\\"}
    if value in escapes:
        return f"'{escapes[value]}'"
    if value > 0x10FFFF:
        return "'\ufffd'"
    if chr(value).isprintable():
        return f"'{chr(value)}'"
    return rf"'\x{value:02x}'" if value < 0x80 else rf"'\u{value:04x}'"
