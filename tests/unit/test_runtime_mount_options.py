"""Words of mount options, each by what it becomes."""

from __future__ import annotations

import pytest

from onggi.errors import InvalidArgument
from onggi.kernel.mounts import MountAttr, MountFlag
from onggi.kernel.userns import IdMaps, IdRange
from onggi.runtime.options import MountOptions, parse_options
from onggi.runtime.sources import maps_of_words

A = MountAttr
ATTRIBUTES = [
    ("ro", A.RDONLY, A.NONE), ("rw", A.NONE, A.RDONLY), ("nosuid", A.NOSUID, A.NONE), ("suid", A.NONE, A.NOSUID),
    ("nodev", A.NODEV, A.NONE), ("dev", A.NONE, A.NODEV), ("noexec", A.NOEXEC, A.NONE), ("exec", A.NONE, A.NOEXEC),
    ("noatime", A.NOATIME, A.ATIME), ("atime", A.NONE, A.ATIME), ("nodiratime", A.NODIRATIME, A.NONE),
    ("diratime", A.NONE, A.NODIRATIME), ("relatime", A.NONE, A.ATIME), ("norelatime", A.NONE, A.NONE),
    ("strictatime", A.STRICTATIME, A.ATIME), ("nostrictatime", A.NONE, A.ATIME),
    ("nosymfollow", A.NOSYMFOLLOW, A.NONE), ("symfollow", A.NONE, A.NOSYMFOLLOW),
]  # fmt: skip


@pytest.mark.row("CL-194")
@pytest.mark.parametrize(("word", "wanted", "cleared"), ATTRIBUTES)
def test_an_attribute_holds_for_the_mount_or_with_an_r_for_all_below(word: str, wanted: A, cleared: A) -> None:
    assert parse_options([word]) == MountOptions(set=wanted, clear=cleared)
    assert parse_options(["r" + word]) == MountOptions(recursive_set=wanted, recursive_clear=cleared)


@pytest.mark.row("CL-194")
@pytest.mark.parametrize("word", ["defaults", "silent", "loud", "iversion", "noiversion"])
def test_words_without_a_meaning_here_are_taken(word: str) -> None:
    assert parse_options([word]) == MountOptions()


@pytest.mark.row("CL-194")
@pytest.mark.parametrize("word", ["sync", "async", "dirsync", "mand", "nomand", "lazytime", "nolazytime"])
def test_words_of_a_file_system_go_there_and_not_to_a_bind_mount(word: str) -> None:
    assert parse_options([word]).data == {word: None}
    assert parse_options(["bind", word]).data == {}


@pytest.mark.row("CL-194")
@pytest.mark.parametrize(("word", "flag"), [(f.name.lower(), f) for f in (MountFlag.PRIVATE, MountFlag.SHARED, MountFlag.SLAVE, MountFlag.UNBINDABLE) if f.name])  # fmt: skip
def test_propagation_is_kept_in_order(word: str, flag: MountFlag) -> None:
    assert parse_options(["rshared", word, "r" + word]).propagation == [
        (MountFlag.SHARED, True),
        (flag, False),
        (flag, True),
    ]


@pytest.mark.row("CL-194")
@pytest.mark.parametrize(
    ("words", "wanted", "cleared"),
    [
        (["ro", "rw"], A.NONE, A.RDONLY),
        (["rw", "ro"], A.RDONLY, A.NONE),
        (["noatime", "relatime"], A.NONE, A.ATIME),
        (["strictatime", "noatime"], A.NOATIME, A.ATIME),
        (["noexec", "exec", "noexec"], A.NOEXEC, A.NONE),
    ],
)
def test_later_words_win(words: list[str], wanted: A, cleared: A) -> None:
    assert parse_options(words) == MountOptions(set=wanted, clear=cleared)
    assert parse_options(["r" + word for word in words]) == MountOptions(recursive_set=wanted, recursive_clear=cleared)


@pytest.mark.row("CL-194")
def test_the_rest_is_the_file_systems() -> None:
    options = parse_options(["size=64m", "newinstance", "tmpcopyup", "remount", "ridmap"])
    assert options.data == {"size": "64m", "newinstance": None}
    assert (options.copy_up, options.remount, options.id_map, options.id_map_below) == (True, True, True, True)
    assert parse_options(["rbind"]) == MountOptions(bind=True, recursive=True)


CONTAINER = IdMaps((IdRange(0, 700, 100),), (IdRange(0, 800, 100),))


@pytest.mark.row("CL-194", "CL-197")
def test_a_map_in_words_is_of_our_ids_or_the_containers() -> None:
    words = parse_options(["idmap=uids=0-1000-10#20-2000-1;gids=@0-5-10"]).id_map_words
    assert maps_of_words(words, CONTAINER) == IdMaps(
        (IdRange(0, 1000, 10), IdRange(20, 2000, 1)), (IdRange(0, 805, 10),)
    )


@pytest.mark.row("CL-194", "CL-197")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("pids=0-0-1", "'pids' is neither uids nor gids"),
        ("uids=0-0-1", "uids and gids belong together"),
        ("uids=0-0;gids=0-0-1", "'0-0' is no ID-ID-LENGTH"),
        ("uids=@0-99-2;gids=0-0-1", "@0-99-2 is not in the container's user namespace"),
        ("uids=0-0-0;gids=0-0-1", "a range is empty"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(words: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        maps_of_words(words, CONTAINER)
