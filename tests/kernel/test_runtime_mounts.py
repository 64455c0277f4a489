"""Mounts of a spec as the kernel tells of them inside, and what may not be mounted."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.errors import RuntimeStepError
from onggi.kernel import mounts
from onggi.oci.runtime import Mount
from tests.kernel.spawning import Box

pytestmark = pytest.mark.root


def options_of(made: Box, target: str) -> set[str]:
    """Of the mount and of its file system."""
    pid = made.start("sleep", "60").pid
    found = [m for m in mounts.mountinfo(pid) if m.target == target][-1]
    return {*found.options.split(","), *(f"super:{word}" for word in found.super_options.split(","))}


WORDS = [
    ("ro", "ro"), ("rw", "rw"), ("nosuid", "nosuid"), ("nodev", "nodev"), ("noexec", "noexec"), ("noatime", "noatime"),
    ("nodiratime", "nodiratime"), ("relatime", "relatime"), ("nosymfollow", "nosymfollow"),
]  # fmt: skip


@pytest.mark.row("CL-194")
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
@pytest.mark.parametrize(("word", "seen"), WORDS)
def test_an_option_is_on_the_mount(container: Box, tmp_path: Path, kind: str, word: str, seen: str) -> None:
    source = tmp_path if kind == "bind" else "tmpfs"
    container.mount(source, "/vol", *(["bind"] if kind == "bind" else []), word, type=kind)
    assert seen in options_of(container, "/vol")


@pytest.mark.row("CL-194")
def test_strict_access_times_are_neither_rel_nor_no(container: Box) -> None:
    container.mount("tmpfs", "/vol", "strictatime", type="tmpfs")
    assert not {"relatime", "noatime"} & options_of(container, "/vol")


@pytest.mark.row("CL-194")
@pytest.mark.parametrize(
    ("word", "seen"), [("sync", "super:sync"), ("dirsync", "super:dirsync"), ("lazytime", "super:lazytime")]
)
def test_an_option_of_the_file_system_is_there(container: Box, word: str, seen: str) -> None:
    container.mount("tmpfs", "/vol", word, type="tmpfs")
    assert seen in options_of(container, "/vol")


@pytest.mark.row("CL-194")
def test_a_tmpfs_is_as_closed_as_the_directory_under_it(container: Box) -> None:
    (container.rootfs / "closed").mkdir(mode=0o710)
    (container.rootfs / "said").mkdir(mode=0o700)
    for path, *options in (("/closed", "ro"), ("/new",), ("/said", "mode=0755")):
        container.mount("tmpfs", path, *options, type="tmpfs")
    assert container.sh("stat -c '%a %n' /closed /new /said").out == "710 /closed\n1777 /new\n755 /said\n"


LINKS = {
    "nowhere": "/made/below/it",
    "beside": "made/beside",
    "up": "../../../made/up",
    "out": "/../../../../../made/out",
    "twice": "/place/beside/more",
}


@pytest.mark.row("CL-194", "S-05")
@pytest.mark.parametrize("is_directory", [True, False])
@pytest.mark.parametrize("name", LINKS)
def test_a_link_that_leads_nowhere_leads_to_what_is_made_below_the_root(
    container: Box, tmp_path: Path, name: str, *, is_directory: bool
) -> None:
    """An image's /etc/localtime is such a link, and people mount the host's on it. As runc and docker have it."""
    place = container.rootfs / "place"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for link, target in LINKS.items():
        (place / link).symlink_to(target)
    (tmp_path / "file").write_text("there")
    container.mount(tmp_path if is_directory else tmp_path / "file", f"/place/{name}", "bind")
    shown = f"/place/{name}/file" if is_directory else f"/place/{name}"
    assert container.sh(f"cat {shown}").out == "there"
    assert not Path("/made").exists()


def test_a_link_that_leads_round_is_no_place_for_a_mount(container: Box, tmp_path: Path) -> None:
    (container.rootfs / "round").symlink_to("/round/more")
    container.mount(tmp_path, "/round", "bind")
    with pytest.raises(RuntimeStepError, match="too many levels of symbolic links"):
        container.run("true")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host's with another mount below it."""
    top = tmp_path / "tree"
    (top / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "onggi-test", top / "below"], check=True)
    yield top
    subprocess.run(["umount", top / "below"], check=True)


@pytest.mark.row("CL-194")
@pytest.mark.parametrize(
    ("words", "top", "below"),
    [
        (["rro"], "ro", "ro"), (["ro"], "ro", "rw"), (["rro", "rrw"], "rw", "rw"), (["rnosuid"], "nosuid", "nosuid"),
        (["rnodev"], "nodev", "nodev"), (["rnoexec"], "noexec", "noexec"), (["rnoatime"], "noatime", "noatime"),
        (["rnodiratime"], "nodiratime", "nodiratime"), (["rnosymfollow"], "nosymfollow", "nosymfollow"),
        (["rnoatime", "rrelatime"], "relatime", "relatime"),
    ],
)  # fmt: skip
def test_an_attribute_with_an_r_holds_below_too(
    container: Box, tree: Path, words: list[str], top: str, below: str
) -> None:
    container.mount(tree, "/vol", "rbind", *words)
    pid = container.start("sleep", "60").pid
    seen = {m.target: m.options.split(",") for m in mounts.mountinfo(pid)}
    assert top in seen["/vol"]
    assert below in seen["/vol/below"]


@pytest.mark.row("CL-194")
def test_a_bind_without_r_shows_nothing_that_is_mounted_below(container: Box, tree: Path) -> None:
    container.mount(tree, "/vol", "bind")
    assert [m.target for m in mounts.mountinfo(container.start("sleep", "60").pid) if "/vol" in m.target] == ["/vol"]


@pytest.mark.row("CL-194")
def test_a_mount_is_changed_by_remount(container: Box) -> None:
    container.mount("tmpfs", "/vol", type="tmpfs")
    container.mount("tmpfs", "/vol", "remount", "ro", "noexec", type="tmpfs")
    assert {"ro", "noexec"} <= options_of(container, "/vol")


@pytest.mark.row("CL-194")
def test_a_tmpfs_begins_with_what_the_image_has_there(container: Box) -> None:
    (container.rootfs / "etc/deep").mkdir(exist_ok=True)
    container.mount("tmpfs", "/etc", "tmpcopyup", "mode=755", type="tmpfs")
    ended = container.sh("stat -f -c %T /etc; wc -l </etc/passwd; ls -d /etc/deep; echo x >/etc/new")
    assert ended.out.split() == ["tmpfs", "2", "/etc/deep"]
    assert not (container.rootfs / "etc/new").exists()


@pytest.mark.row("CL-194", "S-09")
@pytest.mark.parametrize(
    "path", ["/proc/sys", "/proc/self", "/proc/1/environ", "/proc/sysrq-trigger", "/proc/x/../sys"]
)
def test_nothing_is_mounted_over_proc(container: Box, tmp_path: Path, path: str) -> None:
    container.mount(tmp_path, path)
    with pytest.raises(RuntimeStepError, match="cannot be mounted because it is inside /proc"):
        container.start("true")


@pytest.mark.row("CL-194", "S-09")
@pytest.mark.parametrize("name", ["cpuinfo", "meminfo", "stat", "uptime", "loadavg", "swaps", "diskstats"])
def test_some_files_of_proc_may_be_replaced(container: Box, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("ours\n", encoding="ascii")
    container.mount(tmp_path / "file", f"/proc/{name}")
    assert container.sh(f"cat /proc/{name}").out == "ours\n"


@pytest.mark.row("CL-194", "S-05")
def test_a_target_behind_a_link_is_inside_the_root(container: Box, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/file").touch()
    (container.upper).mkdir(parents=True, exist_ok=True)
    os.symlink("/../../../../etc", container.upper / "link")
    container.mount(tmp_path / "volume", "/link/mnt")
    assert container.sh("ls /etc/mnt").out == "file\n"
    assert not Path("/etc/mnt").exists()


@pytest.mark.row("CL-194")
@pytest.mark.parametrize(
    ("mount", "words"),
    [
        (Mount("vol", "tmpfs", "tmpfs"), "mount destination vol not absolute"),
        (Mount("/vol", "nofs", "nofs"), "fsopen nofs"),
        (Mount("/vol", "tmpfs", "tmpfs", ["nooption"]), 'error mounting "tmpfs" to rootfs at "/vol"'),
        (Mount("/vol", "bind", "/no/such/source", ["bind"]), "no such file or directory"),
        (Mount("/vol", "tmpfs", "tmpfs", ["idmap"]), "only a bind mount can have mapped ids"),
        (Mount("/vol", "bind", "/etc", ["bind", "idmap"]), "idmap needs mappings, or a user namespace"),
        (Mount("/vol", "tmpfs", "tmpfs", ["remount"]), "error mounting"),
    ],
)  # fmt: skip
def test_a_mount_that_cant_be_is_refused_by_name(container: Box, mount: Mount, words: str) -> None:
    container.spec.mounts.append(mount)
    with pytest.raises(RuntimeStepError, match=words):
        container.start("true")
    assert container.cgroup.pids() == []
