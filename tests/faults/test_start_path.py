"""Each step of a start fails in each way: the answer names the step, and what was made before it is taken back.

The engine is told its faults while it runs (kernel/faults.py, `Board`).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onggi.client import ApiError, Client, containers, images, networks
from onggi.doctor import engine_tag
from onggi.kernel import cgroups
from onggi.kernel.faults import POINTS, Board
from tests.clients.daemon import Daemon
from tests.engine.engines import busybox_tar, needs_root
from tests.engine.test_engine_reconcile import clear, client, create, execute, leaks, state
from tests.patience import within

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")
ERRORS = ("ENOMEM", "EBUSY", "ENOSPC", "EPERM", "EINTR", "ENODEV")
STEPS = [name for name in POINTS if name.startswith(("init.", "start.", "network.port", "network.rules.add"))]
OF_THE_CHILD = [
    name for name in STEPS if name.startswith("init.") and name not in ("init.cgroup.added", "init.links.made")
]

LAST = ("init.filter", "init.exec")
"""Behind the point from which on a start has succeeded, as nothing can be said any more (runtime/steps.py)."""


class Faulty(Daemon):
    """An engine whose faults are written on `board`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.board = Board(str(root / "board"))

    def launch(self, *words: str) -> None:
        os.environ["ONGGI_FAULT"] = f"@{self.root / 'board'}"
        try:
            super().launch(*words)
        finally:
            del os.environ["ONGGI_FAULT"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    yield from faulty(tmp_path_factory.mktemp("faulty"))


def faulty(root: Path) -> Iterator[Faulty]:
    """For a module's fixture: with an image and a network; nothing of it stays."""
    one = Faulty(root)
    one.start()
    with client(one) as engine:
        list(engine.stream(images.import_([busybox_tar()], repository="busybox", tag="latest")))
        engine(networks.create({"Name": "back"}))
    try:
        yield one
        one.board.write("")
        clear(one)
    finally:
        one.stop()


def made(engine: Client) -> str:
    """With all that a start can have: names, a published port, limits, a filter."""
    ports = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    return create(engine, "sleep", "600", HostConfig={"NetworkMode": "back", "PortBindings": ports, "Memory": 64 << 20})


def start_fails(engine: Client, container: str) -> str:
    """What the engine says; empty when it starts after all."""
    try:
        engine(containers.start(container))
    except ApiError as error:
        return str(error)
    return ""


@pytest.mark.row("K-10", "K-04", "R-06")
@pytest.mark.parametrize("step", STEPS)
def test_a_start_that_fails_at_any_step_in_any_way_is_undone(daemon: Faulty, step: str) -> None:
    with client(daemon) as engine:
        container = made(engine)
        for error in ERRORS:
            daemon.board.write(f"{step}={error}")
            words = start_fails(engine, container)
            daemon.board.write("")
            if step == "init.ahead.made":
                # What was to be made ahead is made in the start itself.
                assert words == ""
                engine(containers.kill(container))
            else:
                assert f"fault at {step}" in words, words
                assert state(engine, container)["Status"] == "created"
            assert within(5, lambda: leaks(engine) == []), leaks(engine)
        engine(containers.start(container))
        assert execute(engine, container, "true") == (0, b"")
        engine(containers.remove(container, force=True))
    assert step in daemon.board.hit()


@pytest.mark.row("K-04")
@pytest.mark.parametrize("step", OF_THE_CHILD)
def test_a_first_process_that_is_killed_on_its_way_fails_the_start(daemon: Faulty, step: str) -> None:
    with client(daemon) as engine:
        container = made(engine)
        daemon.board.write(f"{step}=kill")
        words = start_fails(engine, container)
        daemon.board.write("")
        if words:
            assert "killed before its program began" in words
        elif step in LAST:
            # It was the container's process by then: that is how it ended.
            assert within(5, lambda: state(engine, container)["Status"] == "exited")
            assert state(engine, container)["ExitCode"] == 137
        else:
            assert step == "init.ahead.made"
            engine(containers.kill(container))
        assert within(5, lambda: leaks(engine) == []), leaks(engine)
        engine(containers.start(container))
        assert execute(engine, container, "true") == (0, b"")
        engine(containers.remove(container, force=True))


def groups_of(container: str) -> set[str]:
    return cgroups.find(container)


@pytest.mark.row("K-11", "K-33", "R-25", "R-39")
@pytest.mark.parametrize("ends", ["a start that fails", "a kill", "a removal"])
def test_a_cgroup_that_cannot_be_removed_now_is_removed_later(daemon: Faulty, ends: str) -> None:
    with client(daemon) as engine:
        container = made(engine)
        if ends == "a start that fails":
            daemon.board.write("init.exec=EPERM;cgroup.remove=EIO")
            # What has failed is told, not what followed from it.
            assert "fault at init.exec" in start_fails(engine, container)
        else:
            engine(containers.start(container))
            daemon.board.write("cgroup.remove=EIO")
            engine(containers.kill(container) if ends == "a kill" else containers.remove(container, force=True))
        assert within(5, lambda: f"the cgroup of container {container[:12]} can't be removed" in daemon.log.read_text())
        assert groups_of(container)
        if ends == "a removal":
            assert any("cgroup: " in leak for leak in leaks(engine))
        daemon.board.write("")
        assert within(10, lambda: not groups_of(container))
        assert within(5, lambda: leaks(engine) == []), leaks(engine)
        if ends != "a removal":
            engine(containers.remove(container))


@pytest.mark.row("K-11")
def test_a_start_takes_over_a_cgroup_that_could_not_be_removed(daemon: Faulty) -> None:
    with client(daemon) as engine:
        container = made(engine)
        engine(containers.start(container))
        daemon.board.write("cgroup.remove=EIO")
        engine(containers.kill(container))
        assert within(5, lambda: f"container {container[:12]} can't be removed" in daemon.log.read_text())
        engine(containers.start(container))
        daemon.board.write("")
        assert execute(engine, container, "true") == (0, b"")
        assert within(2, lambda: state(engine, container)["Status"] == "running")
        engine(containers.remove(container, force=True))
        assert within(5, lambda: leaks(engine) == []), leaks(engine)


@pytest.mark.row("K-11", "K-05")
def test_a_cgroup_that_could_not_be_removed_is_removed_by_the_next_engine(daemon: Faulty) -> None:
    with client(daemon) as engine:
        container = made(engine)
        engine(containers.start(container))
        daemon.board.write("cgroup.remove=EIO")
        engine(containers.kill(container))
        assert within(5, lambda: f"container {container[:12]} can't be removed" in daemon.log.read_text())
        ended = state(engine, container)
    daemon.kill()
    daemon.board.write("")
    daemon.start()
    with client(daemon) as engine:
        assert not groups_of(container)
        # How it ended was known: what its cgroup makes of it later changes nothing.
        assert {k: v for k, v in state(engine, container).items() if k != "Health"} == ended
        engine(containers.remove(container))


@pytest.mark.row("K-11", "R-26", "R-39")
def test_rules_that_cannot_be_taken_away_now_are_taken_away_later(daemon: Faulty) -> None:
    with client(daemon) as engine:
        container = made(engine)
        engine(containers.start(container))
        found: Any = engine(containers.inspect(container))
        port = found["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
        daemon.board.write("network.rules.remove=EIO")
        engine(containers.kill(container))
        assert state(engine, container)["Status"] == "exited"
        assert "fault at network.rules.remove" in daemon.log.read_text()
        daemon.board.write("")
        assert within(5, lambda: f". {port} :" not in rules())
        engine(containers.remove(container))


@pytest.mark.row("K-11", "R-39")
def test_a_link_that_cannot_be_deleted_now_is_deleted_later(daemon: Faulty) -> None:
    def links() -> int:
        return sum(
            name.startswith(f"og{engine_tag(daemon.root / 'data')[:3]}") for name in os.listdir("/sys/class/net")
        )

    with client(daemon) as engine:
        container = made(engine)
        engine(containers.start(container))
        engine(networks.connect("bridge", container))
        before = links()
        daemon.board.write("network.link.delete=EBUSY")
        engine(networks.disconnect("bridge", container))
        assert links() == before
        assert "is not deleted yet" in daemon.log.read_text()
        daemon.board.write("")
        assert within(5, lambda: links() == before - 1)
        engine(containers.remove(container, force=True))


def rules() -> str:
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
