"""Layers of one COPY, build after build: what hasn't changed is on the disk once, and what has is right."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from onggi.engine.engine import Engine
from onggi.images.catalog import Image
from tests.engine.building import Files, build, link, tree
from tests.engine.engines import needs_root, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")

FILES = {
    "src/a": None,
    "src/a/same": "one",
    "src/a/other": "two",
    "src/a/deep": None,
    "src/a/deep/er": "three",
    "src/b": None,
    "src/b/link": link("../a/same"),
}
LINKED = {"src/b/hard": link("src/a/same", tarfile.LNKTYPE)}
DOCKERFILE = "FROM busybox\nCOPY src /srv/\n"


def inode(engine: Engine, image: str, path: str) -> int:
    layer = engine.images.resolve(image).layers[-1]
    return os.lstat(engine.layers.path(layer) + path).st_ino


def times(engine: Engine, image: Image) -> dict[str, int]:
    root = engine.layers.path(image.layers[-1]) + "/srv"
    return {str(path.relative_to(root)): path.lstat().st_mtime_ns for path in Path(root).rglob("*")}


def test_a_file_that_has_not_changed_is_shared_with_the_layer_of_the_build_before(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        first = (await build(engine, DOCKERFILE, FILES, t="x:1")).image.id
        second = (await build(engine, DOCKERFILE, {**FILES, "src/a/other": "TWO"}, t="x:1")).image
        for path, is_shared in (("/srv/a/deep/er", True), ("/srv/a/other", False)):
            assert (inode(engine, first, path) == inode(engine, second.id, path)) is is_shared, path
        assert "three" in tree(engine, second)["srv/a/deep/er"]

    with_engine(tmp_path, test)


@pytest.mark.parametrize(
    ("dockerfile", "changes"),
    [
        (DOCKERFILE, {"src/a/same": "ONE"}),
        (DOCKERFILE, {"src/a/deep/er": None}),
        (DOCKERFILE, {"src/c": "new"}),
        ("FROM busybox\nCOPY --chmod=600 src /srv/\n", {}),
        ("FROM busybox\nCOPY --chown=7:8 src /srv/\n", {}),
        (DOCKERFILE, LINKED),
        ("FROM busybox\nRUN mkdir -p /srv/a && echo old > /srv/a/old\nCOPY src /srv/\n", LINKED),
        ("FROM busybox\nRUN mkdir -p /srv/a && echo old > /srv/a/old\nCOPY src /srv/\n", {}),
        ("FROM busybox\nCOPY src src /srv/\n", {"src/a/other": "TWO"}),
    ],
)
def test_a_build_after_another_gives_what_it_gives_alone(tmp_path: Path, dockerfile: str, changes: Files) -> None:
    files = {**FILES, **changes}

    async def after(engine: Engine) -> None:
        await build(engine, DOCKERFILE, FILES, t="x:1")
        built = await build(engine, dockerfile, files, t="x:1")
        seen.append((tree(engine, built.image), times(engine, built.image)))

    async def alone(engine: Engine) -> None:
        built = await build(engine, dockerfile, files, t="x:1")
        seen.append((tree(engine, built.image), times(engine, built.image)))

    seen: list[object] = []
    for name, test in (("after", after), ("alone", alone)):
        (tmp_path / name).mkdir()
        with_engine(tmp_path / name, test)
    assert seen[0] == seen[1]
