"""--storage-opt where nothing can be limited: refused in dockerd's words. tests/guest has it where it can."""

from __future__ import annotations

from pathlib import Path

import pytest

from onggi.engine import limits
from onggi.engine.engine import Engine
from onggi.errors import InvalidArgument
from tests.engine.engines import body, needs_root, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


@pytest.mark.row("E-223", "P-119")
def test_a_limit_that_can_not_be_kept_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        engine.snapshots.limits.are_possible = False
        for option, text in (
            ({"size": "10G"}, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"),
            ({"x": "1"}, "Unknown option x"),
        ):
            with pytest.raises(InvalidArgument, match=text):
                await engine.containers.create("limited", body("true", host={"storage_opt": option}))
        assert len(engine.containers) == 0

    with_engine(tmp_path, test)


def test_a_limit_is_in_dockers_words() -> None:
    for text, size in (("10m", 10 << 20), ("1G", 1 << 30), ("512", 512), ("1.5k", 1536)):
        assert limits.disk_bytes({"Size": text}, are_possible=True) == size
    for text in ("", "x", "0", "-1"):
        with pytest.raises(InvalidArgument, match="invalid size"):
            limits.disk_bytes({"size": text}, are_possible=True)
    assert limits.disk_bytes(None, are_possible=False) == 0
