"""How Go prints values: %v of fmt, its verbs, and JSON as docker's template function writes it.

Values are what JSON gives: dict, list, str, int, float, bool, None. A Struct is a dict that Go would have as a struct: it
prints as its values in braces, and a field that it hasn't is an error.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any


class Missing:
    """No such key in a map: prints as `<no value>`, and is false."""

    def __bool__(self) -> bool:
        return False


MISSING = Missing()


class NilList(list[Any]):
    """A slice that is nil: `[]` where it prints, null in JSON."""


class NilMap(dict[str, Any]):
    """A map that is nil: `map[]` where it prints, null in JSON."""


class GoTime(str):
    """A time of JSON (RFC 3339) that Go has as a time."""

    __slots__ = ()

    def shown(self) -> str:
        """`2024-01-02 15:04:05.5 +0000 UTC`."""
        found = re.fullmatch(r"([\d-]+)T([\d:]+(?:\.\d+)?)(Z|[+-]\d\d:\d\d)", self)
        if not found:
            return str(self)
        clock = found[2].rstrip("0").rstrip(".") if "." in found[2] else found[2]
        zone = "+0000 UTC" if found[3] == "Z" else f"{found[3].replace(':', '')} {found[3].replace(':', '')}"
        return f"{found[1]} {clock} {zone}"


class Struct(dict[str, Any]):
    """`go_type` is the name for messages; `fields` the order of printing; `extra` has fields that its JSON lacks or names
    in another way, `hidden` are such names of JSON.
    """

    __slots__ = ("extra", "fields", "go_type", "hidden")

    def __init__(
        self,
        values: dict[str, Any],
        go_type: str = "",
        fields: tuple[str, ...] = (),
        extra: dict[str, Any] | None = None,
        hidden: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(values)
        self.go_type, self.fields, self.extra, self.hidden = go_type, fields, extra or {}, hidden

    def __bool__(self) -> bool:
        return True


def show(value: Any) -> str:
    """`value` as fmt prints it with %v."""
    if value is None:
        return "<nil>"
    if isinstance(value, Missing):
        return "<no value>"
    if value is True or value is False:
        return str(value).lower()
    if isinstance(value, Struct):
        return "{" + " ".join(show(value.get(key, value.extra.get(key))) for key in value.fields or value) + "}"
    if isinstance(value, GoTime):
        return value.shown()
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{show(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(show(item) for item in value) + "]"
    return go_float(value) if isinstance(value, float) else str(value)


def go_float(value: float) -> str:
    """%v of a float64: the shortest digits, with an exponent below 1e-4 and from 1e6 on (strconv, format g)."""
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    power = int(f"{value:.16e}".partition("e")[2])
    sign, digits = ("-" if value < 0 else ""), repr(abs(value)).partition("e")[0].replace(".", "").strip("0") or "0"
    if -4 <= power < 6:
        return repr(value).removesuffix(".0")
    return f"{sign}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{'-' if power < 0 else '+'}{abs(power):02d}"


def go_json(value: Any) -> str:
    """encoding/json without HTML escapes; functions among the values are no data."""

    def plain(one: Any) -> Any:
        if isinstance(one, (Missing, NilList, NilMap)):
            return None
        if isinstance(one, dict):
            # A struct has its own order, a map is sorted.
            items = one.items() if isinstance(one, Struct) else sorted(one.items())
            return {key: plain(inner) for key, inner in items if not callable(inner)}
        return [plain(inner) for inner in one] if isinstance(one, list) else one

    text = json.dumps(plain(value), separators=(",", ":"), ensure_ascii=False)
    if isinstance(value, Struct) and value.go_type.endswith("Context"):
        # A row of a list writes itself, and does escape for HTML.
        text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return text


def type_name(value: Any) -> str:
    """%T, as near as JSON's types allow."""
    if isinstance(value, Struct) and value.go_type:
        return value.go_type
    for kind, name in (
        (bool, "bool"),
        (int, "int"),
        (float, "float64"),
        (str, "string"),
        (list, "[]string"),
        (dict, "map[string]interface {}"),
    ):
        if isinstance(value, kind):
            return name
    return "<nil>"


_VERB = re.compile(r"%([-+# 0]*)(\d+)?(?:\.(\d+))?(?:\[(\d+)\])?([a-zA-Z%])|%$")


def printf(form: str, *values: Any) -> str:
    """fmt.Sprintf for the verbs that templates use; what doesn't fit is said in fmt's own way."""
    left, explicit = list(values), False

    def one(found: re.Match[str]) -> str:
        nonlocal explicit
        verb = found[5]
        if verb is None:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        if found[4]:  # %[n]: arguments go on from the nth
            explicit = True
            left[:] = values[int(found[4]) - 1 :]
        if not left:
            return f"%!{verb}({'BADINDEX' if found[4] else 'MISSING'})"
        text = _verb(verb, found[1], found[3], left.pop(0))
        width = int(found[2] or 0)
        if "-" in found[1]:
            return text.ljust(width)
        if "0" in found[1] and verb in "dxXofeg":
            return text.zfill(width)
        return text.rjust(width)

    text = _VERB.sub(one, form)
    if left and not explicit:
        text += "%!(EXTRA " + ", ".join(f"{type_name(value)}={show(value)}" for value in left) + ")"
    return text


def _verb(verb: str, flags: str, precision: str | None, value: Any) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    sign = "+" if "+" in flags else ""
    match verb:
        case "v":
            return show(value)
        case "T":
            return type_name(value)
        case "t" if isinstance(value, bool):
            return str(value).lower()
        case "s" | "q" if isinstance(value, str):
            cut = value if precision is None else value[: int(precision)]
            return cut if verb == "s" else json.dumps(cut, ensure_ascii=False)
        case "s" if isinstance(value, (list, dict)):
            return show(value)
        case "q" if isinstance(value, list):
            return "[" + " ".join(json.dumps(show(item), ensure_ascii=False) for item in value) + "]"
        case "d" | "b" | "o" if number and isinstance(value, int):
            return f"{value:{sign}{verb}}"
        case "x" | "X" if number and isinstance(value, int):
            return f"{'0x' if '#' in flags else ''}{value:{verb}}"
        case "x" | "X" if isinstance(value, str):
            return value.encode().hex() if verb == "x" else value.encode().hex().upper()
        case "c" | "U" if number and isinstance(value, int):
            return chr(value) if verb == "c" else f"U+{value:04X}"
        case "f" | "F" | "e" | "E" if isinstance(value, float):
            return f"{value:{sign}.{precision or 6}{verb}}"
        case "g" if isinstance(value, float):
            return go_float(value) if precision is None else f"{value:.{precision}g}"
    return f"%!{verb}(<nil>)" if value is None else f"%!{verb}({type_name(value)}={show(value)})"
