"""Who a process runs as: docker's user[:group] against passwd and group."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.errors import InvalidArgument
from onggi.runtime.users import MAX_ID, Identity, lookup

PASSWD = [
    line.split(":")
    for line in ("root:x:0:0:root:/root:/bin/sh", "bob:x:1000:1001:Bob:/home/bob:/bin/sh", "broken:x:abc:1::/:")
]
GROUP = [
    line.split(":")
    for line in ("root:x:0:", "wheel:x:10:root,bob", "bob:x:1001:", "huge:x:4294967296:bob", "odd:x:z:bob")
]


@pytest.mark.row("S-13")
@pytest.mark.parametrize(
    ("user", "groups", "identity"),
    [
        ("", [], Identity(0, 0, (0, 10), "/root")),
        ("0", [], Identity(0, 0, (0, 10), "/root")),
        ("root", [], Identity(0, 0, (0, 10), "/root")),
        ("bob", [], Identity(1000, 1001, (1001, 10), "/home/bob")),
        ("1000", [], Identity(1000, 1001, (1001, 10), "/home/bob")),
        ("bob:wheel", [], Identity(1000, 10, (10,), "/home/bob")),
        ("bob:77", ["wheel"], Identity(1000, 77, (77, 10), "/home/bob")),
        ("5:6", [], Identity(5, 6, (6,), "/")),
        ("2147483647", [], Identity(MAX_ID, 0, (0,), "/")),
    ],
)
def test_users_are_found_as_docker_finds_them(user: str, groups: list[str], identity: Identity) -> None:
    assert lookup(user, groups, PASSWD, GROUP) == identity


@pytest.mark.row("S-13")
@pytest.mark.parametrize(
    "user", ["-1", "2147483648", "4294967295", "4294967296", "0:-1", "nobody", "bob:none", "broken", "--1", "9" * 5000]
)
def test_what_is_no_user_is_refused_and_never_root(user: str) -> None:
    with pytest.raises(InvalidArgument):
        lookup(user, [], PASSWD, GROUP)


@pytest.mark.row("S-13")
@given(st.text(max_size=40), st.lists(st.lists(st.text(max_size=8), max_size=9), max_size=6))
def test_any_words_give_ids_in_range_or_are_refused(user: str, lines: list[list[str]]) -> None:
    try:
        found = lookup(user, [], lines, lines)
    except InvalidArgument:
        return
    assert all(0 <= number <= MAX_ID for number in (found.uid, found.gid, *found.groups))
