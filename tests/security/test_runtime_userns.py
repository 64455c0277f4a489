"""Attacks from a user namespace, where the container's root has every capability: none of them counts on the host."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.kernel import capabilities
from onggi.oci.runtime import Capabilities, IdMapping, Namespace
from onggi.runtime import defaults
from tests.kernel.spawning import Box, box, make_rootfs
from tests.security.test_runtime_rights import HOSTILE

pytestmark = pytest.mark.root

FIRST = 710_000
ALL = list(capabilities.CAPS)


@pytest.fixture
def mighty(tmp_path: Path) -> Iterator[Box]:
    """A container in a user namespace whose root has all capabilities there."""
    rootfs = make_rootfs(tmp_path / "rootfs")
    for path in (rootfs, *rootfs.rglob("*")):
        os.lchown(path, FIRST, FIRST)
    with box(rootfs, tmp_path / "container") as made:
        made.bare = True
        assert made.spec.linux is not None
        made.spec.linux.namespaces = [*defaults.namespaces(cgroup=True), Namespace("user")]
        made.spec.linux.uid_mappings = made.spec.linux.gid_mappings = [IdMapping(0, FIRST, 65_536)]
        made.process.capabilities = Capabilities(ALL, ALL, [], ALL, [])
        yield made


@pytest.mark.row("S-02")
def test_s02_an_exec_into_a_user_namespace_cannot_be_read_or_traced(mighty: Box) -> None:
    """Whoever enters a user namespace could be traced by its root: unless it was untraceable before (CVE-2016-9962)."""
    reader, writer = os.pipe()
    first = mighty.start(mighty.with_python(), "-I", "-c", HOSTILE, stdout=writer)
    os.close(writer)
    assert os.read(reader, 6) == b"ready\n"
    end, count = time.monotonic() + 1.0, 0
    while time.monotonic() < end or count <= 5:
        assert mighty.exec(first, "true").code == 0
        count += 1
    os.kill(first.pid, signal.SIGKILL)
    with os.fdopen(reader, "rb") as seen:
        assert seen.read() == b""


@pytest.mark.row("S-03", "S-10")
def test_s10_no_mount_and_no_descriptor_of_the_host_is_left(mighty: Box) -> None:
    ended = mighty.sh("ls /proc/self/fd; cat /proc/self/mountinfo")
    lines = ended.out.splitlines()
    assert lines[:4] == ["0", "1", "2", "3"]  # 3 is the directory that ls reads
    root = str(mighty.rootfs)
    assert [line for line in lines[4:] if root in line and " / " not in line] == []
    assert mighty.sh("umount -l /proc; umount -l /dev; ls /host /root/../.. >/dev/null; ls /").code == 0


HOST_FILES = (
    "/proc/sysrq-trigger",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/vm/drop_caches",
    "/sys/kernel/uevent_helper",
)


@pytest.mark.row("S-08", "S-35")
@pytest.mark.parametrize("path", HOST_FILES)
def test_s08_roots_capabilities_write_no_setting_of_the_machine(mighty: Box, path: str) -> None:
    assert mighty.spec.linux is not None
    mighty.spec.linux.masked_paths = mighty.spec.linux.readonly_paths = []
    before = Path(path).read_bytes() if path.endswith("pattern") else b""
    assert mighty.sh(f"[ -e {path} ] || exit 3; echo 0 >{path}").code in (1, 2, 3)
    assert not before or Path(path).read_bytes() == before


@pytest.mark.row("S-36")
def test_s36_no_node_opens_a_device(mighty: Box) -> None:
    assert mighty.sh("mknod /work/disk b 7 0").code != 0
    assert mighty.sh("mount -t devtmpfs d /work || mount -t ext4 /dev/zero /work").code != 0


@pytest.mark.row("S-05")
def test_s05_a_volume_of_the_hosts_root_stays_the_hosts(mighty: Box, tmp_path: Path) -> None:
    (tmp_path / "vol").mkdir(mode=0o755)
    (tmp_path / "vol/secret").write_text("host", encoding="ascii")
    (tmp_path / "vol/secret").chmod(0o600)
    mighty.mount(tmp_path / "vol", "/vol")
    assert mighty.sh("cat /vol/secret").code != 0
    assert mighty.sh("echo x >/vol/new").code != 0
    assert mighty.sh("chown 0 /vol/secret; chmod 4755 /vol/secret").code != 0
    assert (tmp_path / "vol/secret").stat().st_mode & 0o7777 == 0o600


@pytest.mark.row("S-14")
def test_s14_capabilities_are_of_the_namespace_alone(mighty: Box) -> None:
    assert "CapEff:\t000001ffffffffff" in mighty.sh("grep Cap /proc/self/status").out
    assert mighty.sh("hostname inside && hostname").out == "inside\n"
    assert os.uname().nodename != "inside"
