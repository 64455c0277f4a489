"""Two builds of one source at two times are the same image, when they are asked to be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from onggi.engine.engine import Engine
from onggi.errors import InvalidArgument
from tests.engine.building import build
from tests.engine.engines import needs_root, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")

DOCKERFILE = """
FROM busybox AS made
WORKDIR /w
RUN echo made > made
FROM busybox
COPY f /f
COPY --from=made /w /w
COPY <<EOF /inline
x
EOF
RUN mkdir -p /a/b && echo 1 > /a/b/c && ln -s c /a/b/l && rm /data/seed
ENV A=1
"""
EPOCH = 1_700_000_000


@pytest.mark.row("F-214")
@pytest.mark.row("F-215")
@pytest.mark.row("F-216")
def test_two_builds_at_two_times_give_one_digest_with_an_epoch(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        words = {"buildargs": f'{{"SOURCE_DATE_EPOCH":"{EPOCH}"}}', "rewritetimestamp": "1", "nocache": "1"}
        first = await build(engine, DOCKERFILE, {"f": "1"}, **words)
        # A second further: tars have whole seconds.
        await build(engine, "FROM busybox\nRUN sleep 1.1\n")
        second = await build(engine, DOCKERFILE, {"f": "1"}, **words)
        assert second.image.id == first.image.id
        config = first.image.config
        assert config.created == "2023-11-14T22:13:20Z"
        assert {entry.created for entry in (config.history or [])[1:]} == {"2023-11-14T22:13:20Z"}
        for layer in first.image.layers[1:]:
            root = engine.layers.path(layer)
            for directory, names, files in os.walk(root):
                for name in (*names, *files):
                    status = os.lstat(os.path.join(directory, name))
                    # A whiteout has no time in a tar.
                    assert status.st_mtime <= EPOCH or stat.S_ISCHR(status.st_mode), name
        # Packing it again gives the layer that its name promises.
        assert await engine.layers.verify(first.image.layers[-1])
        plain = await build(engine, DOCKERFILE, {"f": "1"}, buildargs=words["buildargs"])
        assert plain.image.config.created == "2023-11-14T22:13:20Z"
        assert plain.image.layers != first.image.layers
        with pytest.raises(InvalidArgument, match="invalid SOURCE_DATE_EPOCH: yesterday"):
            await build(engine, DOCKERFILE, {"f": "1"}, buildargs='{"SOURCE_DATE_EPOCH":"yesterday"}')

    with_engine(tmp_path, test)
