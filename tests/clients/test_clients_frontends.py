"""Frontends that are images: `# syntax=` and gateway.v0."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.buildx import Buildx
from tests.clients.daemon import Daemon, running
from tests.clients.llb import Graph, image

pytestmark = pytest.mark.root
PROGRAM = Path(__file__).with_name("frontend.py")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    for running_daemon in running(tmp_path_factory):
        _load(running_daemon, tmp_path_factory.mktemp("image"))
        yield running_daemon


@pytest.fixture
def buildx(daemon: Daemon, tmp_path: Path) -> Buildx:
    return Buildx(daemon, tmp_path)


def _load(daemon: Daemon, directory: Path) -> None:
    """The image example.com/frontend:1: this interpreter with what it needs to start, the program, and a graph."""
    python = os.path.realpath(sys.executable)
    listed = subprocess.run(["ldd", python], capture_output=True, text=True, check=True).stdout
    libraries = {word for word in listed.split() if word.startswith("/")}
    standard = Path(sysconfig.get_path("stdlib"))
    graph = Graph()
    definition = graph.definition(graph.shell(image(graph), "echo made by a graph > /made"))
    (directory / "graph").write_bytes(definition.SerializeToString())
    with tarfile.open(directory / "image.tar", "w", dereference=True) as tar:
        for path in (
            python,
            *sorted(libraries),
            *sorted(standard.glob("*.py")),
            *sorted(standard.glob("encodings/*.py")),
        ):
            tar.add(path)
        tar.add(PROGRAM, "frontend.py")
        tar.add(directory / "graph", "graph")
    entry = f'ENTRYPOINT ["{python}", "-I", "-S", "/frontend.py"]'
    daemon.say("import", "-c", entry, str(directory / "image.tar"), "example.com/frontend:1")


@pytest.mark.row("F-005", "F-283", "F-271")
def test_a_dockerfile_may_be_read_by_a_frontend_that_is_an_image(buildx: Buildx, daemon: Daemon) -> None:
    buildx.context("# syntax=example.com/frontend:1 of mine\nthis is no Dockerfile\n")
    said = buildx.build("-t", "by-frontend")
    assert "this is the frontend, for example.com/frontend:1 of mine" in said
    assert daemon.say("run", "--rm", "--network=none", "by-frontend") == "made by a graph"
    assert daemon.say("inspect", "-f", "{{.Config.Labels.by}}", "by-frontend") == "frontend"


@pytest.mark.row("F-005", "F-283")
def test_a_frontend_may_fall_back_on_the_built_in_one(buildx: Buildx, daemon: Daemon) -> None:
    buildx.context(
        "# syntax=example.com/frontend:1\nFROM busybox\nARG FALLBACK\nLABEL fell=$FALLBACK\nCOPY f /f\n", f="1"
    )
    buildx.build("-t", "fallen", "--build-arg", "FALLBACK=back")
    assert daemon.say("inspect", "-f", "{{.Config.Labels.fell}}", "fallen") == "back"


@pytest.mark.row("F-004")
def test_a_frontend_is_named_in_any_languages_comments(buildx: Buildx) -> None:
    name = "example.com/frontend:1"
    for text in (f"#!/bin/sh\n# syntax={name}\n", f"// syntax={name}\nint main() {{}}\n", f'{{"syntax": "{name}"}}'):
        buildx.context(text)
        assert f"this is the frontend, for {name}" in buildx.build()
    buildx.context("no Dockerfile\n")
    assert "this is the frontend" in buildx.build("--build-arg", f"BUILDKIT_SYNTAX={name}")


@pytest.mark.row("F-283")
@pytest.mark.parametrize(("argument", "told"), [("FAIL", "exit code: 3"), ("ERROR", "the frontend says no")])
def test_a_frontend_that_fails_is_heard_and_leaves_nothing(
    buildx: Buildx, daemon: Daemon, argument: str, told: str
) -> None:
    buildx.context("# syntax=example.com/frontend:1\n")
    failed = buildx.run("build", "--build-arg", f"{argument}=1", "c")
    assert failed.returncode == 1
    assert told in failed.stderr
    assert not list((daemon.root / "data" / "containers").iterdir())
    refused = buildx.run("build", "--build-arg", "BUILDKIT_SYNTAX=example.com/none:1", "c")
    assert "example.com/none:1" in refused.stderr
