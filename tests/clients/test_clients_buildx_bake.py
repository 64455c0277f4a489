"""`docker buildx bake`: several builds from one file, some of them made of others' results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.buildx import Buildx
from tests.clients.daemon import Daemon, running

pytestmark = pytest.mark.root

BAKE = """
variable "WORD" { default = "from-the-file" }
group "default" { targets = ["base", "app"] }
target "base" {
  dockerfile-inline = "FROM busybox\\nARG WORD\\nRUN echo base >> /trail && echo $WORD > /word\\n"
  args = { WORD = WORD }
  tags = ["baked-base"]
}
target "app" {
  context = "c"
  contexts = { base = "target:base" }
  dockerfile-inline = "FROM base\\nCOPY --from=base /word /copied\\nCOPY f /f\\nRUN echo app >> /trail\\n"
  tags = ["baked-app:1", "baked-app:2"]
  labels = { made = "by-bake" }
}
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture
def buildx(daemon: Daemon, tmp_path: Path) -> Buildx:
    made = Buildx(daemon, tmp_path)
    made.context("FROM scratch\n", f="file\n")
    (tmp_path / "docker-bake.hcl").write_text(BAKE)
    return made


@pytest.mark.row("F-316")
@pytest.mark.row("F-317")
@pytest.mark.row("F-318")
@pytest.mark.row("F-320")
def test_a_group_is_built_and_a_target_stands_on_another_ones_result(buildx: Buildx) -> None:
    buildx.ok("buildx", "bake", "--metadata-file", "meta")
    shown = buildx.ok("run", "--rm", "--network=none", "baked-app:2", "cat", "/trail", "/copied", "/f").stdout
    assert shown.splitlines() == ["base", "app", "from-the-file", "file"]
    metadata = json.loads((buildx.directory / "meta").read_text())
    assert sorted(metadata) == ["app", "base"]
    assert (
        metadata["app"]["containerimage.digest"] == buildx.ok("inspect", "-f", "{{.Id}}", "baked-app:1").stdout.strip()
    )
    assert buildx.ok("inspect", "-f", "{{.Config.Labels.made}}", "baked-app:1").stdout.strip() == "by-bake"


@pytest.mark.row("F-319")
def test_what_is_set_from_outside_wins(buildx: Buildx) -> None:
    buildx.ok("buildx", "bake", "--set", "base.tags=other", "base", WORD="from-outside")
    assert buildx.ok("run", "--rm", "--network=none", "other", "cat", "/word").stdout == "from-outside\n"
    assert json.loads(buildx.ok("buildx", "bake", "--print", "app").stdout)["target"]["app"]["tags"][0] == "baked-app:1"
