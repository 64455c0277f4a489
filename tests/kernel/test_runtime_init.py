"""What a container finds, and how its start fails, straight from init.spawn."""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
from pathlib import Path

import pytest

from onggi.errors import RuntimeStepError
from onggi.kernel import mounts
from onggi.kernel.clone import CloneFlag
from onggi.oci.runtime import Device, IOPriority, Mount, Namespace, Process, Rlimit, Root, Scheduler
from onggi.runtime import defaults
from onggi.runtime.parent import Parent
from onggi.runtime.steps import ChildLink, StepFailed
from tests.kernel.spawning import Box

pytestmark = pytest.mark.root


def test_a_program_runs_as_process_1_and_its_code_comes_back(container: Box) -> None:
    result = container.sh("echo $$; exit 7")
    assert (result.code, result.out) == (7, "1\n")


def test_nothing_is_mounted_on_the_host_while_a_container_runs(container: Box) -> None:
    before = [m.target for m in mounts.mountinfo()]
    container.start("sleep", "60")
    assert [m.target for m in mounts.mountinfo()] == before


def test_writes_go_to_the_upper_directory_alone(container: Box) -> None:
    container.sh("echo hello > /etc/new; rm /bin/true")
    assert (container.upper / "etc/new").read_text() == "hello\n"
    assert not (container.rootfs / "etc/new").exists()
    assert (container.rootfs / "bin/true").exists()


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (("missing",), 127, 'exec: "missing": executable file not found in $PATH'),
        (("/no/such",), 127, 'exec: "/no/such": stat /no/such: no such file or directory'),
        (("/etc/passwd",), 126, 'exec: "/etc/passwd": permission denied'),
        (("/etc",), 126, 'exec: "/etc": is a directory: permission denied'),
    ],
)
def test_a_program_that_cannot_run_is_told_in_dockers_words(
    container: Box, args: tuple[str, ...], code: int, text: str
) -> None:
    with pytest.raises(RuntimeStepError) as refused:
        container.start(*args)
    assert str(refused.value) == text
    assert refused.value.exit_code == code
    assert container.cgroup.pids() == []


def test_a_childs_words_are_told_though_it_gave_something_out_before_and_the_parents_part_fails_too() -> None:
    def child(link: ChildLink) -> None:
        link.hand_out([0])
        raise StepFailed(errno.ENOENT, "mount /x: no such file or directory", 127)

    def prepare(pid: int) -> None:
        pidfd = os.pidfd_open(pid)
        select.select([pidfd], [], [])  # the child has ended: its namespaces are gone, too
        os.close(pidfd)
        raise OSError(errno.ESRCH, "add veth: No such process")

    with pytest.raises(RuntimeStepError, match="^mount /x: no such file") as refused:
        Parent(["root"], supervised=False).run(child, prepare, CloneFlag.NONE, None, None)
    assert refused.value.exit_code == 127


def test_a_program_of_another_format_is_told_before_the_start_counts(container: Box, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"not a program")
    program.chmod(0o755)
    container.mount(program, "/program")
    with pytest.raises(RuntimeStepError, match="exec /program: exec format error") as refused:
        container.start("/program")
    assert refused.value.exit_code == 126


def test_a_mount_of_a_directory_on_a_file_is_told_as_docker_does(container: Box, tmp_path: Path) -> None:
    container.mount(tmp_path, "/etc/passwd")
    with pytest.raises(
        RuntimeStepError, match=r"Are you trying to mount a directory onto a file \(or vice-versa\)\?"
    ) as refused:
        container.start("true")
    assert refused.value.exit_code == 127


def test_a_mount_whose_source_is_missing_names_it(container: Box, tmp_path: Path) -> None:
    container.mount(tmp_path / "missing", "/mnt")
    with pytest.raises(
        RuntimeStepError, match=f'error mounting "{tmp_path}/missing" to rootfs at "/mnt": .*no such file'
    ):
        container.start("true")


@pytest.mark.row("CL-198")
def test_dev_has_the_default_nodes_and_links(container: Box) -> None:
    result = container.sh(
        "cd /dev; ls -1; stat -c '%n %t:%T %a' null zero full random urandom tty; for x in fd ptmx stdin; do readlink $x; done"
    )
    assert set(result.out.split("null 1:3")[0].split()) >= {"fd", "full", "mqueue", "ptmx", "pts", "shm", "stdout"}
    for line in ("null 1:3 666", "zero 1:5 666", "full 1:7 666", "random 1:8 666", "urandom 1:9 666", "tty 5:0 666"):
        assert line in result.out
    assert result.out.endswith("/proc/self/fd\npts/ptmx\n/proc/self/fd/0\n")


@pytest.mark.row("CL-198")
def test_devices_of_the_spec_are_made_with_their_mode_and_owner(container: Box) -> None:
    assert container.spec.linux is not None
    container.spec.linux.devices = [Device("/dev/made/fuse", "c", 10, 229, 0o600, 5, 6)]
    assert container.sh("stat -c '%t:%T %a %u %g' /dev/made/fuse").out == "a:e5 600 5 6\n"


@pytest.mark.row("CL-190")
def test_the_host_name_is_set(container: Box) -> None:
    container.spec.hostname, container.spec.domainname = "box", "example.org"
    assert container.sh("hostname; cat /proc/sys/kernel/domainname").out == "box\nexample.org\n"


@pytest.mark.row("CL-191")
def test_a_read_only_root_leaves_its_mounts_writable(container: Box, tmp_path: Path) -> None:
    container.spec.root = Root(path="", readonly=True)
    container.mount(tmp_path, "/data")
    container.mount("tmpfs", "/scratch", "size=1m", type="tmpfs")
    result = container.sh("touch /x 2>&1; touch /data/y /scratch/z /dev/shm/s && echo fine")
    assert "Read-only file system" in result.out
    assert result.out.endswith("fine\n")
    assert (tmp_path / "y").exists()


def test_a_read_only_bind_is_read_only_with_what_is_mounted_below(container: Box, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    container.mount(source, "/data", "rbind", "rro")
    container.mount(source, "/plain", "bind", "ro")
    result = container.sh(
        "touch /data/x 2>&1; touch /data/below/x 2>&1; touch /plain/x 2>&1; grep -c ' /data .*ro' /proc/mounts"
    )
    assert result.out.count("Read-only file system") == 3


def test_a_missing_mountpoint_and_working_directory_are_made(container: Box, tmp_path: Path) -> None:
    container.process.cwd = "/made/for/me"
    container.mount(tmp_path, "/mnt/deep/dir")
    (tmp_path / "file").write_text("x")
    container.mount(tmp_path / "file", "/mnt2/file")
    assert container.sh("pwd; ls /mnt/deep/dir; cat /mnt2/file").out == "/made/for/me\ncontainer\nfile\nx"


def test_tmpcopyup_shows_what_the_image_has_there(container: Box) -> None:
    container.mount("tmpfs", "/etc", "tmpcopyup", type="tmpfs")
    assert container.sh("grep -c root /etc/passwd; touch /etc/x; df /etc | grep -c tmpfs").out == "1\n1\n"
    assert not (container.upper / "etc/x").exists()


@pytest.mark.row("CL-192")
def test_limits_umask_and_oom_score_are_as_in_the_spec(container: Box) -> None:
    container.process.rlimits = [Rlimit("RLIMIT_NOFILE", 2000, 1000), Rlimit("RLIMIT_CORE", 0, 0)]
    container.process.user.umask = 0o077
    container.process.oom_score_adj = 321
    assert (
        container.sh("ulimit -n; ulimit -Hn; ulimit -c; umask; cat /proc/self/oom_score_adj").out
        == "1000\n2000\n0\n0077\n321\n"
    )


def test_scheduling_is_as_in_the_spec(container: Box) -> None:
    container.process.scheduler = Scheduler("SCHED_BATCH", nice=5)
    container.process.io_priority = IOPriority("IOPRIO_CLASS_IDLE", 0)
    assert container.sh("cut -d' ' -f19,41 /proc/self/stat").out == "5 3\n"


@pytest.mark.parametrize("field", ["apparmor_profile", "selinux_label"])
def test_a_confinement_that_cannot_be_given_refuses_the_start(container: Box, field: str) -> None:
    setattr(container.process, field, "strict")
    with pytest.raises(RuntimeStepError, match="not supported"):
        container.start("true")


def test_signals_are_as_a_program_expects_them(container: Box) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        result = container.sh("grep -E 'SigBlk|SigIgn|SigCgt' /proc/self/status | tr -d ' \\t'")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert result.out == "SigBlk:0000000000000000\nSigIgn:0000000000000000\nSigCgt:0000000000000000\n"


@pytest.mark.row("CL-192")
def test_a_terminal_has_its_size_and_is_the_console(container: Box) -> None:
    from onggi.oci.runtime import Box as Size

    container.process.console_size = Size(height=33, width=77)
    result = container.sh("tty; stty size; stat -c %t:%T /dev/console; echo typed > /dev/console", tty=True)
    assert result.out == "/dev/pts/0\r\n33 77\r\n88:0\r\ntyped\r\n"


@pytest.mark.row("CL-196")
def test_a_namespace_is_joined_by_its_path(container: Box) -> None:
    first = container.start("sleep", "60")
    assert container.spec.linux is not None
    container.spec.linux.namespaces = [
        Namespace("mount"), Namespace("pid", f"/proc/{first.pid}/ns/pid"), Namespace("network", f"/proc/{first.pid}/ns/net"),
        Namespace("ipc"), Namespace("uts", f"/proc/{first.pid}/ns/uts"),
    ]  # fmt: skip
    container.scratch.joinpath("second").mkdir()
    container.scratch = container.scratch / "second"
    result = container.sh("ps -o args | grep -c '^sleep 60'; readlink /proc/self/ns/net")
    assert result.out == f"1\n{os.readlink(f'/proc/{first.pid}/ns/net')}\n"


def test_a_time_namespace_is_new_when_asked_for(container: Box) -> None:
    assert container.spec.linux is not None
    container.spec.linux.namespaces = [*defaults.namespaces(cgroup=False), Namespace("time")]
    assert container.sh("readlink /proc/self/ns/time").out.strip() != os.readlink("/proc/self/ns/time")


def test_a_host_network_container_keeps_the_hosts(container: Box) -> None:
    assert container.spec.linux is not None
    container.spec.linux.namespaces = [n for n in defaults.namespaces(cgroup=False) if n.type != "network"]
    assert container.sh("readlink /proc/self/ns/net").out.strip() == os.readlink("/proc/self/ns/net")


def test_create_waits_at_the_fifo_and_has_checked_the_program(container: Box, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    fifo = os.open(tmp_path / "fifo", os.O_RDWR | os.O_CLOEXEC)
    with pytest.raises(RuntimeStepError, match="executable file not found"):
        container.start("missing", exec_fifo=fifo)
    reader, writer = os.pipe()
    spawned = container.start("sh", "-c", "echo began; ls /proc/self/fd | wc -l", stdout=writer, exec_fifo=fifo)
    os.close(writer)
    os.set_blocking(reader, False)
    with pytest.raises(BlockingIOError):
        os.read(reader, 10)
    os.set_blocking(reader, True)
    os.write(fifo, b"0")
    assert container.wait(spawned) == 0
    assert os.read(reader, 100) == b"began\n4\n"
    os.close(reader)
    os.close(fifo)


def test_an_init_of_ours_reaps_orphans_and_ends_as_the_program_does(container: Box) -> None:
    container.init = True
    result = container.sh("echo $$; (sleep 0.05 & ) ; sleep 0.15; ps -o stat,args | grep -c '^Z'; exit 5")
    assert (result.code, result.out) == (5, "2\n0\n")


def test_an_init_of_ours_shows_no_word_of_the_host(container: Box) -> None:
    container.init = True
    out = container.sh(
        "cat /proc/1/cmdline | tr '\\0' '.'; cat /proc/1/comm; ls /proc/1/fd; cat /proc/1/environ 2>&1 | wc -c"
    ).out
    assert out.replace(".", "").startswith("onggi-initonggi-init\n0\n1\n2\n")
    assert "python" not in out


def test_an_init_of_ours_passes_signals_on(container: Box) -> None:
    container.init = True
    reader, writer = os.pipe()
    spawned = container.start(
        "sh", "-c", "trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.05; done", stdout=writer
    )
    os.close(writer)
    assert os.read(reader, 100) == b"ready\n"
    os.kill(spawned.pid, signal.SIGTERM)
    assert container.wait(spawned) == 3
    assert os.read(reader, 100) == b"got\n"
    os.close(reader)


def test_exec_runs_beside_the_first_process_in_the_same_cgroup(container: Box) -> None:
    first = container.start("sleep", "60")
    result = container.exec(first, "sh", "-c", "ps -o args | grep -c '^sleep 60'; cat /proc/self/cgroup")
    assert result.code == 0
    assert "onggi-box" in result.out


def test_exec_fails_in_dockers_words_and_leaves_nothing(container: Box) -> None:
    first = container.start("sleep", "60")
    with pytest.raises(RuntimeStepError, match=r'exec: "missing": executable file not found in \$PATH') as refused:
        container.exec(first, "missing")
    assert refused.value.exit_code == 127
    with pytest.raises(
        RuntimeStepError, match=r'chdir to cwd \("/nowhere"\) set in config.json failed: no such file or directory'
    ):
        container.exec(first, process=Process(args=["true"], cwd="/nowhere"))
    assert container.cgroup.pids() == [first.pid]


def test_exec_gets_a_terminal_of_its_own(container: Box) -> None:
    first = container.start("sleep", "60")
    assert container.exec(first, "tty", tty=True).out == "/dev/pts/0\r\n"


def test_propagation_of_a_mount_is_as_asked(container: Box, tmp_path: Path) -> None:
    container.mount(tmp_path, "/data", "rbind", "rslave")
    container.mount(tmp_path, "/own", "rbind")
    result = container.sh("grep -E ' /(data|own) ' /proc/self/mountinfo | grep -c 'shared:'")
    assert result.out == "0\n"


def test_several_starts_leave_no_descriptor_behind(container: Box) -> None:
    container.run("true")
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        assert container.run("true").code == 0
        container.running[-1].pidfd.close()
        with pytest.raises(RuntimeStepError):
            container.start("missing")
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_host_mount_option_error_is_a_step_and_leaves_nothing(container: Box) -> None:
    container.spec.mounts.append(Mount("/x", "tmpfs", "tmpfs", ["nonsense=1"]))
    with pytest.raises(RuntimeStepError, match='error mounting "tmpfs" to rootfs at "/x"'):
        container.start("true")
    assert container.cgroup.pids() == []
