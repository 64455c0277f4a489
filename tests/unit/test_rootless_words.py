"""What `onggid --rootless` reads and where it keeps things: pure."""

from __future__ import annotations

import pytest

from onggi.api.options import DEFAULTS, merge, parse_arguments
from onggi.errors import InvalidArgument, OnggiError
from onggi.rootless import places
from onggi.rootless.ids import Person, free_from, ranges_for

SUBUID = "root:100000:65536\nann:165536:65536\n1001:300000:1000\nann:400000:5\nbroken:x:y\n\nann:1\n"


def test_ranges_are_found_by_name_and_by_number() -> None:
    assert ranges_for(SUBUID, Person("ann", 1000, 1000)) == [(165536, 65536), (400000, 5)]
    assert ranges_for(SUBUID, Person("ben", 1001, 1001)) == [(300000, 1000)]
    assert ranges_for(SUBUID, Person("eve", 1002, 1002)) == []


def test_the_range_that_is_proposed_is_nobodys() -> None:
    assert free_from("") == 100000
    assert free_from(SUBUID) == 400005


@pytest.mark.row("P-145")
def test_everything_lies_where_only_the_user_goes() -> None:
    found = places.defaults({"HOME": "/home/ann", "XDG_RUNTIME_DIR": "/run/user/1000"})
    assert found == {
        "data-root": "/home/ann/.local/share/onggi",
        "exec-root": "/run/user/1000/onggi",
        "host": ["unix:///run/user/1000/onggi.sock"],
        "config-file": "/home/ann/.config/onggi/daemon.json",
    }
    moved = places.defaults({"HOME": "/h", "XDG_RUNTIME_DIR": "/r", "XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c"})
    assert (moved["data-root"], moved["config-file"]) == ("/d/onggi", "/c/onggi/daemon.json")
    for missing in ("HOME", "XDG_RUNTIME_DIR"):
        with pytest.raises(OnggiError, match=missing):
            places.defaults({"HOME": "/h", "XDG_RUNTIME_DIR": "/r"} | {missing: ""})


def test_what_is_given_comes_before_what_is_usual() -> None:
    usual = DEFAULTS | {"data-root": "/home/ann/data", "host": ["unix:///run/user/1000/onggi.sock"]}
    settings = merge(parse_arguments(["--rootless", "-H", "unix:///x"]), {}, usual)
    assert (settings.flag("rootless"), settings.text("data-root"), settings.texts("host")) == (True, "/home/ann/data", ["unix:///x"])  # fmt: skip
    with pytest.raises(InvalidArgument, match="on the command line"):
        merge({}, {"rootless": True})
