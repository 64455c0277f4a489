"""Bundles as strangers write them: what config.json says is what there is, seen from inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.bundles import Bundle, said

pytestmark = pytest.mark.root


def linux_of(bundle: Bundle) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle.directory / "config.json").read_text())["linux"]
    return found


@pytest.mark.row("CL-191")
def test_without_a_mount_namespace_the_root_is_a_root_directory_and_nothing_is_mounted(bundle: Bundle) -> None:
    kinds = [entry for entry in linux_of(bundle)["namespaces"] if entry["type"] != "mount"]
    bundle.change(linux=linux_of(bundle) | {"namespaces": kinds, "maskedPaths": [], "readonlyPaths": []})
    before = Path("/proc/self/mountinfo").read_text()
    ended = bundle.call("run", bundle.make("sh", "-c", "echo /*; pwd"))
    assert ended.stdout.split()[0] == "/bin"
    assert "mounts are not made" in ended.stderr
    assert Path("/proc/self/mountinfo").read_text() == before


@pytest.mark.row("CL-191")
@pytest.mark.parametrize("readonly", [False, True])
def test_a_root_is_read_only_when_it_is_said_so(bundle: Bundle, *, readonly: bool) -> None:
    bundle.change(root={"path": "rootfs", "readonly": readonly})
    ended = bundle.call("run", bundle.make("sh", "-c", "echo x >/new"))
    assert (ended.returncode != 0) == readonly
    assert (bundle.directory / "rootfs/new").exists() != readonly


@pytest.mark.row("CL-192")
def test_a_capability_that_no_kernel_has_is_warned_of(bundle: Bundle) -> None:
    ended = bundle.call("run", bundle.make("true", capabilities={"bounding": ["CAP_KILL", "CAP_TEST"]}))
    assert ended.returncode == 0
    assert "CAP_TEST" in ended.stderr
    assert "level=warning" in ended.stderr


@pytest.mark.row("CL-200")
def test_devices_are_denied_unless_they_are_allowed(bundle: Bundle) -> None:
    """The host's memory device (1:1) and its kernel log (1:11) may be made, and the one that is allowed opened."""
    rule = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}
    deny = {"allow": False, "access": "rwm"}
    nodes = [
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 1},
        {"path": "/dev/log0", "type": "c", "major": 1, "minor": 11},
    ]
    bundle.change(linux=linux_of(bundle) | {"resources": {"devices": [deny, rule]}, "devices": nodes})
    caps = {
        name: ["CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_SYS_RAWIO", "CAP_DAC_OVERRIDE"]
        for name in ("bounding", "effective", "permitted")
    }
    script = "for f in mine log0 null; do (: </dev/$f) 2>/dev/null && echo $f; done; :"
    ended = bundle.call("run", bundle.make("sh", "-c", script, capabilities=caps))
    assert ended.stdout.split() == ["log0", "null"]


@pytest.mark.row("CL-207")
def test_sockets_that_were_listened_on_go_on_to_the_program(bundle: Bundle) -> None:
    command = [sys.executable, "-I", "-m", "onggi.runtime.entry", "--root", str(bundle.root), "run"]
    container_id = bundle.make("sh", "-c", "ls /proc/self/fd; echo $LISTEN_FDS")
    ended = subprocess.run(
        ["sh", "-c", 'exec "$@" 3</dev/null', "sh", *command, container_id], cwd=bundle.directory,
        capture_output=True, text=True, check=True, timeout=30, env={**os.environ, "LISTEN_FDS": "1"},
    )  # fmt: skip
    # 4 is the directory that ls reads.
    assert ended.stdout.split() == ["0", "1", "2", "3", "4", "1"]


@pytest.mark.row("CL-196", "CL-197")
def test_a_bundle_in_a_user_namespace_is_run_and_entered(bundle: Bundle) -> None:
    maps = [{"containerID": 0, "hostID": 700_000, "size": 65_536}]
    linux = linux_of(bundle)
    linux["namespaces"].append({"type": "user"})
    bundle.change(linux=linux | {"uidMappings": maps, "gidMappings": maps}, root={"path": "rootfs", "readonly": False})
    for path in (bundle.directory / "rootfs", *(bundle.directory / "rootfs").rglob("*")):
        os.lchown(path, 700_000, 700_000)
    container_id = bundle.start("sleep", "60")
    ended = bundle.call("exec", container_id, "sh", "-c", "id -u; cat /proc/self/uid_map")
    assert ended.stdout.split() == ["0", "0", "700000", "65536"]
    assert Path(f"/proc/{json.loads(bundle.call('state', container_id).stdout)['pid']}").stat().st_uid in (0, 700_000)
    assert said(bundle.call("start", container_id)) == "cannot start an already running container"
