"""Rules of the build cache's garbage collection."""

from __future__ import annotations

import pytest

from onggi.build.cache import CacheRecord, CacheRow
from onggi.build.collecting import Rule, Space, chosen, default_rules
from onggi.build.gcsettings import parse_gc
from onggi.errors import InvalidArgument

DAY_NS = 24 * 3600 * 10**9
NOW = 100 * DAY_NS
SPACE = Space(total=100_000, free=50_000)


def record(
    key: str, days: float, size: int = 100, kind: str = "regular", *, shared: bool = False, in_use: bool = False
) -> CacheRecord:
    """One that was used `days` ago."""
    row = CacheRow("", key, 0, int(NOW - days * DAY_NS), f"sha256:{key}", size, kind=kind)
    return CacheRecord(key, row, shared, in_use)


def names(records: list[CacheRecord], rule: Rule, space: Space = SPACE) -> str:
    return "".join(each.key for each in chosen(records, rule, space, NOW))


@pytest.mark.row("F-167")
@pytest.mark.row("F-168")
def test_rules_choose_by_age_kind_and_size_the_oldest_first() -> None:
    found = [record("a", 3), record("b", 9), record("c", 1, kind="exec.cachemount"), record("d", 5)]
    assert names(found, Rule()) == "bdac"
    assert names(found, Rule(unused_ns=4 * DAY_NS)) == "bd"
    assert names(found, Rule(kinds=frozenset({"exec.cachemount"}))) == "c"
    # 400 bytes are there: what is over 250 goes.
    assert names(found, Rule(max_used=250)) == "bd"
    assert names(found, Rule(max_used=250, reserved=350)) == "b"
    assert names(found, Rule(min_free=50_150)) == "bd"
    assert names(found, Rule(min_free=50_150, reserved=400)) == ""
    assert names(found, Rule(min_free=10)) == ""
    assert names(found, Rule(matches=lambda each: each.key == "a")) == "a"


@pytest.mark.row("F-167")
def test_what_images_have_and_what_is_in_use_stays() -> None:
    found = [record("a", 3, shared=True), record("b", 9, in_use=True), record("c", 1)]
    assert names(found, Rule()) == "c"
    assert names(found, Rule(everything=True)) == "ac"
    # What images have takes no space of the cache's.
    assert names(found, Rule(max_used=200)) == ""


@pytest.mark.row("F-167")
def test_the_default_rules_let_cheap_things_go_first_and_old_ones_always() -> None:
    cheap, old, cap, last = default_rules(SPACE)
    big = 600 * 10**6
    found = [
        record("a", 3, big, "source.local"),
        record("b", 1, big, "exec.cachemount"),
        record("c", 61),
        record("d", 3),
    ]
    assert names(found, cheap) == "a"
    assert names(found, old) == "c"
    assert (cap.reserved, cap.max_used, cap.min_free) == (10_000, 80_000, 20_000)
    assert last.everything


GC = """{
  "enabled": true, "defaultReservedSpace": "1kb", "defaultMaxUsedSpace": "2KiB", "defaultMinFreeSpace": "1.5k"
}"""

POLICY = """{"policy": [
  {"filter": ["unused-for=48h", "type=exec.cachemount", "type=source.local"], "reservedSpace": "10GB"},
  {"all": true, "keepStorage": "20g", "maxUsedSpace": "30GB", "minFreeSpace": "1t"}
]}"""


@pytest.mark.row("F-167", "F-168")
def test_rules_are_what_daemon_json_says() -> None:
    cheap, _, cap, last = parse_gc(GC).rules(SPACE)
    assert (cap.reserved, cap.max_used, cap.min_free, cap.everything) == (1024, 2048, 1536, False)
    assert (last.max_used, last.everything, cheap.max_used) == (2048, True, 512 * 10**6)
    assert parse_gc('{"defaultKeepStorage": "20GB"}').rules(SPACE)[2].reserved == 20 << 30
    mounts, everything = parse_gc(POLICY).rules(SPACE)
    assert (mounts.unused_ns, mounts.reserved, mounts.everything) == (2 * DAY_NS, 10 << 30, False)
    assert mounts.matches(record("a", 3, kind="exec.cachemount"))
    assert not mounts.matches(record("a", 3))
    assert (everything.reserved, everything.max_used, everything.min_free) == (20 << 30, 30 << 30, 1 << 40)
    assert parse_gc('{"enabled": false}').rules(SPACE) == ()
    assert parse_gc('{"policy": []}').rules(SPACE) == []


@pytest.mark.row("F-167")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"defaultReservedSpace": "many"}', "failed to parse defaultReservedSpace: invalid size: 'many'"),
        ('{"policy": [{"maxUsedSpace": "1x"}]}', "failed to parse maxUsedSpace"),
        ('{"policy": [{"filter": ["unused-for=ever"]}]}', 'invalid duration "ever"'),
        ('{"enabled": "yes"}', "builder.gc"),
        ("{", "builder.gc"),
    ],
)
def test_settings_that_mean_nothing_are_refused_at_the_start(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_gc(text)
