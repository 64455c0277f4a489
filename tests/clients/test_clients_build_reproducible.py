"""One source, built twice and through each door: one digest, when SOURCE_DATE_EPOCH and rewritten times ask for it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.buildx import Buildx
from tests.clients.daemon import Daemon, running
from tests.clients.test_clients_build_post import post
from tests.clients.test_clients_onggi_build import Building
from tests.engine.building import context

pytestmark = pytest.mark.root

EPOCH = "1700000000"
DOCKERFILE = (
    "FROM busybox AS made\nWORKDIR /w\nRUN echo made > made && mkdir d && ln made d/hard\n"
    "FROM busybox\nCOPY f /f\nCOPY --from=made /w /w\nCOPY <<EOF /inline\nx\nEOF\nRUN rm /data/seed && ln -s f /l\nENV A=1\n"
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.mark.row("F-214", "F-215", "F-216", "F-192", "F-368")
def test_two_builds_at_two_times_through_three_doors_are_one_image(daemon: Daemon, tmp_path: Path) -> None:
    buildx = Buildx(daemon, tmp_path)
    output = "type=image,rewrite-timestamp=true"
    found: dict[str, str] = {}
    for turn in ("first", "second"):
        # Files as of now, a second further the next time: tars have whole seconds.
        place = buildx.context(DOCKERFILE, f="content")
        for path in place.iterdir():
            path.touch()
        words = ["--network", "none", "--no-cache", "--output", output]
        buildx.build(*words, "--provenance=false", "-t", f"buildx-{turn}", SOURCE_DATE_EPOCH=EPOCH)
        Building(daemon, tmp_path).run("build", *words, "-t", f"onggi-{turn}", "c", SOURCE_DATE_EPOCH=EPOCH)
        body = context(DOCKERFILE, {"f": "content"}, mtime=int(time.time()))
        query = {
            "t": f"post-{turn}",
            "nocache": "1",
            "rewritetimestamp": "1",
            "buildargs": json.dumps({"SOURCE_DATE_EPOCH": EPOCH}),
        }
        assert "Successfully tagged" in post(daemon, body, **query).said
        for door in ("buildx", "onggi", "post"):
            name = f"{door}-{turn}"
            found[name] = daemon.say("inspect", "-f", "{{.Id}} {{json .RootFS.Layers}}", name)
        time.sleep(1.1)
    assert len(set(found.values())) == 1, found
