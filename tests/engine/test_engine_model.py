"""Random calls of the API against a model of docker's rules: statuses, states, exit codes, and nothing left behind.

The quick profile runs with every `make test`; ONGGI_MODEL_EXAMPLES makes it as long as one likes.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.engine.engines import needs_root
from tests.engine.modelworld import BY_KILL, BY_TERM, KINDS, Modelled, World

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")

NAMES = st.sampled_from(["one", "two", "six"])
EXAMPLES = int(os.environ.get("ONGGI_MODEL_EXAMPLES", "10"))


class Containers(RuleBasedStateMachine):
    """One engine for all runs: `world` is set by the test."""

    world: World

    @initialize()
    def begin(self) -> None:
        self.restarts = 0

    def expect(self, got: int, wanted: int) -> bool:
        assert got == wanted
        return wanted < 300

    def find(self, name: str) -> Modelled | None:
        return self.world.model.get(name)

    @rule(name=NAMES, kind=st.sampled_from(sorted(KINDS)))
    def create(self, name: str, kind: str) -> None:
        body = {"Image": "busybox", "HostConfig": {"NetworkMode": "none", "Init": kind == "sleeps"}, **KINDS[kind]}
        status, answer = self.world.ask("POST", f"/containers/create?name={name}", body)
        if self.expect(status, 409 if self.find(name) else 201):
            assert len(answer["Id"]) == 64
            self.world.model[name] = Modelled(kind)
        else:
            assert answer["message"].startswith(
                f'Conflict. The container name "/{name}" is already in use by container "'
            )

    @rule(name=NAMES)
    def start(self, name: str) -> None:
        modelled = self.find(name)
        status, _ = self.world.ask("POST", f"/containers/{name}/start")
        self.expect(status, self._start_status(modelled))
        if modelled is not None and not modelled.is_alive:
            modelled.started()
            self.world.settle(name)

    @staticmethod
    def _start_status(modelled: Modelled | None) -> int:
        if modelled is None:
            return 404
        if modelled.state == "paused":
            return 409
        return 304 if modelled.is_alive else 400 if modelled.kind == "missing" else 204

    @rule(name=NAMES, patience=st.sampled_from([0, 5]))
    def stop(self, name: str, patience: int) -> None:
        modelled = self.find(name)
        status, _ = self.world.ask("POST", f"/containers/{name}/stop?t={patience}")
        self.expect(status, 404 if modelled is None else 204 if modelled.is_alive else 304)
        if modelled is not None and modelled.is_alive:
            modelled.ended(*((BY_KILL,) if patience == 0 else (BY_TERM, BY_KILL)))

    @rule(name=NAMES)
    def kill(self, name: str) -> None:
        modelled = self.find(name)
        status, _ = self.world.ask("POST", f"/containers/{name}/kill")
        self.expect(status, 404 if modelled is None else 204 if modelled.is_alive else 409)
        if modelled is not None and modelled.is_alive:
            modelled.ended(BY_KILL)

    @rule(name=NAMES)
    def restart(self, name: str) -> None:
        modelled = self.find(name)
        status, _ = self.world.ask("POST", f"/containers/{name}/restart?t=5")
        self.expect(status, 404 if modelled is None else 400 if modelled.kind == "missing" else 204)
        if modelled is not None:
            modelled.started()
            self.world.settle(name)

    @rule(name=NAMES)
    def pause(self, name: str) -> None:
        modelled = self.find(name)
        status, _ = self.world.ask("POST", f"/containers/{name}/pause")
        if self.expect(status, 404 if modelled is None else 204 if modelled.state == "running" else 409) and modelled:
            modelled.state = "paused"

    @rule(name=NAMES)
    def unpause(self, name: str) -> None:
        modelled = self.find(name)
        status, _ = self.world.ask("POST", f"/containers/{name}/unpause")
        if self.expect(status, 404 if modelled is None else 204 if modelled.state == "paused" else 409) and modelled:
            modelled.state = "running"

    @rule(name=NAMES, new=NAMES)
    def rename(self, name: str, new: str) -> None:
        modelled = self.find(name)
        status, _ = self.world.ask("POST", f"/containers/{name}/rename?name={new}")
        wanted = 404 if modelled is None else 400 if new == name else 409 if self.find(new) else 204
        if self.expect(status, wanted) and modelled:
            del self.world.model[name]
            self.world.model[new] = modelled

    @rule(name=NAMES)
    def execute(self, name: str) -> None:
        modelled = self.find(name)
        status, answer = self.world.ask("POST", f"/containers/{name}/exec", {"Cmd": ["true"]})
        if self.expect(status, 404 if modelled is None else 201 if modelled.state == "running" else 409):
            assert self.world.ask("POST", f"/exec/{answer['Id']}/start", {"Detach": True})[0] == 200

    @rule(name=NAMES)
    def wait(self, name: str) -> None:
        modelled = self.find(name)
        if modelled is not None and modelled.is_alive:
            return
        status, answer = self.world.ask("POST", f"/containers/{name}/wait")
        if self.expect(status, 404 if modelled is None else 200) and modelled:
            assert answer["StatusCode"] in modelled.codes

    @rule(name=NAMES)
    def update(self, name: str) -> None:
        modelled = self.find(name)
        status, _ = self.world.ask(
            "POST", f"/containers/{name}/update", {"CpuShares": 512, "RestartPolicy": {"Name": "no"}}
        )
        self.expect(status, 404 if modelled is None else 200)

    @rule(name=NAMES, force=st.booleans())
    def remove(self, name: str, force: bool) -> None:
        modelled = self.find(name)
        status, _ = self.world.ask("DELETE", f"/containers/{name}?force={int(force)}")
        if self.expect(status, 404 if modelled is None else 409 if modelled.is_alive and not force else 204):
            del self.world.model[name]

    @rule()
    def prune(self) -> None:
        status, answer = self.world.ask("POST", "/containers/prune")
        gone = [name for name, modelled in self.world.model.items() if not modelled.is_alive]
        assert (status, len(answer["ContainersDeleted"] or ())) == (200, len(gone))
        for name in gone:
            del self.world.model[name]

    @precondition(lambda self: self.restarts < 1)
    @rule()
    def another_engine(self) -> None:
        """Containers go on meanwhile; the next engine knows all of them."""
        self.restarts += 1
        self.world.close()
        self.world.open()

    @invariant()
    def engine_and_model_agree(self) -> None:
        self.world.compare()

    def teardown(self) -> None:
        assert self.world.clear() == []


@pytest.mark.row(
    "M-1",
    "I-08",
    "I-09",
    "E-010",
    "E-011",
    "E-012",
    "E-013",
    "E-015",
    "E-016",
    "E-017",
    "E-020",
    "E-021",
    "E-025",
    "E-274",
)
def test_the_engine_follows_dockers_rules_whatever_is_called_in_whatever_order() -> None:
    with tempfile.TemporaryDirectory() as place, asyncio.Runner() as runner:
        world = World(Path(place), runner)
        world.open()
        try:
            Containers.world = world
            run_state_machine_as_test(
                Containers,
                settings=settings(
                    max_examples=EXAMPLES, stateful_step_count=25, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )  # fmt: skip
        finally:
            world.clear()
            world.close()
        assert world.left_over() == []
