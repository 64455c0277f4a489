"""The functions of templates: Go's own and docker's. Each raises ArgumentError with Go's reason.

Source: text/template "Functions", docker/cli templates/templates.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onggi.cli.template_values import Missing, Struct, go_json, printf, show, type_name


class ArgumentError(Exception):
    """A function can't do with what it got; the reason is Go's."""


def _kind(value: Any) -> str:
    for kind, name in ((bool, "bool"), (int, "int"), (float, "float"), (str, "string")):
        if isinstance(value, kind):
            return name
    return "nil" if value is None or isinstance(value, Missing) else "none"


def _eq(left: Any, *others: Any) -> bool:
    if not others:
        raise ArgumentError("missing argument for comparison")
    for other in others:
        kinds = _kind(left), _kind(other)
        if "none" in kinds:
            raise ArgumentError(f"non-comparable type {show(left)}: {type_name(left)}")
        if kinds[0] != kinds[1] and "nil" not in kinds:
            raise ArgumentError("incompatible types for comparison")
        if left == other:
            return True
    return False


def _lt(left: Any, right: Any) -> bool:
    kinds = _kind(left), _kind(right)
    if set(kinds) & {"none", "nil", "bool"}:
        raise ArgumentError("invalid type for comparison")
    if kinds[0] != kinds[1]:
        raise ArgumentError("incompatible types for comparison")
    return bool(left < right)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None or isinstance(value, Missing):
            raise ArgumentError("index of untyped nil")
        if isinstance(value, Struct):
            raise ArgumentError(f"can't index item of type {type_name(value)}")
        if isinstance(value, dict):
            value = value[key] if key in value else _zero(value)
        elif isinstance(value, (list, str)):
            value = _item(value, key)
        else:
            raise ArgumentError(f"can't index item of type {type_name(value)}")
    return value


def _zero(values: dict[str, Any]) -> Any:
    """What Go's map gives for a key it hasn't: the zero value of its elements' type, seen from those that are there."""
    first = next(iter(values.values()), "")
    return {list: [], str: "", bool: False, int: 0}.get(type(first))


def _item(value: list[Any] | str, key: Any) -> Any:
    if not isinstance(key, int) or isinstance(key, bool):
        raise ArgumentError(f"cannot index slice/array with type {type_name(key)}")
    if key == len(value):
        raise ArgumentError(f"reflect: {'string' if isinstance(value, str) else 'slice'} index out of range")
    if not 0 <= key < len(value):
        raise ArgumentError(f"index out of range: {key}")
    return value.encode()[key] if isinstance(value, str) else value[key]


def _slice(value: Any, *bounds: int) -> Any:
    if not isinstance(value, (list, str)):
        raise ArgumentError(f"can't slice item of type {type_name(value)}")
    for bound in bounds:
        if not 0 <= bound <= len(value):
            raise ArgumentError(f"index out of range: {bound}")
    start, end = (*bounds, len(value))[:2] if bounds else (0, len(value))
    if start > end:
        raise ArgumentError(f"invalid slice index: {start} > {end}")
    return value[start:end]


def _len(value: Any) -> int:
    if value is None or isinstance(value, Missing):
        raise ArgumentError("len of nil pointer")
    if not isinstance(value, (str, list, dict)) or isinstance(value, Struct):
        raise ArgumentError(f"len of type {type_name(value)}")
    return len(value.encode()) if isinstance(value, str) else len(value)


def _print(*values: Any) -> str:
    """fmt.Sprint: a space between two operands when neither is a string."""
    text = ""
    for at, value in enumerate(values):
        if at and not isinstance(value, str) and not isinstance(values[at - 1], str):
            text += " "
        text += show(value)
    return text


def _call(function: Any, *_: Any) -> Any:
    raise ArgumentError(f"non-function {show(function)} of type {type_name(function)}")


def _html(*values: Any) -> str:
    text = _print(*values)
    for letter, entity in (("&", "&amp;"), ("'", "&#39;"), ('"', "&#34;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(letter, entity)
    return text


def _js(*values: Any) -> str:
    text = _print(*values).replace("\\", "\\\\").replace("'", "\\'").replace('"', '\\"')
    return "".join(f"\\u{ord(c):04X}" if c in "<>&=" or ord(c) < 0x20 else c for c in text)


def _urlquery(*values: Any) -> str:
    return "".join(
        c
        if (c.isascii() and c.isalnum()) or c in "-_.~"
        else "+"
        if c == " "
        else "".join(f"%{b:02X}" for b in c.encode())
        for c in _print(*values)
    )


def _title(text: str) -> str:
    import re

    return re.sub(r"(^|[\s])(\S)", lambda found: found[1] + found[2].upper(), text)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": go_json,
    "split": lambda text, by: text.split(by),
    "join": lambda items, by: by.join(show(item) for item in items or []),
    "title": _title,
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "pad": lambda text, before, after: (" " * before + text + " " * after) if text else text,
    "truncate": lambda text, length: text[:length],
    "println": lambda *values: " ".join(map(show, values)) + "\n",
    "print": _print,
    "printf": printf,
    "len": _len,
    "index": _index,
    "slice": _slice,
    "not": lambda value: not value,
    "eq": _eq,
    "ne": lambda left, right: not _eq(left, right),
    "lt": _lt,
    "le": lambda left, right: _lt(left, right) or _eq(left, right),
    "gt": lambda left, right: not (_lt(left, right) or _eq(left, right)),
    "ge": lambda left, right: not _lt(left, right),
    "html": _html,
    "js": _js,
    "urlquery": _urlquery,
    "call": _call,
}
LAZY = {"and", "or"}
"""They stop at the first argument that decides, so that later ones aren't evaluated."""
LEAST = {"index": 1, "slice": 1, "and": 1, "or": 1, "eq": 1, "call": 1, "printf": 1}
EXACTLY = {"json": 1, "split": 2, "join": 2, "title": 1, "lower": 1, "upper": 1, "pad": 3, "truncate": 2, "len": 1, "not": 1, "ne": 2,
           "lt": 2, "le": 2, "gt": 2, "ge": 2}  # fmt: skip
PARAMETERS: dict[str, tuple[type, ...]] = {
    "split": (str, str), "join": (list, str), "title": (str,), "lower": (str,), "upper": (str,), "pad": (str, int, int),
    "truncate": (str, int), "printf": (str,),
}  # fmt: skip
"""How many arguments, and of which types, where Go is strict."""

HEADER_FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: lambda value, *_: value for name in ("json", "split", "join", "title", "lower", "upper", "truncate")
}
"""In a table's heading these leave the header as it is."""
