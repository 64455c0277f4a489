"""Hooks in the container's namespaces: what they see, what they are told, what becomes of a start when they fail."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onggi.errors import RuntimeStepError
from onggi.oci.runtime import Hook, Hooks
from tests.kernel.bundles import Bundle
from tests.kernel.spawning import Box

pytestmark = pytest.mark.root


def test_create_container_runs_the_hosts_program_before_the_pivot(container: Box, tmp_path: Path) -> None:
    script = tmp_path / "hook"
    script.write_text(
        f"#!/bin/sh\ncat > {tmp_path}/told; readlink /proc/self/ns/mnt > {tmp_path}/ns; echo $A > {tmp_path}/env\n"
    )
    script.chmod(0o755)
    container.spec.annotations = {"a": "b"}
    container.spec.hooks = Hooks(create_container=[Hook(str(script), env=["A=x=y", "PATH=/usr/bin:/bin"])])
    spawned = container.start("sleep", "60")
    told = json.loads((tmp_path / "told").read_bytes())
    assert (told["pid"], told["status"], told["annotations"]) == (spawned.pid, "creating", {"a": "b"})
    assert (tmp_path / "ns").read_text().strip() == str(Path(f"/proc/{spawned.pid}/ns/mnt").readlink())
    assert (tmp_path / "env").read_text() == "x=y\n"


def test_start_container_runs_the_containers_program_before_its_own(container: Box) -> None:
    container.spec.hooks = Hooks(start_container=[Hook("/bin/sh", ["sh", "-c", "cat > /work/told; echo hook"])])
    assert container.run("sh", "-c", "echo program; grep -c created /work/told").out == "hook\nprogram\n1\n"


def test_a_hook_that_fails_or_hangs_fails_the_start(container: Box) -> None:
    container.spec.hooks = Hooks(start_container=[Hook("/bin/sh", ["sh", "-c", "exit 3"])])
    with pytest.raises(RuntimeStepError, match="error running startContainer hook #0: exit status 3"):
        container.start("true")
    container.spec.hooks = Hooks(create_container=[Hook("/bin/sleep", ["sleep", "60"], timeout=1)])
    begin = time.monotonic()
    with pytest.raises(RuntimeStepError, match="timed out after 1s"):
        container.start("true")
    assert time.monotonic() - begin < 3
    assert container.cgroup.pids() == []


KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
STATES = {"prestart": "created", "createRuntime": "creating", "createContainer": "creating", "startContainer": "created",
          "poststart": "running", "poststop": "stopped"}  # fmt: skip


def _telling(bundle: Bundle, kind: str) -> dict[str, object]:
    """A hook that writes what it is told, one line for each; the startContainer one is the container's own program."""
    inside = kind == "startContainer"
    target = "/told" if inside else str(bundle.directory / "rootfs/told")
    script = f'read -r state; echo "$WHO $state" >>{target}'
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": [f"WHO={kind}"]}


@pytest.mark.row("CL-195")
def test_six_kinds_of_hooks_run_in_their_order_with_the_state_of_the_moment(bundle: Bundle) -> None:
    bundle.change(
        hooks={kind: [_telling(bundle, kind), _telling(bundle, kind)] for kind in KINDS},
        annotations={"org.example": "kept"}, root={"path": "rootfs", "readonly": False},
    )  # fmt: skip
    container_id = bundle.make("sleep", "60")
    null = subprocess.DEVNULL
    command = [sys.executable, "-I", "-m", "onggi.runtime.entry", "--root", str(bundle.root), "create", container_id]
    subprocess.run(command, cwd=bundle.directory, stdin=null, stdout=null, stderr=null, check=True, timeout=30)
    told = bundle.directory / "rootfs/told"
    created = [line.split(" ")[0] for line in told.read_text().splitlines()]
    assert created == [kind for kind in KINDS[:3] for _ in range(2)]
    assert bundle.call("start", container_id).returncode == 0
    assert bundle.call("delete", "--force", container_id).returncode == 0
    lines = [line.partition(" ")[::2] for line in told.read_text().splitlines()]
    assert [kind for kind, _ in lines] == [kind for kind in KINDS for _ in range(2)]
    for kind, text in lines:
        state = json.loads(text)
        assert (state["id"], state["status"]) == (container_id, STATES[kind]), kind
        assert state["annotations"] == {"org.example": "kept"}
        assert (state["bundle"], state["pid"] > 0) == (str(bundle.directory), kind != "poststop")


@pytest.mark.row("CL-195")
@pytest.mark.parametrize("kind", KINDS[:4])
def test_a_hook_before_the_program_that_fails_leaves_nothing(bundle: Bundle, kind: str) -> None:
    bundle.change(hooks={kind: [{"path": "/bin/sh", "args": ["sh", "-c", "exit 7"]}]})
    container_id = bundle.make("sh", "-c", "echo began")
    ended = bundle.call("run", container_id)
    assert ended.returncode != 0
    assert "exit status 7" in ended.stderr
    assert ended.stdout == ""
    assert bundle.call("state", container_id).returncode == 1


@pytest.mark.row("CL-195")
def test_a_hook_that_takes_too_long_is_killed(bundle: Bundle) -> None:
    bundle.change(hooks={"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}]})
    begin = time.monotonic()
    ended = bundle.call("run", bundle.make("true"))
    assert ended.returncode == 1
    assert "timed out" in ended.stderr
    assert time.monotonic() - begin < 10


@pytest.mark.row("CL-195")
def test_a_poststart_hook_that_fails_ends_the_container(bundle: Bundle) -> None:
    bundle.change(hooks={"poststart": [{"path": "/bin/false"}]})
    container_id = bundle.make("sleep", "60")
    ended = bundle.call("run", "-d", container_id, stdin=subprocess.DEVNULL)
    assert ended.returncode == 1
    assert bundle.call("state", container_id).returncode == 1


@pytest.mark.row("CL-195")
def test_a_poststop_hook_that_fails_is_only_told_of(bundle: Bundle) -> None:
    second = _telling(bundle, "poststop")
    bundle.change(hooks={"poststop": [{"path": "/bin/false"}, second]})
    container_id = bundle.make("true")
    ended = bundle.call("run", container_id)
    assert ended.returncode == 0
    assert "/bin/false" in ended.stderr
    assert (bundle.directory / "rootfs/told").read_text().startswith("poststop ")
    assert bundle.call("state", container_id).returncode == 1
