"""A container's file system is its own: S-01, S-03 to S-11, S-20."""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from onggi.errors import RuntimeStepError
from onggi.kernel import mounts, process, sealing
from onggi.kernel.fds import Fd
from onggi.kernel.filesystem import RenameFlag, renameat2
from onggi.oci.runtime import Mount, Process
from onggi.runtime import become, rootfs
from tests.kernel.spawning import Box, box, make_rootfs

pytestmark = pytest.mark.root


@pytest.mark.row("S-01")
@pytest.mark.row("CL-207")
def test_s01_a_sealed_program_can_never_be_written_to(tmp_path: Path) -> None:
    """Not while it runs (ETXTBSY would hide a hole) and not after: the seals hold on the file itself."""
    busybox = "/bin/busybox" if os.path.exists("/bin/busybox") else shutil.which("busybox") or ""
    with Fd(sealing.sealed_copy(busybox)) as fd:
        before = hashlib.sha256(Path(f"/proc/self/fd/{fd.fileno()}").read_bytes()).digest()
        pid = os.fork()
        if pid == 0:
            with open(tmp_path / "out", "wb") as out:
                os.dup2(out.fileno(), 1)
                process.execveat(fd, [b"cat", b"/proc/self/status"], [])
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        path = f"/proc/self/fd/{fd.fileno()}"
        with pytest.raises(PermissionError):
            os.truncate(path, 0)
        with pytest.raises(PermissionError):
            os.write(fd.fileno(), b"x")
        with pytest.raises(PermissionError):
            fcntl.fcntl(fd.fileno(), fcntl.F_ADD_SEALS, 0)
        assert hashlib.sha256(Path(path).read_bytes()).digest() == before


@pytest.mark.row("S-03")
@pytest.mark.row("CL-207")
def test_s03_nothing_but_stdio_is_open_in_the_container(container: Box) -> None:
    leaked = os.open("/", os.O_PATH)
    os.set_inheritable(leaked, True)
    try:
        first = container.start("sleep", "60")
        # 3 is the directory that ls reads.
        assert container.exec(first, "ls", "/proc/self/fd").out.split() == ["0", "1", "2", "3"]
        assert container.exec(first, "ls", "/proc/1/fd").out.split() == ["0", "1", "2"]
    finally:
        os.close(leaked)


@pytest.mark.row("S-03")
def test_s03_preserved_descriptors_are_exactly_those_asked_for(container: Box) -> None:
    duplicates = [os.dup(0) for _ in range(3)]
    try:
        if duplicates[0] > 3:
            os.dup2(0, 3, inheritable=True)
        container.preserve_fds = 1
        assert container.run("ls", "/proc/self/fd").out.split() == ["0", "1", "2", "3", "4"]
    finally:
        for fd in duplicates:
            os.close(fd)


@pytest.mark.row("S-03")
@pytest.mark.row("S-04")
def test_s03_no_working_directory_leads_to_a_descriptor_of_ours(container: Box) -> None:
    leaked = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(20)]
    for fd in leaked:
        os.set_inheritable(fd, True)
    try:
        first = container.start("sleep", "60")
        for number in range(40):
            path = f"/proc/self/fd/{number}"
            with pytest.raises(RuntimeStepError):
                container.exec(first, process=Process(args=["pwd"], cwd=path))
            container.process.cwd = path
            with pytest.raises(RuntimeStepError):
                container.start("pwd")
    finally:
        for fd in leaked:
            os.close(fd)


@pytest.mark.row("S-04")
def test_s04_a_working_directory_outside_of_the_root_is_refused(
    container: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check itself: a directory of the host's is made the current one, as a leaked descriptor would."""
    outside = os.open("/", os.O_PATH)
    real = os.chdir

    def leak(path: str) -> None:
        if path == "/leak":
            os.fchdir(outside)
        else:
            real(path)

    from onggi.runtime import become

    monkeypatch.setattr(become.os, "chdir", leak)
    monkeypatch.setattr(process, "close_others", lambda _: None)
    container.process.cwd = "/leak"
    with pytest.raises(RuntimeStepError, match="outside of container mount namespace root"):
        container.start("pwd")
    os.close(outside)


@pytest.mark.row("S-04")
def test_s04_a_link_as_working_directory_stays_inside(container: Box) -> None:
    first = container.sh("ln -s /../../../../etc /work/link; ln -s /missing /work/dangling")
    assert first.code == 0
    container.process.cwd = "/work/link"
    assert container.run("readlink", "/proc/self/cwd").out == "/etc\n"


@pytest.mark.row("S-05")
def test_s05_a_mount_target_swapped_for_a_link_never_reaches_the_host(busybox_rootfs: Path, tmp_path: Path) -> None:
    """CVE-2021-30465: another container of the same volume exchanges the directory that we mount on for a link."""
    canary = tmp_path / "canary"
    (canary / "deep").mkdir(parents=True)
    volume = tmp_path / "volume"
    (volume / "place/deep").mkdir(parents=True)
    (volume / "link").symlink_to(canary)
    source = tmp_path / "source"
    source.mkdir()
    (source / "mine").touch()
    directory = os.open(volume, os.O_RDONLY | os.O_DIRECTORY)
    ends = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not ends.is_set():
            renameat2(directory, "place", directory, "link", RenameFlag.EXCHANGE)
            swaps += 1
            time.sleep(0)

    before = [m.target for m in mounts.mountinfo()]
    # A process of its own: a start needs to be the only thread of its process.
    script = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from onggi.errors import RuntimeStepError
from tests.kernel.spawning import box
starts = 0
end = time.monotonic() + 1.2
with box(Path({str(busybox_rootfs)!r}), Path({str(tmp_path / "box")!r})) as container:
    container.mount({str(volume)!r}, "/volume")
    container.mount({str(source)!r}, "/volume/place/deep/made/up")
    while time.monotonic() < end:
        try:
            container.wait(container.start("true"))
        except RuntimeStepError:
            pass
        starts += 1
print(starts)
"""
    thread = threading.Thread(target=swap, name="swaps the mount's target")
    thread.start()
    try:
        done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    finally:
        ends.set()
        thread.join()
        os.close(directory)
    assert int(done.stdout) > 10
    assert swaps > 1000
    assert sorted(str(path.relative_to(canary)) for path in canary.rglob("*")) == ["deep"]
    assert [m.target for m in mounts.mountinfo()] == before


@pytest.mark.row("S-05")
@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_s05_a_kernel_file_system_is_not_mounted_through_a_link(tmp_path: Path, name: str) -> None:
    """CVE-2023-27561, CVE-2026-41579."""
    image = make_rootfs(tmp_path / "rootfs")
    (image / "elsewhere").mkdir()
    (image / name).symlink_to("elsewhere")
    with box(image, tmp_path / "box") as made, pytest.raises(RuntimeStepError, match="ordinary directory"):
        made.start("true")


@pytest.mark.row("S-05")
def test_s05_links_of_the_image_resolve_inside_it(tmp_path: Path) -> None:
    image = make_rootfs(tmp_path / "rootfs")
    (image / "run").mkdir()
    (image / "out").symlink_to("/run")
    (image / "far").symlink_to("../" * 20 + "run")
    source = tmp_path / "source"
    source.mkdir()
    (source / "mine").touch()
    with box(image, tmp_path / "box") as made:
        made.mount(source, "/out/a")
        made.mount(source, "/far/b")
        assert made.sh("ls /run/a /run/b").out == "/run/a:\nmine\n\n/run/b:\nmine\n"


@pytest.mark.row("S-06")
def test_s06_a_mask_is_made_of_the_real_null_device(container: Box, tmp_path: Path) -> None:
    """CVE-2025-31133: the image's /dev/null leads to a file that must not be shown, or written to."""
    volume = tmp_path / "dev"
    volume.mkdir()
    (volume / "null").symlink_to("/proc/sys/kernel/core_pattern")
    for mount in list(container.spec.mounts):
        if mount.destination.startswith("/dev"):
            container.spec.mounts.remove(mount)
    container.mount(volume, "/dev")
    out = container.sh(
        "stat -c '%n %t:%T' /proc/keys /proc/timer_list; wc -c < /proc/keys; ls /proc/acpi /sys/firmware"
    ).out
    assert "/proc/keys 1:3\n/proc/timer_list 1:3\n0\n" in out
    assert out.endswith(("/proc/acpi:\n\n/sys/firmware:\n", "/sys/firmware:\n"))


@pytest.mark.row("S-06")
def test_s06_a_host_without_a_null_device_of_its_own_is_noticed(
    container: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "makedev", lambda major, minor: (major << 8 | minor) + 1)
    container.spec.linux.devices = []
    with pytest.raises(RuntimeStepError, match="not the null device"):
        container.start("true")


@pytest.mark.row("S-06")
def test_s06_read_only_paths_are_read_only(container: Box) -> None:
    out = container.sh("echo x 2>&1 > /proc/sys/kernel/core_pattern; grep -c ' /proc/sys .*ro' /proc/mounts").out
    assert "Read-only file system" in out
    assert out.endswith("1\n")


@pytest.mark.row("S-07")
def test_s07_the_console_is_our_terminal_whatever_the_image_has(tmp_path: Path) -> None:
    """CVE-2025-52565. The image brings a console, a ptmx and a pts/0 of its own, in a volume at /dev."""
    image = make_rootfs(tmp_path / "rootfs")
    volume = tmp_path / "dev"
    (volume / "pts").mkdir(parents=True)
    (volume / "pts/0").write_text("fake")
    (volume / "ptmx").write_text("fake")
    with box(image, tmp_path / "box") as made:
        made.spec.mounts = [m for m in made.spec.mounts if m.destination != "/dev"]
        made.spec.mounts.insert(1, Mount("/dev", "bind", str(volume), ["rbind"]))
        assert made.sh("stat -c %t:%T /dev/console; tty", tty=True).out == "88:0\r\n/dev/pts/0\r\n"


@pytest.mark.row("S-07")
@pytest.mark.parametrize("name", ["console", "pts"])
def test_s07_a_link_in_their_place_is_refused(tmp_path: Path, name: str) -> None:
    image = make_rootfs(tmp_path / "rootfs")
    volume = tmp_path / "dev"
    volume.mkdir()
    (volume / "pts").mkdir()
    if name == "pts":
        (volume / "pts").rmdir()
    (volume / name).symlink_to("/proc/sys")
    with box(image, tmp_path / "box") as made:
        made.spec.mounts = [m for m in made.spec.mounts if m.destination != "/dev"]
        made.spec.mounts.insert(1, Mount("/dev", "bind", str(volume), ["rbind"]))
        with pytest.raises(RuntimeStepError, match=r"link|ordinary directory"):
            made.run("true", tty=True)


@pytest.mark.row("S-08")
@pytest.mark.row("CL-207")
def test_s08_a_setting_is_written_to_the_kernel_not_to_what_is_mounted_there(container: Box, tmp_path: Path) -> None:
    """CVE-2025-52881. Nothing may be mounted there by a spec; put there by us, it must not catch the write."""
    fake = tmp_path / "fake"
    (fake / "net/ipv4").mkdir(parents=True)
    (fake / "net/ipv4/ip_forward").write_text("fake")
    assert container.spec.linux is not None
    container.spec.linux.sysctl = {"net.ipv4.ip_forward": "1"}
    allowed = rootfs.PROC_ALLOWED
    rootfs.PROC_ALLOWED = frozenset({*allowed, "/proc/sys"})
    try:
        container.mount(fake, "/proc/sys")
        with pytest.raises(RuntimeStepError, match=r"(?i)cross-device"):
            container.start("true")
    finally:
        rootfs.PROC_ALLOWED = allowed
    assert (fake / "net/ipv4/ip_forward").read_text() == "fake"


RUNC_ALLOWED = (
    "cpuinfo diskstats meminfo stat swaps uptime loadavg slabinfo sys/kernel/ns_last_pid sys/crypto/fips_enabled"
).split()
"""validProcMounts of runc's checkProcMount (libcontainer/rootfs_linux.go)."""


@pytest.mark.row("S-09")
def test_s09_the_files_of_proc_that_may_be_covered_are_runcs() -> None:
    assert {f"/proc/{name}" for name in RUNC_ALLOWED} == rootfs.PROC_ALLOWED


@pytest.mark.row("S-09")
@pytest.mark.parametrize(
    "place", ["/proc/self/attr", "/proc/sys", "/proc/../proc/1", "/proc", "//proc//self", "/proc/cpuinfo/../sys"]
)
def test_s09_a_mount_into_proc_is_refused(container: Box, tmp_path: Path, place: str) -> None:
    container.mount(tmp_path, place)
    with pytest.raises(RuntimeStepError, match="cannot be mounted because it is"):
        container.start("true")


@pytest.mark.row("S-09")
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_s09_a_link_into_proc_does_not_help(tmp_path: Path, kind: str) -> None:
    image = make_rootfs(tmp_path / "rootfs")
    (image / "innocent").symlink_to("/proc/sys")
    with box(image, tmp_path / "box") as made:
        made.mount(
            tmp_path if kind == "bind" else "tmpfs", "/innocent", *(["mode=755"] if kind == "tmpfs" else []), type=kind
        )
        with pytest.raises(RuntimeStepError, match="cannot be mounted because it is inside /proc"):
            made.start("true")


@pytest.mark.row("S-09")
def test_s09_an_allowed_file_may_be_covered(container: Box, tmp_path: Path) -> None:
    (tmp_path / "uptime").write_text("covered")
    container.mount(tmp_path / "uptime", "/proc/uptime")
    assert container.run("cat", "/proc/uptime").out == "covered"


@pytest.mark.row("S-10")
def test_s10_no_mount_of_the_host_is_left_and_none_comes_or_goes(container: Box) -> None:
    from onggi.runtime.defaults import default_capabilities

    container.process.capabilities = default_capabilities(("CAP_SYS_ADMIN",))
    before = [m.target for m in mounts.mountinfo()]
    first = container.start("sh", "-c", "mount -t tmpfs inside /tmp; sleep 60")
    for _ in range(100):
        inside = mounts.mountinfo(first.pid)
        if any(m.source == "inside" for m in inside):
            break
        time.sleep(0.01)
    assert inside[0].target == "/"
    assert inside[0].fstype == "overlay"
    wanted = {mount.destination for mount in container.spec.mounts} | {"/", "/tmp"}
    hidden = {*container.spec.linux.masked_paths, *container.spec.linux.readonly_paths}
    others = {m.target for m in inside} - wanted - hidden
    assert {os.path.dirname(target) for target in others} <= {"/sys/fs/cgroup"}
    assert all(not m.optional for m in inside)
    assert [m.target for m in mounts.mountinfo()] == before


@pytest.mark.row("S-10")
def test_s10_the_old_root_is_gone(container: Box) -> None:
    out = container.python(
        "import os\n"
        "fd = os.open('/', os.O_RDONLY)\n"
        "for _ in range(30): os.chdir('..')\n"
        "print(sorted(os.listdir('.')) == sorted(os.listdir('/')), os.stat('.').st_ino == os.stat('/').st_ino)"
    ).out
    assert out == "True True\n"


ALLOWED_INSIDE = frozenset(
    "umask getcwd chdir prctl capset capget setgroups setresgid setresuid close_range execve seccomp prlimit64 keyctl "
    "newfstatat stat dup3 dup2 fcntl write sendmsg close munmap mmap brk mremap madvise getpid gettid rt_sigprocmask "
    "rt_sigaction futex fchown".split()
)


@pytest.mark.row("S-11")
@pytest.mark.row("S-20")
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("how", ["run", "exec"])
def test_s20_nothing_is_opened_or_imported_once_inside(busybox_rootfs: Path, tmp_path: Path, how: str) -> None:
    """Between the pivot (or setns) and exec: calls of a short list, and opens only below descriptors that we hold."""
    trace = tmp_path / "trace"
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from onggi.runtime import defaults
from tests.kernel.spawning import box
with box(Path({str(busybox_rootfs)!r}), Path({str(tmp_path / "box")!r})) as container:
    container.process.no_new_privileges = True
    first = container.start("sleep", "60")
    if {how == "exec"}:
        container.exec(first, "true", user="bob")
"""
    subprocess.run(
        ["strace", "-f", "-o", str(trace), sys.executable, "-c", script], check=True, timeout=60, capture_output=True
    )
    lines = trace.read_text().splitlines()
    marker = (
        r"umount2\(\".\", MNT_DETACH\) += 0" if how == "run" else r"setns\(\d+, (?!CLONE_NEWPID\))[A-Z_|]*CLONE_NEWNS"
    )
    [(at, pid)] = [(n, line.split()[0]) for n, line in enumerate(lines) if re.search(marker, line)]
    inside = [line.split(maxsplit=1)[1] for line in lines[at + 1 :] if line.split()[0] == pid]
    end = next(n for n, line in enumerate(inside) if line.startswith("execve("))
    assert end > 5
    for line in inside[:end]:
        name = line.partition("(")[0]
        if name == "openat2":
            assert "RESOLVE_IN_ROOT" in line
        elif name in ("open", "openat"):
            # exec opens the root itself, to find everything else below it.
            assert how == "exec"
            assert '(AT_FDCWD, "/", O_RDONLY|O_CLOEXEC|O_PATH|O_DIRECTORY' in line or '"/", O_' in line
        elif name in ("fstat", "newfstatat", "read", "setns") or line.startswith("<... "):
            continue
        elif name == "ioctl":
            assert re.match(r"ioctl\(\d, FION?CLEX\)", line)
        else:
            assert name in ALLOWED_INSIDE, line


@pytest.mark.row("S-20")
def test_s20_a_bug_in_the_child_is_a_step_and_prints_nothing(
    container: Box, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from onggi.runtime import become

    def broken(*_: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(become, "drop_rights", broken)
    with pytest.raises(RuntimeStepError, match="ZeroDivisionError"):
        container.start("true")
    assert capfd.readouterr() == ("", "")
    assert ctypes.sizeof(ctypes.c_void_p) == 8


@pytest.mark.row("S-22")
def test_s22_a_child_leaves_without_finalizers_and_exit_handlers_of_its_parent(container: Box, tmp_path: Path) -> None:
    class Owner:
        def __del__(self) -> None:
            (tmp_path / "finalized").touch()

    owner = Owner()
    touch = (tmp_path / "at exit").touch
    atexit.register(touch)
    try:
        with pytest.raises(RuntimeStepError):
            container.start("missing")
        assert container.run("true").code == 0
        assert not list(tmp_path.glob("*ed")) + list(tmp_path.glob("at*"))
    finally:
        atexit.unregister(touch)
    del owner
    assert (tmp_path / "finalized").exists()


@pytest.mark.row("S-11")
def test_s11_an_import_fails_in_a_process_that_becomes_a_container() -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        become.leave_parent([writer], supervised=False)
        try:
            import colorsys  # noqa: F401 - of the standard library, and nobody's here
        except (ImportError, ImportWarning):
            os.write(writer, b"refused")
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        assert said.read() == b"refused"
    os.waitpid(pid, 0)
