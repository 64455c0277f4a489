"""What the build cache lets go: rules by kind, age and size, as BuildKit's garbage collection has them. Pure.

Source: moby buildkit cache/manager.go (calculateKeepBytes) and cmd/buildkitd/config/gcpolicy.go for the default rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from onggi.build.cache import CacheRecord

_HOUR_NS: Final = 3600 * 1_000_000_000
_CHEAP: Final = frozenset({"source.local", "exec.cachemount", "source.git.checkout"})
"""Kinds that are had again for little: they go first."""

_CHEAP_LIMIT: Final = 512 * 10**6
_CHEAP_PART: Final = 0.138
"""Of what is reserved: e times pi times the golden ratio, per cent (moby daemon/internal/builder-next/worker/gc.go)."""


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes of the file system that the cache lies on."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Rule:
    """Which records may go, and until when. 0 means: no such limit; without any limit all that may go does.

    `everything`: also those whose layers images have. `matches`: a closer look at a record.
    """

    kinds: frozenset[str] = frozenset()
    unused_ns: int = 0
    reserved: int = 0
    max_used: int = 0
    min_free: int = 0
    everything: bool = False
    matches: Callable[[CacheRecord], bool] = lambda _record: True


def default_rules(space: Space, reserved: int = 0, used: int = 0, free: int = 0) -> Sequence[Rule]:
    """In the order in which they are applied after builds; without any number, parts of the disk."""
    if not (reserved or used or free):
        reserved, used, free = space.total // 10, space.total * 8 // 10, space.total // 5
    return (
        Rule(kinds=_CHEAP, unused_ns=48 * _HOUR_NS, max_used=max(_CHEAP_LIMIT, int(reserved * _CHEAP_PART))),
        Rule(unused_ns=60 * 24 * _HOUR_NS),
        Rule(reserved=reserved, max_used=used, min_free=free),
        Rule(reserved=reserved, max_used=used, min_free=free, everything=True),
    )


def matching(filters: Mapping[str, Sequence[str]]) -> Callable[[CacheRecord], bool]:
    """A test of records: each filter that is given must fit; of one with several values, one."""

    def matches(record: CacheRecord) -> bool:
        row = record.row
        texts = {"id": record.key, "type": row.kind, "description": row.description, "parent": ""}
        flags = {"inuse": record.in_use, "shared": record.shared, "private": not record.shared}
        return all(
            any(value in (text, text[:25]) or (name == "description" and value in text) for value in filters[name])
            for name, text in texts.items()
            if name in filters
        ) and all(flag == (filters[name][0] not in ("0", "false")) for name, flag in flags.items() if name in filters)

    return matches


def chosen(records: Iterable[CacheRecord], rule: Rule, space: Space, now_ns: int) -> list[CacheRecord]:
    """Records to let go, those used longest ago first."""
    every = list(records)
    candidates = [record for record in every if not record.in_use and _may_go(record, rule, now_ns)]
    candidates.sort(key=lambda record: record.row.used_ns)
    # A rule for some kinds limits what those take.
    counted = [record for record in every if not rule.kinds or record.row.kind in rule.kinds]
    total = sum(_sizes(counted).values())
    keep = _keep(rule, total, space)
    if not keep and not (rule.reserved or rule.max_used or rule.min_free):
        return candidates
    found: list[CacheRecord] = []
    for record in candidates:
        if total <= keep:
            break
        found.append(record)
        total -= 0 if record.shared else record.row.size
    return found


def _may_go(record: CacheRecord, rule: Rule, now_ns: int) -> bool:
    if rule.kinds and record.row.kind not in rule.kinds:
        return False
    if record.shared and not rule.everything:
        return False
    if rule.unused_ns and now_ns - record.row.used_ns < rule.unused_ns:
        return False
    return rule.matches(record)


def _keep(rule: Rule, total: int, space: Space) -> int:
    """How many bytes may stay."""
    keep = rule.max_used
    missing = rule.min_free - space.free
    if missing > 0:
        keep = min(keep or total, max(0, total - missing))
    elif not keep and rule.min_free:
        keep = total
    return max(keep, rule.reserved)


def _sizes(records: Iterable[CacheRecord]) -> dict[str, int]:
    """Each layer once: several keys may name it, and what images have is theirs."""
    return {record.row.diff_id or record.key: record.row.size for record in records if not record.shared}
