"""SIGKILL of engine, launcher, shim and first process, in each state of a container: what follows is true, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from onggi.client import ApiError, Client, containers
from onggi.client.errors import BrokenAnswer, ConnectionRefused
from onggi.doctor import Engine as Where
from onggi.doctor import footprint
from tests.engine.engines import needs_root
from tests.engine.test_engine_reconcile import client, create, execute, leaks, run, said, state
from tests.faults.test_start_path import Faulty, faulty
from tests.patience import within

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    root = tmp_path_factory.mktemp("killed")
    yield from faulty(root)
    where = Where(root / "data", root / "exec")
    assert within(5, lambda: not footprint(where)), [str(trace) for trace in footprint(where)]


@dataclass
class Case:
    """`before` makes the container, `reach` brings it into the state, and gives what goes on there; victim → what may become of it."""

    before: Callable[[Client], object]
    reach: Callable[[Faulty, Client], threading.Thread | None]
    after: dict[str, set[str]]


def in_thread(daemon: Faulty, act: Callable[[Client], Any]) -> threading.Thread:
    """A request that is under way when its server may be killed."""

    def ask() -> None:
        try:
            with client(daemon) as engine:
                act(engine)
        except (ApiError, BrokenAnswer, ConnectionRefused, OSError):
            return

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def made(engine: Client) -> None:
    create(engine, "sleep", "600", name="it")


def runs(engine: Client) -> None:
    run(engine, "sleep", "600", name="it")


def runs_deaf(engine: Client) -> None:
    run(engine, "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done", name="it")
    assert within(5, lambda: said(engine, "it") == "deaf\n")


def starting(daemon: Faulty, _: Client) -> threading.Thread:
    daemon.board.write("init.pivot=sleep:0.7")
    thread = in_thread(daemon, lambda other: other(containers.start("it")))
    time.sleep(0.3)
    return thread


def nothing(_: Faulty, __: Client) -> None:
    """It is there."""


def paused(_: Faulty, engine: Client) -> None:
    engine(containers.pause("it"))


def stopping(daemon: Faulty, _: Client) -> threading.Thread:
    thread = in_thread(daemon, lambda other: other(containers.stop("it", timeout_s=1)))
    time.sleep(0.3)
    return thread


def ending(daemon: Faulty, _: Client) -> threading.Thread:
    daemon.board.write("shim.exit.dead=sleep:0.7")
    thread = in_thread(daemon, lambda other: other(containers.kill("it")))
    time.sleep(0.3)
    return thread


def removing(daemon: Faulty, _: Client) -> threading.Thread:
    daemon.board.write("shim.exit.dead=sleep:0.7")
    thread = in_thread(daemon, lambda other: other(containers.remove("it", force=True)))
    time.sleep(0.3)
    return thread


def restarts(engine: Client) -> None:
    policy = {"NetworkMode": "none", "RestartPolicy": {"Name": "always"}}
    run(engine, "false", name="it", HostConfig=policy)


CASES = {
    "starting": Case(made, starting, {"engine": {"created", "running"}, "launcher": {"created", "running"}}),
    "running": Case(runs, nothing, {"engine": {"running"}, "launcher": {"running"}, "shim": {"exited"}, "init": {"exited"}}),
    # A frozen process of cgroup v1 ends when it is thawed.
    "paused": Case(runs, paused, {"engine": {"paused"}, "launcher": {"paused"}, "shim": {"exited"}, "init": {"paused", "exited"}}),
    "stopping": Case(runs_deaf, stopping, {"engine": {"exited"}, "launcher": {"exited"}, "shim": {"exited"}, "init": {"exited"}}),
    "ending": Case(runs, ending, {"engine": {"exited"}, "launcher": {"exited"}, "shim": {"exited"}}),
    "restarting": Case(restarts, nothing, {"engine": {"restarting", "running", "exited"}, "launcher": {"restarting", "running"}}),
    "removing": Case(runs, removing, {"engine": {"", "exited"}, "launcher": {""}, "shim": {""}}),
}  # fmt: skip


def victim_of(daemon: Faulty, engine: Client, victim: str) -> int:
    if victim == "engine":
        assert daemon.process is not None
        return daemon.process.pid
    if victim == "launcher":
        assert daemon.process is not None
        words = ["pgrep", "-P", str(daemon.process.pid), "-f", "onggi.runtime.launcher"]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[0])
    init = int(state(engine, "it")["Pid"])
    if victim == "init":
        return init
    return int(Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture(autouse=True)
def _cleared(daemon: Faulty) -> Iterator[None]:
    yield
    daemon.board.write("")
    with client(daemon) as engine:
        for found in engine(containers.listing(all=True)):
            engine(containers.remove(str(found["Id"]), force=True))


@pytest.mark.row("K-01", "K-02", "K-03", "K-04", "R-04", "R-05", "R-06", "R-07", "R-25", "R-29")
@pytest.mark.parametrize(("now", "victim"), [(now, victim) for now, case in CASES.items() for victim in case.after])
def test_a_kill_in_any_state_leaves_what_is_true(daemon: Faulty, now: str, victim: str) -> None:
    case = CASES[now]
    with client(daemon) as engine:
        case.before(engine)
        pid = victim_of(daemon, engine, victim)
        thread = case.reach(daemon, engine)
        os.kill(pid, signal.SIGKILL)
    if victim == "engine":
        daemon.kill()
        daemon.board.write("")
        daemon.start()
    if thread is not None:
        thread.join(20)
        assert not thread.is_alive()
    daemon.board.write("")

    def status(engine: Client) -> str:
        found = engine(containers.listing(all=True))
        assert len(found) <= 1
        return str(state(engine, "it")["Status"]) if found else ""

    with client(daemon) as engine:
        assert within(5, lambda: status(engine) in case.after[victim]), status(engine)
        assert within(5, lambda: leaks(engine) == []), leaks(engine)
        if status(engine) == "exited" and victim in ("shim", "init"):
            assert state(engine, "it")["ExitCode"] == 137
        if status(engine) == "running" and now != "restarting":
            assert execute(engine, "it", "true") == (0, b"")
        # Whatever it is, it can be removed, and another one can run.
        if status(engine):
            engine(containers.remove("it", force=True))
        other = run(engine, "true")
        assert within(5, lambda: state(engine, other)["Status"] == "exited")
        engine(containers.remove(other))
        assert within(5, lambda: leaks(engine) == []), leaks(engine)
