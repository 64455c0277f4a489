"""Names in a build context and patterns over them: nothing leaves it, nothing backtracks."""

from __future__ import annotations

import io
import tarfile
import time

import pytest

from onggi.build.classic import Classic
from onggi.build.context import Context
from onggi.build.entries import DIRECTORY, FILE, SYMLINK, Entry
from onggi.build.gowords import duration
from onggi.build.output import Message
from onggi.build.ports import exposed
from onggi.errors import Corrupt, InvalidArgument
from onggi.globs import Glob
from onggi.ignore import IgnoreRules, clean, read_ignore_file
from onggi.store.tarread import TarReader


def context(*entries: Entry) -> Context:
    return Context(list(entries), -1)


def file(path: str, digest: bytes = b"d", **fields: int) -> Entry:
    return Entry(
        path, FILE, fields.get("mode", 0o644), fields.get("mtime", 0), 1, 0, digest, inode=fields.get("inode", 0)
    )


def link(path: str, target: str) -> Entry:
    return Entry(path, SYMLINK, 0o777, 0, link=target)


@pytest.mark.row("S-49")
@pytest.mark.row("F-084")
def test_links_and_dots_stay_in_the_context() -> None:
    tree = context(
        file("a/f"), link("up", "../../../../a/f"), link("absolute", "/a/f"), link("out", "/etc/passwd"), link("loop", "loop"), link("d", "a"),
        link("a/back", ".."),
    )  # fmt: skip
    for path in ("a/f", "../../a/f", "/a/f", "up", "absolute", "d/f", "a/back/a/f", "d/../d/./f"):
        found = tree.find(path)
        assert found is not None
        assert found.entry.path == "a/f", path
    for path in ("out", "loop", "loop/x", "a/f/x", "nothing"):
        assert tree.find(path) is None


def test_later_entries_win_and_hard_links_share() -> None:
    tree = context(
        file("a", b"1"), file("a", b"2"), Entry("b", FILE, 0, 0, link="a", inode=-1), link("l", "x"), file("x/f")
    )
    a, b = tree.find("a"), tree.find("b")
    assert a is not None
    assert b is not None
    assert (a.entry.digest, b.entry.digest, a.entry.inode, b.entry.inode) == (b"2", b"2", 1, 1)
    assert tree.find("l/f") is tree.find("x/f")
    with pytest.raises(Corrupt, match="is a hard link to"):
        context(Entry("b", FILE, 0, 0, link="nothing", inode=-1))


@pytest.mark.row("F-085")
def test_wildcards_are_gos_own() -> None:
    tree = context(file("a.go"), file("b.go"), file("c.py"), file("d/a.go"), file("d/[x].go"), file("d/*.go"))
    assert [path for path, _ in tree.match("*.go")] == ["a.go", "b.go"]
    assert [path for path, _ in tree.match("?.[a-h]*")] == ["a.go", "b.go"]
    assert [path for path, _ in tree.match("*/a.go")] == ["d/a.go"]
    assert [path for path, _ in tree.match("d/\\[x].go")] == ["d/[x].go"]
    assert [path for path, _ in tree.match("[^a].go")] == ["b.go"]
    assert tree.match("*.rs") == []
    with pytest.raises(InvalidArgument, match="syntax error in pattern"):
        tree.match("[a")


@pytest.mark.row("F-154")
def test_a_digest_is_of_names_modes_and_contents_but_not_of_times() -> None:
    base = context(file("d/f"), link("d/l", "f")).find("d")
    assert base is not None
    same = context(file("d/f", mtime=5), link("d/l", "f")).find("d")
    assert same is not None
    assert base.digest() == same.digest()
    for other in (
        context(file("d/f", b"x"), link("d/l", "f")),
        context(file("d/f", mode=0o755), link("d/l", "f")),
        context(file("d/g"), link("d/l", "f")),
        context(file("d/f"), link("d/l", "g")),
        context(file("d/f"), link("d/l", "f"), Entry("d/e", DIRECTORY, 0o755, 0)),
    ):
        found = other.find("d")
        assert found is not None
        assert found.digest() != base.digest()


@pytest.mark.row("F-123")
@pytest.mark.row("F-124")
def test_ignore_rules_are_mobys() -> None:
    rules = IgnoreRules(
        ["**/*.pyc", "node_modules", "!node_modules/keep", "*.md", "!README.md", "a/**/z", "/rooted", "dir/", "x\\*y"]
    )
    ignored = [
        "a.pyc",
        "x/y/a.pyc",
        "node_modules",
        "node_modules/a/b",
        "x.md",
        "a/z",
        "a/b/c/z",
        "a/z/below",
        "rooted",
        "dir/f",
        "x*y",
    ]
    kept = ["node_modules/keep", "README.md", "d/x.md", "a/zz", "b/rooted", "xzy"]
    assert [path for path in (*ignored, *kept) if rules.ignores(path)] == ignored
    assert read_ignore_file(b"\xef\xbb\xbf# c\n\n /a/ \n! b\n#x\n./c/../d\n") == ["a", "!b", "d"]
    with pytest.raises(InvalidArgument, match="illegal exclusion pattern"):
        IgnoreRules(["!"])


@pytest.mark.row("S-26")
@pytest.mark.parametrize("pattern", ["*a" * 2000, "**/" * 1300 + "b", "?*" * 2000, "[a-z]" * 800, "**/a" * 1000])
def test_patterns_of_strangers_take_linear_time(pattern: str) -> None:
    glob = Glob(pattern, deep=True)

    def cost_s(length: int) -> float:
        """The least of several: what else runs on the processor only adds."""
        costs = []
        for _ in range(4):
            start = time.process_time()
            glob.matches("a/" * length)
            costs.append(time.process_time() - start)
        return min(costs)

    # Six times as long a path: 6 when linear, 36 when quadratic, and never when exponential.
    assert cost_s(24_000) < 15 * cost_s(4_000) + 0.01


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a//b/./c", "a/b/c"), ("/../a", "/a"), ("a/../..", ".."), ("", "."), ("/", "/"), ("../a", "../a")],
)
def test_paths_are_cleaned_as_go_does(path: str, expected: str) -> None:
    assert clean(path) == expected


@pytest.mark.row("F-109")
def test_exposed_ports_are_ranges_of_numbers_with_a_protocol() -> None:
    assert exposed("80") == ["80/tcp"]
    assert exposed("8000-8002/UDP") == ["8000/udp", "8001/udp", "8002/udp"]
    for word in ("x", "80/icmp", "70000", "9-8", "", "/tcp", "x:80:80"):
        with pytest.raises(InvalidArgument):
            exposed(word)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0s"), (1_500_000_000, "1.5s"), (90 * 10**9, "1m30s"), (3600 * 10**9, "1h0m0s"), (20_000_000, "20ms")],
)
def test_durations_are_printed_as_go_prints_them(value: int, expected: str) -> None:
    assert duration(value) == expected


@pytest.mark.row("F-046")
def test_steps_are_told_in_the_order_of_the_file() -> None:
    said: list[str] = []
    classic = Classic(lambda message: said.append(message.stream if isinstance(message, Message) else ""), remove=True)
    first, second = classic.vertex("[a 1/1] RUN one"), classic.vertex("[b 1/1] RUN two")
    classic.script([("FROM x", None), ("RUN one", first), ("FROM y", None), ("RUN two", second)], {0: "base", 2: ""})
    second.start()
    second.log(1, b"from two\n")
    assert said == []
    first.start()
    first.log(1, b"from one\n")
    assert said[-2:] == [f" ---> Running in {first.digest[7:19]}\n", "from one\n"]
    second.done()
    first.done()
    assert said.index("from one\n") < said.index("from two\n")
    assert [line for line in said if line.startswith("Step")] == [
        "Step 1/4 : FROM x\n", "Step 2/4 : RUN one\n", "Step 3/4 : FROM y\n", "Step 4/4 : RUN two\n",
    ]  # fmt: skip


@pytest.mark.row("F-014")
def test_what_a_failed_step_said_is_told_though_it_is_not_its_turn() -> None:
    said: list[str] = []
    classic = Classic(lambda message: said.append(message.stream if isinstance(message, Message) else ""), remove=True)
    first, second = classic.vertex("RUN one"), classic.vertex("RUN two")
    classic.script([("RUN one", first), ("RUN two", second)], {})
    first.start()
    second.start()
    second.log(2, b"why\n")
    second.done("failed")
    assert said[-2:] == ["Step 2/2 : RUN two\n", "why\n"]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513])
@pytest.mark.parametrize("read", [True, False])
def test_an_archive_may_end_in_its_last_files_padding(size: int, read: bool) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("a", "b"):
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(b"x" * size))
    data = out.getvalue()
    cut = data[: 512 + -(-size // 512) * 512 + 512 + size]
    for whole in (data, cut):
        reader = TarReader(iter([whole, *[b""] * 5]).__next__)
        names = []
        while (member := reader.next()) is not None:
            names.append(member.name)
            if read:
                assert b"".join(bytes(piece) for _, piece in reader.data(member)) == b"x" * size
        assert names == [b"a", b"b"]
    if size:
        reader = TarReader(iter([cut[:-1], *[b""] * 5]).__next__)
        reader.next()
        reader.next()
        with pytest.raises(Corrupt, match="ends within a file"):
            reader.next()
