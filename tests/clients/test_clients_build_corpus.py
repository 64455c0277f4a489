"""The corpus built by onggi through each of its doors, compared with what dockerd's BuildKit made of it.

Steps, checks, config, history, every layer with its files' owners, modes and times, and what is cached after each edit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from tests.clients.daemon import running
from tests.corpus.case import HERE, Case, load
from tests.corpus.client import Client
from tests.corpus.doors import Buildx, Door, OnggiBuild, PostBuild

pytestmark = pytest.mark.root

RECORDED: Mapping[str, Any] = json.loads((HERE / "recorded.json").read_text(encoding="utf-8"))
_AT_ONCE = 4
"""Builds side by side: most of a case's time is that of programs which start."""

DOORS = ("buildx", "onggi build", "POST /build")


class Corpus:
    """All cases through one door, built ahead of the tests that ask for them.

    Those with edits come last and one by one: another case's build without cache would take the place of their steps.
    """

    def __init__(self, door: Door, host: str, directory: Path) -> None:
        self.door = door
        self._client = Client(host, door, directory)
        self._pool, self._after = ThreadPoolExecutor(_AT_ONCE), ThreadPoolExecutor(1)
        self._building: dict[str, Future[dict[str, Any]]] = {
            case.name: self._pool.submit(self._client.record, case) for case in load() if not case.edits
        }
        beside = list(self._building.values())
        self._after.submit(wait, beside)
        self._building |= {case.name: self._after.submit(self._client.record, case) for case in load() if case.edits}

    def found(self, case: Case) -> dict[str, Any]:
        return self._building[case.name].result()

    def close(self) -> None:
        for pool in (self._pool, self._after):
            pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module", params=DOORS)
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    for daemon in running(tmp_path_factory):
        directory = tmp_path_factory.mktemp("corpus")
        doors: dict[str, Door] = {
            "buildx": Buildx(daemon.host, directory, network="none"),
            "onggi build": OnggiBuild(daemon.host),
            "POST /build": PostBuild(str(daemon.socket)),
        }
        made = Corpus(doors[request.param], daemon.host, directory)
        yield made
        made.close()


def expected(case: Case, door: Door) -> dict[str, Any]:
    """What was recorded, as far as this door tells it."""
    wanted = {part: value for part, value in RECORDED[case.name].items() if part not in case.known}
    if not door.tells_steps:
        wanted.pop("steps", None)
        wanted.pop("warnings", None)
        if "cached" in wanted:
            wanted["cached"] = {
                edit: [f"step {number}" for number in range(len(cached))] for edit, cached in wanted["cached"].items()
            }
    return wanted


@pytest.mark.row("corpus/cases")
@pytest.mark.parametrize("case", [pytest.param(each, id=each.name) for each in load()])
def test_a_dockerfile_comes_to_what_buildkit_makes_of_it(corpus: Corpus, case: Case) -> None:
    found, wanted = corpus.found(case), expected(case, corpus.door)
    if "refused" in case.known:
        assert case.known["refused"] in found["error"]
        return
    assert set(found) == set(wanted) | (set(case.known) & set(found))
    if "error" in wanted and corpus.door.name != "buildx":
        # Around the cause each client has words of its own, and the older builder's for the cause.
        cause = found.pop("error").removeprefix("failed to build: ")
        assert cause in wanted.pop("error") or not corpus.door.tells_steps
    for part, value in wanted.items():
        assert found[part] == value, part
