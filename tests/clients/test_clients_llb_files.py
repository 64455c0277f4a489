"""File actions of graphs that a client sends itself. What trees come to is what dockerd's BuildKit answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from onggi.build.buildkit.pb import ops_pb2
from onggi.build.buildkit.rpc import RpcError
from tests.clients.daemon import Daemon, running
from tests.clients.llb import Builder, Graph, Output, Tree, copy, mkdir, mkfile, owner, remove, symlink, with_builder

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


def source(graph: Graph) -> Output:
    """The tree that copies are made from."""
    return graph.file(
        None,
        mkdir("/s", 0o750, owner=owner(9, 9)),
        mkfile("/s/a.txt", "A", 0o600, owner=owner(1, 2)),
        mkfile("/s/b.md", "B"),
        mkdir("/s/sub"),
        mkfile("/s/sub/c.txt", "C"),
        symlink("a.txt", "/s/l"),
    )


WHOLE = {"a.txt": "600 1:2 A", "b.md": "644 0:0 B", "sub/": "755 0:0", "sub/c.txt": "644 0:0 C", "l": "-> a.txt"}


def under(path: str, tree: Tree, **top: str) -> Tree:
    return {**top, **{path + name: told for name, told in tree.items()}}


ACTIONS: dict[str, tuple[list[ops_pb2.FileAction], Tree | str]] = {
    "a directory under a new name": ([copy("/s", "/d", 0)], under("/d/", WHOLE) | {"/d/": "750 9:9"}),
    "a directory into one": (
        [mkdir("/d"), copy("/s", "/d", 0)],
        under("/d/s/", WHOLE) | {"/d/": "755 0:0", "/d/s/": "750 9:9"},
    ),
    "its contents": ([copy("/s", "/d", 0, dirCopyContents=True)], under("/d/", WHOLE) | {"/d/": "755 0:0"}),
    "a file into a new directory": (
        [copy("/s/a.txt", "/n/", 0, createDestPath=True)],
        {"/n/": "755 0:0", "/n/a.txt": "600 1:2 A"},
    ),
    "a file without its parent": ([copy("/s/a.txt", "/n/d", 0)], "failed to stat /n/d"),
    "by wildcard": (
        [copy("/s/*.txt", "/w/", 0, allowWildcard=True, createDestPath=True)],
        {"/w/": "755 0:0", "/w/a.txt": "600 1:2 A"},
    ),
    "by a wildcard that fits nothing": ([copy("/s/*.no", "/w/", 0, allowWildcard=True)], r"/s/\*\.no not found"),
    "by one that may": (
        [copy("/s/*.no", "/w/", 0, allowWildcard=True, allowEmptyWildcard=True, createDestPath=True)],
        {},
    ),
    "a link": ([copy("/s/l", "/f", 0)], {"/f": "-> a.txt"}),
    "what a link leads to": ([copy("/s/l", "/f", 0, followSymlink=True)], {"/f": "600 1:2 A"}),
    "with owner and mode": (
        [copy("/s/sub", "/d", 0, owner=owner(5, 6), mode=0o640)],
        {"/d/": "640 5:6", "/d/c.txt": "640 5:6 C"},
    ),
    "with a mode in words": (
        [copy("/s/sub", "/d", 0, modeStr="u=rwX,go=")],
        {"/d/": "700 0:0", "/d/c.txt": "600 0:0 C"},
    ),
    "what patterns include": (
        [copy("/s", "/d", 0, include_patterns=["**/*.txt"])],
        {"/d/": "750 9:9", "/d/a.txt": "600 1:2 A", "/d/sub/": "755 0:0", "/d/sub/c.txt": "644 0:0 C"},
    ),
    "what patterns exclude": (
        [copy("/s", "/d", 0, exclude_patterns=["*.md", "sub", "l"])],
        {"/d/": "750 9:9", "/d/a.txt": "600 1:2 A"},
    ),
    "a required path that is missing": (
        [copy("/s", "/d", 0, include_patterns=["*"], required_paths=["z"])],
        "required path z",
    ),
    "what isn't there": ([copy("/zz", "/d", 0)], "/zz: no such file"),
    "a file over a directory": (
        [mkdir("/d"), mkdir("/d/a.txt"), copy("/s/a.txt", "/d/", 0)],
        "cannot overwrite directory",
    ),
    "through a link": (
        [mkdir("/t"), symlink("/t", "/d"), copy("/s/a.txt", "/d/", 0)],
        {"/d": "-> /t", "/t/": "755 0:0", "/t/a.txt": "600 1:2 A"},
    ),
    "parents belong to whom the copy is for": (
        [copy("/s/a.txt", "/p/r", 0, createDestPath=True, owner=owner(5, 6))],
        {"/p/": "755 5:6", "/p/r": "600 5:6 A"},
    ),
    "removed by wildcard": (
        [mkfile("/x.o", ""), mkfile("/y.o", ""), mkfile("/z", ""), remove("/*.o", allowWildcard=True)],
        {"/z": "644 0:0 "},
    ),
    "removed with all below": ([mkdir("/d/e", makeParents=True), remove("/d")], {}),
    "removed, missing": ([remove("/q")], "stat /q: no such file"),
    "removed, may be missing": ([mkdir("/d"), remove("/q", allowNotFound=True)], {"/d/": "755 0:0"}),
    "a file that is there keeps its mode": ([mkfile("/a", "1", 0o600), mkfile("/a", "2")], {"/a": "600 0:0 2"}),
    "a file through a link": (
        [mkdir("/t"), symlink("/t/x", "/l"), mkfile("/l", "via")],
        {"/l": "-> /t/x", "/t/": "755 0:0", "/t/x": "644 0:0 via"},
    ),
    "a file without its directory": ([mkfile("/n/a", "1")], "open /n/a: no such file"),
    "a directory without its parent": ([mkdir("/n/a")], "mkdir /n/a: no such file"),
    "a link over a file": ([mkfile("/a"), symlink("b", "/a")], "symlink b /a: file exists"),
    "the root": ([remove("/")], "invalid path"),
}


@pytest.mark.row("F-287", "F-284")
@pytest.mark.parametrize("case", ACTIONS)
def test_file_actions_make_the_tree_that_buildkits_make(daemon: Daemon, case: str) -> None:
    actions, wanted = ACTIONS[case]

    async def work(builder: Builder) -> None:
        graph = Graph()
        result = graph.file(None, *actions, others=[source(graph)])
        if isinstance(wanted, str):
            with pytest.raises(RpcError, match=wanted):
                await builder.files(graph, result)
        else:
            assert await builder.files(graph, result) == wanted

    with_builder(daemon, work)


def test_actions_stay_in_their_root_whatever_links_say(daemon: Daemon, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")

    async def work(builder: Builder) -> None:
        graph = Graph()
        start = graph.file(None, symlink(f"{outside}", "/out"), symlink("../../../../..", "/up"))
        for action in (
            mkfile(f"/up{outside}/file", "theirs"),
            mkfile("/out/file", "theirs"),
            remove("/out/file"),
            copy("/up", f"/out/{'../' * 9}", 0, followSymlink=True),
            mkfile("/../../made", "x"),
        ):
            with suppress(RpcError):
                await builder.solve(graph, graph.file(start, action))

    with_builder(daemon, work)
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "mine"
