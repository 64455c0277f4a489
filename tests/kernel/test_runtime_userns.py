"""Containers whose ids are not the host's: new user namespaces, joined ones, mounts with mapped ids, clocks."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.errors import RuntimeStepError
from onggi.kernel import process, userns
from onggi.oci.runtime import Device, IdMapping, Linux, Mount, Namespace, Process
from onggi.runtime import defaults
from tests.kernel.spawning import Box, box, make_rootfs, read_all

pytestmark = pytest.mark.root

FIRST, SIZE = 700_000, 65_536
"""Ids that nobody has here."""

MAPPED = [IdMapping(0, FIRST, SIZE)]


def linux(made: Box) -> Linux:
    assert made.spec.linux is not None
    return made.spec.linux


@pytest.fixture
def mapped(tmp_path: Path) -> Iterator[Box]:
    """A container in a user namespace, with a root file system of its own ids that only the host's root can walk to."""
    tmp_path.chmod(0o700)
    rootfs = make_rootfs(tmp_path / "rootfs")
    for path in (rootfs, *rootfs.rglob("*")):
        os.lchown(path, FIRST, FIRST)
    with box(rootfs, tmp_path / "container") as made:
        made.bare = True
        linux(made).namespaces = [*defaults.namespaces(cgroup=False), Namespace("user")]
        linux(made).uid_mappings, linux(made).gid_mappings = MAPPED, MAPPED
        yield made


@pytest.mark.row("CL-197")
def test_root_in_a_user_namespace_is_nobody_on_the_host(mapped: Box) -> None:
    ended = mapped.sh("id -u; cat /proc/self/uid_map; touch /work/made; readlink /proc/self/ns/user")
    uid, ids, namespace = ended.out.splitlines()
    assert (ended.code, uid, ids.split()) == (0, "0", ["0", str(FIRST), str(SIZE)])
    assert namespace != os.readlink("/proc/self/ns/user")
    assert (mapped.rootfs / "work/made").stat().st_uid == FIRST


@pytest.mark.row("CL-197")
def test_a_user_of_the_namespace_has_its_groups_and_no_rights(mapped: Box) -> None:
    mapped.user = "bob"
    assert mapped.sh("id; grep CapEff /proc/self/status").out.splitlines() == [
        "uid=1000(bob) gid=1000(bob) groups=50(staff),1000(bob)",
        "CapEff:\t0000000000000000",
    ]


@pytest.mark.row("CL-198")
def test_devices_in_a_user_namespace_are_the_hosts_own(mapped: Box) -> None:
    linux(mapped).devices = [Device("/dev/fuse", "c", 10, 229)] if os.path.exists("/dev/fuse") else []
    ended = mapped.sh("echo lost >/dev/null && head -c 4 /dev/zero | wc -c && stat -c '%t:%T' /dev/null /dev/full")
    assert ended.out.split() == ["4", "1:3", "1:7"]
    assert mapped.sh("mknod /dev/mine c 1 3").code != 0


@pytest.mark.row("CL-198")
def test_the_specs_devices_are_what_it_says_and_work(mapped: Box) -> None:
    """Whatever the host has at their paths: nobody in the namespace could make them."""
    linux(mapped).devices = [
        Device("/dev/mine", "c", 1, 5, file_mode=0o640, uid=5, gid=6),
        Device("/dev/zero", "c", 1, 3),
    ]
    ended = mapped.sh("stat -c '%t:%T %a %u:%g' /dev/mine; head -c 4 /dev/mine | wc -c; stat -c %t:%T /dev/zero")
    assert ended.out.split() == ["1:5", "640", "5:6", "4", "1:3"]


@pytest.mark.row("CL-197", "CL-194")
def test_a_volume_that_only_the_hosts_root_can_walk_to_is_mounted(mapped: Box, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    volume = tmp_path / "private/volume"
    volume.mkdir()
    (volume / "file").write_text("there", encoding="ascii")
    mapped.mount(volume, "/vol", "bind", "ro")
    assert mapped.sh("cat /vol/file; touch /vol/x 2>&1").out == "theretouch: /vol/x: Read-only file system\n"


def _owners(made: Box, path: str) -> list[str]:
    return made.sh(f"stat -c %u:%g {path}; touch /vol/new; stat -c %u:%g /vol/new").out.split()


@pytest.mark.row("CL-197", "CL-194")
def test_an_idmapped_mount_takes_the_maps_of_the_user_namespace(mapped: Box, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, 5, 6)
    mapped.mount(volume, "/vol", "bind", "idmap")
    assert _owners(mapped, "/vol") == ["5:6", "0:0"]
    assert (volume / "new").stat().st_uid == 0


@pytest.mark.row("CL-197", "CL-194")
def test_an_idmapped_mount_has_maps_of_its_own_without_a_user_namespace(container: Box, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, 5, 5)
    own = [IdMapping(5, 1000, 1)]
    container.spec.mounts.append(Mount("/vol", "bind", str(volume), ["bind"], own, own))
    container.user = "bob"
    assert _owners(container, "/vol") == ["1000:1000", "1000:1000"]


@pytest.mark.row("CL-197")
@pytest.mark.parametrize(
    ("uids", "gids", "words"),
    [
        ([], [], "a new user namespace needs uidMappings and gidMappings"),
        ([IdMapping(1, FIRST, 10)], MAPPED, "uidMappings: container id 0 is not mapped"),
        ([IdMapping(0, FIRST, 0)], MAPPED, "uidMappings: a range is empty"),
        ([IdMapping(0, FIRST, 10), IdMapping(5, FIRST + 10, 10)], MAPPED, "uidMappings: ranges overlap at 5"),
        (MAPPED, [IdMapping(0, FIRST, 10), IdMapping(10, FIRST + 5, 9)], "gidMappings: ranges overlap"),
    ],
)
def test_maps_that_no_kernel_takes_are_refused_by_name(
    mapped: Box, uids: list[IdMapping], gids: list[IdMapping], words: str
) -> None:
    linux(mapped).uid_mappings, linux(mapped).gid_mappings = uids, gids
    with pytest.raises(RuntimeStepError, match=words):
        mapped.start("true")


@pytest.mark.row("CL-197")
def test_maps_without_a_user_namespace_are_refused(container: Box) -> None:
    linux(container).uid_mappings = MAPPED
    with pytest.raises(RuntimeStepError, match="user namespace mappings specified, but user namespace isn't enabled"):
        container.start("true")


@pytest.mark.row("CL-197", "CL-183")
def test_an_exec_is_in_the_user_namespace_too(mapped: Box) -> None:
    spawned = mapped.start("sleep", "60")
    ended = mapped.exec(spawned, "sh", "-c", "id -u; cat /proc/self/uid_map; cat /proc/self/setgroups; ls -ld /root")
    assert ended.code == 0
    assert ended.out.splitlines()[0] == "0"
    assert str(FIRST) in ended.out.splitlines()[1]
    assert "root" in ended.out.splitlines()[3]
    as_bob = Process(args=["id"], env=list(mapped.process.env))
    as_bob.user.uid, as_bob.user.gid, as_bob.user.additional_gids = 1000, 1000, [50]
    assert mapped.exec(spawned, process=as_bob).out.strip() == "uid=1000(bob) gid=1000(bob) groups=50(staff)"


@pytest.mark.row("CL-196")
def test_namespaces_of_another_container_are_joined_user_first(mapped: Box, tmp_path: Path) -> None:
    first = mapped.start("sleep", "60")
    kinds = {"user": "user", "network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid", "cgroup": "cgroup"}
    paths = [Namespace(kind, f"/proc/{first.pid}/ns/{name}") for kind, name in kinds.items()]
    with box(mapped.rootfs, tmp_path / "second") as second:
        second.bare = True
        # The user namespace last, to see that the order is ours.
        linux(second).namespaces = [Namespace("mount"), *reversed(paths)]
        ended = second.sh("for n in user net ipc uts pid cgroup; do readlink /proc/self/ns/$n; done; id -u")
        theirs = [
            os.readlink(f"/proc/{first.pid}/ns/{name}") for name in ("user", "net", "ipc", "uts", "pid", "cgroup")
        ]
        assert ended.out.splitlines() == [*theirs, "0"]


@pytest.mark.row("CL-196")
def test_a_new_user_namespace_goes_with_a_network_that_is_joined(mapped: Box, tmp_path: Path) -> None:
    owner = subprocess.Popen(["unshare", "--net", "sleep", "60"])
    try:
        path = Path(f"/proc/{owner.pid}/ns/net")
        end = time.monotonic() + 5
        while os.readlink(path) == os.readlink("/proc/self/ns/net") and time.monotonic() < end:
            os.sched_yield()
        kept = [n for n in linux(mapped).namespaces if n.type != "network"]
        linux(mapped).namespaces = [*kept, Namespace("network", str(path))]
        # sysfs belongs to who owns the network namespace: the host's is shown instead.
        assert mapped.sh("readlink /proc/self/ns/net; ls /sys").out.split()[:2] == [os.readlink(path), "block"]
    finally:
        owner.kill()
        owner.wait()


@pytest.mark.row("CL-196")
@pytest.mark.parametrize(
    ("namespaces", "words"),
    [
        ([Namespace("mount"), Namespace("pid"), Namespace("pid")], "duplicated ns 'pid'"),
        ([Namespace("mount"), Namespace("network", "/proc/self/ns/uts")], "no namespace of the type"),
        ([Namespace("mount"), Namespace("network", "/etc/passwd")], "no namespace of the type"),
        ([Namespace("mount"), Namespace("ink")], "unknown namespace type 'ink'"),
    ],
)
def test_namespaces_that_make_no_sense_are_refused(container: Box, namespaces: list[Namespace], words: str) -> None:
    linux(container).namespaces = namespaces
    with pytest.raises(RuntimeStepError, match=words):
        container.start("true")


@pytest.mark.row("CL-196")
@pytest.mark.parametrize("user", [False, True])
def test_a_time_namespace_has_its_offsets(container: Box, mapped: Box, *, user: bool) -> None:
    made = mapped if user else container
    linux(made).namespaces = [*linux(made).namespaces, Namespace("time")]
    linux(made).time_offsets = {"boottime": {"secs": 700_000, "nanosecs": 5}, "monotonic": {"secs": 300}}
    ended = made.sh("cat /proc/uptime; readlink /proc/self/ns/time; cat /proc/self/timens_offsets")
    uptime, namespace, *offsets = ended.out.splitlines()
    assert float(uptime.split()[0]) - time.clock_gettime(time.CLOCK_BOOTTIME) == pytest.approx(700_000, abs=5)
    assert namespace != os.readlink("/proc/self/ns/time")
    assert [line.split() for line in offsets] == [["monotonic", "300", "0"], ["boottime", "700000", "5"]]


@pytest.mark.row("CL-196")
def test_offsets_without_a_time_namespace_are_refused(container: Box) -> None:
    linux(container).time_offsets = {"boottime": {"secs": 1}}
    with pytest.raises(RuntimeStepError, match="time namespace offsets specified, but time namespace isn't enabled"):
        container.start("true")
    linux(container).namespaces = [*linux(container).namespaces, Namespace("time")]
    linux(container).time_offsets = {"realtime": {"secs": 1}}
    with pytest.raises(RuntimeStepError, match="the clock 'realtime' has no offset"):
        container.start("true")


def _as_nobody(reader: int, writer: int) -> None:
    """Ids that own nothing; what a namespace with more than them says."""
    os.close(reader)
    os.setgroups([])
    os.setresgid(65_500, 65_500, 65_500)
    os.setresuid(65_500, 65_500, 65_500)
    process.set_dumpable(True)  # the change of ids has switched it off, and /proc/PID/uid_map is root's without
    said = []
    for size in (1, 2):
        maps = userns.IdMaps((userns.IdRange(0, 65_500, size),), (userns.IdRange(0, 65_500, size),))
        try:
            userns.namespace(maps).close()
            said.append(f"made {maps.denies_setgroups()}")
        except OSError as error:
            said.append(error.strerror or "")
    os.write(writer, "\n".join(said).encode())


@pytest.mark.row("CL-197")
def test_an_ordinary_user_maps_itself_and_no_others_ids() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _as_nobody(reader, writer)
        finally:
            os._exit(0)
    os.close(writer)
    said = read_all(reader).splitlines()
    os.close(reader)
    os.waitpid(child, 0)
    assert said[0] == "made True"
    assert said[1].startswith("newuidmap: ")


@pytest.mark.row("CL-197")
def test_a_terminal_in_a_user_namespace_is_its_users(mapped: Box) -> None:
    mapped.user = "bob"
    ended = mapped.sh("tty; stat -c %u /dev/pts/0; stat -c %t:%T /dev/console; echo x >/dev/tty", tty=True)
    assert ended.out.replace("\r", "").split() == ["/dev/pts/0", "1000", "88:0", "x"]


@pytest.mark.row("CL-197", "CL-204")
def test_settings_of_its_own_network_are_the_user_namespaces(mapped: Box) -> None:
    linux(mapped).sysctl = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4242"}
    mapped.spec.hostname = "inside"
    ended = mapped.sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax; hostname")
    assert ended.out.split() == ["1", "4242", "inside"]
