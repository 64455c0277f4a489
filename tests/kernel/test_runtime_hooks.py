"""Hooks in the container's namespaces: what they see, what they are told, what becomes of a start when they fail."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from onggi.errors import RuntimeStepError
from onggi.oci.runtime import Hook, Hooks
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
