"""Three of examples/, built and run as their users do; `make shapes` does it with all of them. Debian's mirror and PyPI are asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.buildx import PLUGINS
from tests.clients.daemon import running
from tests.shapes.checks import CHECKS
from tests.shapes.doors import EXAMPLES, Door, buildx
from tests.shapes.house import house

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
BASE = Path(__file__).parents[2] / ".cache" / "debian.tar"
ONGGI = str(Path(sys.executable).parent / "onggi")


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, Door]]:
    """`onggi build` and buildx, of one engine."""
    for daemon in running(tmp_path_factory):
        onggi = Door("onggi build", [ONGGI], ["build"], {"DOCKER_HOST": daemon.host})
        onggi.add_base(BASE)
        yield onggi, buildx("buildx", daemon.host, tmp_path_factory.mktemp("docker"), PLUGINS)


@pytest.mark.row("F-200", "F-205")
def test_a_python_application_with_a_cache_mount_for_pip_is_built_and_answers(doors: tuple[Door, Door]) -> None:
    onggi, _ = doors
    onggi.make("python-web")
    with house(onggi) as at:
        CHECKS["python-web"](at)


def test_nginx_with_templates_is_built_by_buildx_and_answers(doors: tuple[Door, Door]) -> None:
    _, docker = doors
    docker.make("nginx-templates")
    with house(docker) as at:
        CHECKS["nginx-templates"](at)


def test_a_program_alone_in_its_image_is_built_tested_and_answers(doors: tuple[Door, Door]) -> None:
    onggi, _ = doors
    onggi.make("c-cmake")
    with house(onggi) as at:
        CHECKS["c-cmake"](at)


def test_every_example_is_checked_and_told_of() -> None:
    folders = {path.parent.name for path in EXAMPLES.glob("*/Dockerfile")}
    assert folders == set(CHECKS)
    readme = (EXAMPLES / "README.md").read_text()
    assert all(f"({name})" in readme for name in folders)
