"""The engine is killed before and after the commit of each move: the next one finds the container as it was or as it shall be."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from onggi.client import ApiError, Client, containers
from onggi.client.errors import BrokenAnswer, ConnectionRefused
from tests.clients.daemon import Daemon
from tests.engine.engines import needs_root
from tests.engine.test_engine_reconcile import client, create, execute, leaks, state, watched
from tests.patience import within

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from watched(tmp_path_factory.mktemp("killed"))


def restart(daemon: Daemon, fault: str = "") -> None:
    """Another engine on the same root, one with a fault in it if need be."""
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.stop()
    daemon.process = None
    if fault:
        os.environ["ONGGI_FAULT"] = fault
    try:
        daemon.start()
    finally:
        os.environ.pop("ONGGI_FAULT", None)


def made(engine: Client) -> None:
    create(engine, "sleep", "600", name="it", HostConfig={"NetworkMode": "none", "Init": True})


def runs(engine: Client) -> None:
    made(engine)
    engine(containers.start("it"))


def is_paused(engine: Client) -> None:
    runs(engine)
    engine(containers.pause("it"))


def ended(engine: Client) -> None:
    runs(engine)
    engine(containers.kill("it"))


def nothing(_engine: Client) -> None:
    """Before a create."""


MOVES: list[tuple[str, Callable[[Client], None], Callable[[Client], Any], set[str]]] = [
    ("create", nothing, made, {"", "created"}),
    ("start", made, lambda engine: engine(containers.start("it")), {"created", "running", "exited"}),
    ("stop", runs, lambda engine: engine(containers.stop("it", timeout_s=5)), {"running", "exited"}),
    ("kill", runs, lambda engine: engine(containers.kill("it")), {"running", "exited"}),
    ("restart", runs, lambda engine: engine(containers.restart("it", timeout_s=5)), {"running", "exited"}),
    ("pause", runs, lambda engine: engine(containers.pause("it")), {"running", "paused"}),
    ("unpause", is_paused, lambda engine: engine(containers.unpause("it")), {"running", "paused"}),
    ("rename", runs, lambda engine: engine(containers.rename("it", "new")), {"running"}),
    ("update", runs, lambda engine: engine(containers.update("it", {"CpuShares": 512})), {"running"}),
    ("remove", ended, lambda engine: engine(containers.remove("it")), {"", "exited"}),
    ("forced remove", runs, lambda engine: engine(containers.remove("it", force=True)), {"", "running", "exited"}),
]


@pytest.mark.row("K-01", "R-01", "R-06", "R-07")
@pytest.mark.parametrize(
    ("point", "name", "before", "move", "after"),
    [("store.commit.before", *move) for move in MOVES]
    + [("store.commit.after", *move) for move in MOVES if move[0] in ("create", "stop", "rename", "remove")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_move_that_a_killed_engine_was_at_is_made_or_not_and_nothing_between(
    daemon: Daemon, point: str, name: str, before: Callable[[Client], None], move: Callable[[Client], Any], after: set[str]
) -> None:  # fmt: skip
    with client(daemon) as engine:
        before(engine)
    restart(daemon, f"{point}=kill@1")
    killed = False
    with client(daemon) as engine:
        try:
            move(engine)
        except (ApiError, BrokenAnswer, ConnectionRefused, OSError):
            killed = True
    assert daemon.process is not None
    assert killed or name == "kill", f"{name} commits nothing"
    if killed:
        assert daemon.process.wait(10) == -signal.SIGKILL
    restart(daemon)
    with client(daemon) as engine:
        found = {str(one["Names"][0]).removeprefix("/"): str(one["Id"]) for one in engine(containers.listing(all=True))}
        assert len(found) <= 1
        status = state(engine, next(iter(found)))["Status"] if found else ""
        assert status in after
        assert within(5, lambda: leaks(engine) == []), leaks(engine)
        if name == "rename":
            assert set(found) == ({"it"} if point.endswith("before") else {"new"})
        if status == "paused":
            engine(containers.unpause(next(iter(found))))
        if status in ("running", "paused"):
            assert execute(engine, next(iter(found)), "true")[0] == 0
        for one in found.values():
            engine(containers.remove(one, force=True))
