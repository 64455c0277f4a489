"""Past builds, the cache and the builder itself, as buildx shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.buildx import Buildx
from tests.clients.daemon import Daemon, running

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture
def buildx(daemon: Daemon, tmp_path: Path) -> Buildx:
    return Buildx(daemon, tmp_path)


@pytest.mark.row("F-314")
@pytest.mark.row("F-260")
@pytest.mark.row("F-261")
def test_the_engine_is_the_builder_named_default(buildx: Buildx) -> None:
    listed = buildx.ok("buildx", "ls").stdout
    assert "default*" in listed
    assert "running" in listed
    shown = buildx.ok("buildx", "inspect").stdout
    assert "docker" in shown
    assert "Platforms:        linux/" in shown
    assert "org.mobyproject.buildkit.worker.executor" in shown


@pytest.mark.row("F-350")
@pytest.mark.row("F-353")
@pytest.mark.row("F-292")
@pytest.mark.row("F-361")
def test_ids_and_metadata_name_the_image_that_was_built(buildx: Buildx) -> None:
    buildx.context("FROM busybox\nLABEL a=b\n")
    quiet = buildx.ok("build", "-q", "--iidfile", "id", "--metadata-file", "meta", "-t", "named", "c").stdout.strip()
    assert buildx.ok("inspect", "-f", "{{.Id}}", "named").stdout.strip() == quiet
    assert (buildx.directory / "id").read_text() == quiet
    metadata = json.loads((buildx.directory / "meta").read_text())
    assert metadata["containerimage.digest"] == metadata["containerimage.config.digest"] == quiet
    assert metadata["image.name"] == "docker.io/library/named"
    provenance = metadata["buildx.build.provenance"]
    assert provenance["buildType"] == "https://mobyproject.org/buildkit@v1"
    assert provenance["invocation"]["configSource"]["entryPoint"] == "Dockerfile"


@pytest.mark.row("F-322")
@pytest.mark.row("F-269")
@pytest.mark.row("F-075")
def test_past_builds_are_listed_shown_and_forgotten(buildx: Buildx) -> None:
    buildx.context("FROM busybox\nRUN echo words-of-this-build\n")
    buildx.build("--metadata-file", "meta")
    ref = json.loads((buildx.directory / "meta").read_text())["buildx.build.ref"].rpartition("/")[2]
    assert ref in buildx.ok("buildx", "history", "ls").stdout
    assert "words-of-this-build" in buildx.ok("buildx", "history", "logs", ref).stderr
    shown = buildx.ok("buildx", "history", "inspect", ref).stdout
    assert "slsa.dev/provenance" in shown
    statement = buildx.ok("buildx", "history", "inspect", "attachment", ref, "--type", "provenance").stdout
    assert json.loads(statement)["buildType"] == "https://mobyproject.org/buildkit@v1"
    buildx.context("FROM busybox\nRUN exit 4\n")
    assert buildx.run("build", "c").returncode == 1
    assert "Error" in buildx.ok("buildx", "history", "ls", "--filter", "status=error").stdout
    buildx.ok("buildx", "history", "rm", ref)
    assert ref not in buildx.ok("buildx", "history", "ls").stdout


@pytest.mark.row("F-268")
@pytest.mark.row("F-169")
@pytest.mark.row("F-168")
@pytest.mark.row("F-170")
def test_the_cache_is_shown_and_emptied(buildx: Buildx) -> None:
    buildx.context("FROM busybox\nCOPY f /f\nRUN head -c 4096 /dev/zero > /zeros\n", f="text")
    buildx.build()
    shown = buildx.ok("buildx", "du", "--verbose").stdout
    assert "local source for context" in shown
    assert "source.local" in shown
    assert "zeros" in shown
    assert "regular" in shown
    assert "Total:" in buildx.ok("buildx", "prune", "-af").stdout
    assert "zeros" not in buildx.ok("buildx", "du", "--verbose").stdout
    again = buildx.build().split("RUN head")[1]
    assert " CACHED" not in again.split("\n\n")[0]


@pytest.mark.row("F-313")
@pytest.mark.row("F-267")
@pytest.mark.row("F-259")
def test_the_remote_driver_builds_through_the_engines_socket(buildx: Buildx) -> None:
    buildx.ok("buildx", "create", "--name", "elsewhere", "--driver", "remote", buildx.daemon.host)
    buildx.context("FROM scratch\nCOPY f /f\n", f="over-grpc-alone")
    buildx.ok("buildx", "--builder", "elsewhere", "build", "--output", "out", "c")
    assert (buildx.directory / "out" / "f").read_text() == "over-grpc-alone"
