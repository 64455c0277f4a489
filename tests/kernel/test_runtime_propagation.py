"""What mounts do with those that come and go at their source, or below the container's root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.kernel import mounts
from tests.kernel.spawning import Box, make_rootfs

pytestmark = pytest.mark.root


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A mount of the host's that propagates."""
    source = tmp_path / "shared"
    source.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "onggi-test", source], check=True)
    subprocess.run(["mount", "--make-shared", source], check=True)
    yield source
    subprocess.run(["umount", "-R", source], check=True)


def _optional(pid: int | str, target: str) -> tuple[str, ...]:
    return next(m.optional for m in mounts.mountinfo(pid) if m.target == target)


@pytest.mark.row("CL-194")
@pytest.mark.parametrize(
    ("word", "expected"),
    [("shared", ("shared:",)), ("slave", ("master:",)), ("rslave", ("master:",)), ("private", ()), ("", ())],
)
def test_a_bind_mount_propagates_as_it_says(container: Box, shared: Path, word: str, expected: tuple[str, ...]) -> None:
    container.mount(shared, "/vol", "rbind", *filter(None, [word]))
    spawned = container.start("sleep", "60")
    [peers] = _optional("self", str(shared))
    number = peers.partition(":")[2]
    assert _optional(spawned.pid, "/vol") == tuple(prefix + number for prefix in expected)


@pytest.mark.row("CL-194")
def test_a_mount_that_the_host_makes_later_arrives_through_a_slave(container: Box, shared: Path) -> None:
    container.mount(shared, "/vol", "rbind", "rslave")
    spawned = container.start("sleep", "60")
    (shared / "later").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "onggi-test", shared / "later"], check=True)
    assert any(m.target == "/vol/later" for m in mounts.mountinfo(spawned.pid))


@pytest.mark.row("CL-194")
def test_mounts_stand_in_the_specs_order_whatever_they_propagate(container: Box, shared: Path) -> None:
    container.mount("tmpfs", "/first", type="tmpfs")
    container.mount(shared, "/second", "rbind", "rslave")
    container.mount("tmpfs", "/third", type="tmpfs")
    targets = container.sh("cut -d' ' -f5 /proc/self/mountinfo").out.split()
    assert [t for t in targets if t in ("/first", "/second", "/third")] == ["/first", "/second", "/third"]


@pytest.mark.row("CL-204")
@pytest.mark.parametrize(
    ("word", "expected"),
    [("shared", "shared:"), ("rshared", "shared:"), ("private", ""), ("slave", ""), ("unbindable", "unbindable")],
)
def test_the_root_propagates_as_the_spec_says(container: Box, word: str, expected: str) -> None:
    assert container.spec.linux is not None
    container.spec.linux.rootfs_propagation = word
    optional = _optional(container.start("sleep", "60").pid, "/")
    assert [field.rstrip("0123456789") for field in optional] == ([expected] if expected else [])


@pytest.mark.row("CL-204")
def test_the_root_of_a_bundle_can_be_a_slave_of_the_hosts(container: Box, shared: Path) -> None:
    assert container.spec.linux is not None
    make_rootfs(shared / "rootfs")
    container.rootfs, container.bare = shared / "rootfs", True
    container.spec.linux.rootfs_propagation = "rslave"
    assert _optional(container.start("sleep", "60").pid, "/")[0].startswith("master:")
