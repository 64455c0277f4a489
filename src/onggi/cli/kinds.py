"""How the value of a flag is read, by the type word that help shows. Errors are pflag's and strconv's."""

from __future__ import annotations

from onggi.cli.units import parse_bytes, parse_duration

Value = object

_BOOLEANS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False"), False
)
_RANGES = {
    "int": ("Int", -(1 << 63), (1 << 63) - 1),
    "uint": ("Uint", 0, (1 << 64) - 1),
    "uint16": ("Uint", 0, (1 << 16) - 1),
    "uint32": ("Uint", 0, (1 << 32) - 1),
}
"""Type → strconv's function, least, most."""


def read(kind: str, text: str) -> Value:
    """Raises ValueError with the reason."""
    if kind == "bool":
        return _boolean(text)
    if kind in _RANGES:
        return _integer(text, *_RANGES[kind])
    if kind == "bytes":
        return parse_bytes(text)
    if kind == "duration":
        return parse_duration(text)
    if kind == "decimal":
        return _decimal(text)
    if kind == "strings":
        return _commas(text)
    if kind == "stringToString":
        return _pairs(text)
    return text


def _boolean(text: str) -> bool:
    if text not in _BOOLEANS:
        raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
    return _BOOLEANS[text]


def _integer(text: str, function: str, least: int, most: int) -> int:
    digits = text if function == "Uint" else text.removeprefix("-").removeprefix("+")
    try:
        number = int(text, 0) if digits[:1].isdigit() else int("")
    except ValueError:
        raise ValueError(f'strconv.Parse{function}: parsing "{text}": invalid syntax') from None
    if not least <= number <= most:
        raise ValueError(f'strconv.Parse{function}: parsing "{text}": value out of range')
    return number


def _decimal(text: str) -> str:
    from fractions import Fraction

    try:
        exact = Fraction(text) * 10**9
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"failed to parse {text} as a rational number") from None
    if exact.denominator != 1:
        raise ValueError("value is too precise")
    return str(float(exact / 10**9))


def _commas(text: str) -> list[str]:
    """One line of CSV (pflag's stringSlice)."""
    import csv

    return next(csv.reader([text]), [])


def _pairs(text: str) -> list[str]:
    words = _commas(text) if text.count("=") != 1 else [text.strip('"')]
    for word in words:
        if "=" not in word:
            raise ValueError(f"{word} must be formatted as key=value")
    return words
