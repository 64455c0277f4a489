"""Caches that travel: left in a registry, a directory or an image, and taken up by an engine that knows nothing of the build."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.buildx import Buildx
from tests.clients.daemon import Daemon, running
from tests.clients.test_clients_ship import registry

__all__ = ["registry"]

pytestmark = pytest.mark.root

TWO_STAGES = """FROM busybox AS one
RUN cat /proc/sys/kernel/random/uuid > /one && touch /scrap
FROM busybox
COPY --from=one /one /one
RUN cat /proc/sys/kernel/random/uuid > /two
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture
def buildx(daemon: Daemon, tmp_path: Path) -> Buildx:
    made = Buildx(daemon, tmp_path)
    made.context(TWO_STAGES)
    return made


def numbers(buildx: Buildx) -> list[str]:
    return buildx.ok("run", "--rm", "--network=none", "made", "cat", "/one", "/two").stdout.split()


def forget(buildx: Buildx) -> None:
    buildx.run("rmi", "-f", "made")
    buildx.ok("buildx", "prune", "-af")


@pytest.mark.row("F-164")
@pytest.mark.row("F-162")
@pytest.mark.row("F-302")
@pytest.mark.row("F-345")
def test_a_cache_in_a_directory_spares_all_steps(buildx: Buildx) -> None:
    buildx.build("-t", "made", "--cache-to", "type=local,dest=kept,mode=max")
    first = numbers(buildx)
    forget(buildx)
    assert (buildx.directory / "kept" / "index.json").exists()
    said = buildx.build("-t", "made", "--cache-from", "type=local,src=kept")
    assert said.count(" CACHED\n") >= 3
    assert numbers(buildx) == first


@pytest.mark.row("F-164")
@pytest.mark.row("F-162")
def test_a_cache_in_a_registry_spares_the_steps_of_the_result(buildx: Buildx, registry: str) -> None:
    ref = f"{registry}/cache/of:build"
    said = buildx.build("-t", "made", "--cache-to", f"type=registry,ref={ref}")
    assert "exporting cache to registry" in said
    first = numbers(buildx)
    forget(buildx)
    buildx.build("-t", "made", "--cache-from", f"type=registry,ref={ref}")
    assert numbers(buildx)[0] != first[0]  # mode=min has no steps of other stages
    forget(buildx)
    buildx.build("--cache-to", f"type=registry,ref={ref},mode=max", "-t", "made")
    third = numbers(buildx)
    forget(buildx)
    buildx.build("-t", "made", "--cache-from", ref)
    assert numbers(buildx) == third


@pytest.mark.row("F-164")
@pytest.mark.row("F-037")
def test_an_image_may_say_itself_what_it_was_made_by(buildx: Buildx, registry: str) -> None:
    buildx.context("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /one\nRUN cat /one > /two\n")
    name = f"{registry}/inline:1"
    buildx.build("--push", "-t", name, "--cache-to", "type=inline")
    buildx.ok("tag", name, "made")
    first = numbers(buildx)
    buildx.ok("rmi", "-f", name)
    forget(buildx)
    said = buildx.build("-t", "made", "--cache-from", name)
    assert said.count(" CACHED\n") >= 2
    assert numbers(buildx) == first


@pytest.mark.row("F-163")
def test_a_cache_that_cannot_be_read_fails_no_build(buildx: Buildx, registry: str) -> None:
    said = buildx.build("-t", "made", "--cache-from", f"type=registry,ref={registry}/nothing:here")
    assert re.search(r"importing cache manifest from \S+/nothing:here", said)
    assert "ERROR" in said
    assert len(numbers(buildx)) == 2
