"""What `onggi-runtime` imports for others' sake, left out: a quarter of the time that its imports take.

typing wants the classes of `re`, msgspec the classes of uuid and decimal, a JSON schema writer and readers of TOML and YAML.
No field of a runtime spec is of such a type. While those two are imported something empty stands in for these, and for datetime
what it wraps; afterwards everybody who asks gets the real ones. The version of msgspec is locked, and tests run every command in this way.

Modules on the way of a start also take `_signal` and `_socket` in place of `signal` and `socket`, which wrap each call and
number of these in enums: importing them costs as much as a tenth of a container's start, and calls take ten times as long.
"""

from __future__ import annotations

import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re


class _NotThere:
    """Stands for a class that no value is of."""

    unknown = None


def _compile(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Msgspec keeps this function for constraints on strings, which no spec has: the real one, should it be called."""
    import re

    return re.compile(pattern, flags)


_EMPTY: dict[str, dict[str, object]] = {
    "re": {"Pattern": _NotThere, "Match": _NotThere, "compile": _compile},
    "uuid": {"UUID": _NotThere, "SafeUUID": _NotThere},
    "decimal": {"Decimal": _NotThere},
    "msgspec._json_schema": {"schema": None, "schema_components": None},
    "msgspec.inspect": {},
    "msgspec.toml": {},
    "msgspec.yaml": {},
}


def import_leanly() -> None:
    """Import typing and msgspec. Must be the first to do so; changes nothing when it isn't."""
    if "typing" in sys.modules:
        return
    stubs = [name for name in _EMPTY if name not in sys.modules]
    for name in stubs:
        sys.modules[name] = module = ModuleType(name)
        module.__dict__.update(_EMPTY[name])
    # None: it is looked for no further (importlib, "sys.modules").
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    if "datetime" not in sys.modules:
        import _datetime

        stubs.append("datetime")
        sys.modules["datetime"] = _datetime
    try:
        import msgspec  # noqa: F401
    finally:
        for name in (*stubs, "typing_extensions"):
            del sys.modules[name]
