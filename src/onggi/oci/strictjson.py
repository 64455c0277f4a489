"""JSON that every reader takes for the same: no name twice in an object, no deeper than anybody needs (S-27).

Of two values with one name Go's decoder takes the last, others the first: what one program has checked another would not run.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from onggi.errors import InvalidArgument

DEPTH: Final = 64
_BRACKET: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|([\]}])')


def check(data: bytes, what: str) -> None:
    """Raises InvalidArgument, whose text begins with `what`.

    Holds:
        `data` is JSON: the search for its brackets is linear then.
    """
    depth = 0
    for found in _BRACKET.finditer(data):
        if found[1]:
            depth -= 1
        elif found[0] in (b"[", b"{"):
            depth += 1
            if depth > DEPTH:
                raise InvalidArgument(f"{what} invalid: nested deeper than {DEPTH}")
    try:
        json.loads(data, object_pairs_hook=_unique)
    except _TwiceError as error:
        raise InvalidArgument(f"{what} invalid: field {error.args[0]!r} is there twice") from None


class _TwiceError(Exception):
    """Its argument is the name."""


def _unique(pairs: list[tuple[str, Any]]) -> None:
    names = set()
    for name, _ in pairs:
        if name in names:
            raise _TwiceError(name)
        names.add(name)
