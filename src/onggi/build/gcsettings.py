"""`builder.gc` of daemon.json: when the build cache lets go of what. Pure.

Names and numbers are dockerd's (moby daemon/config/builder.go): sizes as in `20GB` (powers of 1024), filters as in `unused-for=48h`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from onggi.build.collecting import Rule, Space, default_rules, matching
from onggi.build.parse import duration_of
from onggi.errors import InvalidArgument
from onggi.sizes import memory_size

_AGES: Final = ("unused-for", "until")


class GcRule(msgspec.Struct, frozen=True):
    """One of `policy`. Names are in lower case: Go takes them in any."""

    all: bool = False
    filter: list[str] = []
    reservedspace: str = ""
    maxusedspace: str = ""
    minfreespace: str = ""
    keepstorage: str = ""
    """The older name of reservedSpace."""


class GcSettings(msgspec.Struct, frozen=True):
    """As the file has it. With a `policy` the default rules don't hold."""

    enabled: bool = True
    policy: list[GcRule] | None = None
    defaultreservedspace: str = ""
    defaultmaxusedspace: str = ""
    defaultminfreespace: str = ""
    defaultkeepstorage: str = ""

    def rules(self, space: Space) -> Sequence[Rule]:
        """In the order in which they are applied."""
        if not self.enabled:
            return ()
        if self.policy is not None:
            return [_rule(each) for each in self.policy]
        reserved = _bytes("defaultReservedSpace", self.defaultreservedspace or self.defaultkeepstorage)
        used = _bytes("defaultMaxUsedSpace", self.defaultmaxusedspace)
        free = _bytes("defaultMinFreeSpace", self.defaultminfreespace)
        return default_rules(space, reserved, used, free) if reserved or used or free else default_rules(space)


def parse_gc(text: str) -> GcSettings:
    """Of JSON. Raises InvalidArgument for what dockerd wouldn't start with."""
    try:
        found = msgspec.convert(_lowered(msgspec.json.decode(text)), GcSettings)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InvalidArgument(f"builder.gc: {error}") from None
    found.rules(Space(1, 1))
    return found


def _rule(rule: GcRule) -> Rule:
    filters: dict[str, list[str]] = {}
    for text in rule.filter:
        name, _, value = text.partition("=")
        filters.setdefault(name.strip().lower(), []).append(value.strip())
    ages = [duration_of(value) for name in _AGES for value in filters.pop(name, ())]
    return Rule(
        unused_ns=max(ages, default=0),
        reserved=_bytes("reservedSpace", rule.reservedspace or rule.keepstorage),
        max_used=_bytes("maxUsedSpace", rule.maxusedspace),
        min_free=_bytes("minFreeSpace", rule.minfreespace),
        everything=rule.all,
        matches=matching(filters),
    )


def _bytes(name: str, text: str) -> int:
    """docker/go-units' RAMInBytes."""
    if not text:
        return 0
    try:
        return memory_size(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"failed to parse {name}: {error}") from None


def _lowered(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name).lower(): _lowered(each) for name, each in value.items()}
    return [_lowered(each) for each in value] if isinstance(value, list) else value
