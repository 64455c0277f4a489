"""COPY --parents: what stands before the pivot goes, `**` is any depth, from the context and from another stage alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from onggi.engine.engine import Engine
from tests.engine.building import build, tree
from tests.engine.engines import needs_root, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")

FILES = {
    f"test/a/{path}": path
    for path in ("b/c/d/foo", "b/c/d/e/bay", "b2/c/d/e/bar", "b/c2/d/e/baz", "b/c2/d/e2/baz", "top.txt", "b/one.txt", "b/c/two.txt")
}  # fmt: skip

# What BuildKit's own tests of this flag expect, and its reference's examples.
CASES = {
    "test/a/b/./c/d": ["c/d/e/bay", "c/d/foo"],
    "test/a/b/c/d/.": ["test/a/b/c/d/e/bay", "test/a/b/c/d/foo"],
    "./test/a/b/c/d": ["test/a/b/c/d/e/bay", "test/a/b/c/d/foo"],
    "./test/a/./b/c/d": ["b/c/d/e/bay", "b/c/d/foo"],
    "test/a/./b/./c": ["b/c/d/e/bay", "b/c/d/foo", "b/c/two.txt"],
    "test/a/./*/c": ["b/c/d/e/bay", "b/c/d/foo", "b/c/two.txt", "b2/c/d/e/bar"],
    "test/a/b*/./c/**/e": ["c/d/e/bar", "c/d/e/bay"],
    "test/a/b/c*/./d/**/baz": ["d/e/baz", "d/e2/baz"],
    "test/**/*.txt": ["test/a/b/c/two.txt", "test/a/b/one.txt", "test/a/top.txt"],
    "test/a/b/./c2/**": ["c2/d/e/baz", "c2/d/e2/baz"],
    "test/a/b9*/c": [],
}


@pytest.mark.row("F-086", "F-095")
def test_parents_are_kept_from_the_pivot_on_and_stars_reach_any_depth(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        lines = [
            f"COPY --parents {source} /here/{n}/\nCOPY --from=base --parents /{source.removeprefix('./')} /there/{n}/"
            for n, source in enumerate(CASES)
        ]
        built = await build(engine, "\n".join(["FROM scratch AS base", "COPY . /", "FROM busybox", *lines, ""]), FILES)
        found = [path for path, what in tree(engine, built.image).items() if not what.endswith("/")]
        for n, (source, wanted) in enumerate(CASES.items()):
            for place in ("here", "there"):
                prefix = f"{place}/{n}/"
                assert sorted(path.removeprefix(prefix) for path in found if path.startswith(prefix)) == wanted, (
                    source,
                    place,
                )

    with_engine(tmp_path, test)


def test_a_file_that_a_star_reaches_is_part_of_the_steps_key(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        dockerfile = "FROM scratch AS base\nCOPY . /\nFROM busybox\nCOPY --from=base --parents /test/**/*.txt /there/\n"
        await build(engine, dockerfile, FILES)
        assert (await build(engine, dockerfile, {**FILES, "test/other": "x"})).cached == 1
        assert (await build(engine, dockerfile, {**FILES, "test/a/b/deep.txt": "x"})).cached == 0

    with_engine(tmp_path, test)
