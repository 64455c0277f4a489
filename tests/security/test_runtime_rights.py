"""What a process in a container may do, and what it is given: S-02, S-12 to S-19, S-33, S-35, S-40."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import time
from pathlib import Path

import msgspec
import pytest

from onggi.errors import InvalidArgument, RuntimeStepError
from onggi.kernel import process as kernel_process
from onggi.kernel import syscalls
from onggi.kernel.cgroups import Resources
from onggi.kernel.cgroups.resources import Pids
from onggi.kernel.seccomp import Action, Profile, Rule, compile_profile
from onggi.oci.runtime import Capabilities, Process
from onggi.runtime import defaults, sysctls
from onggi.runtime.seccomp_default import default_filter
from tests.kernel.spawning import Box, box, make_rootfs

pytestmark = pytest.mark.root

CAP_LINES = "grep -E '^Cap' /proc/self/status | tr -d '\\t'"
DEFAULT_MASK = "00000000a80425fb"


def caps(*, effective: str = DEFAULT_MASK, permitted: str = DEFAULT_MASK) -> str:
    none = "0" * 16
    return f"CapInh:{none}\nCapPrm:{permitted}\nCapEff:{effective}\nCapBnd:{DEFAULT_MASK}\nCapAmb:{none}\n"


@pytest.mark.row("S-14")
def test_s14_inheritable_and_ambient_sets_are_empty_for_run_and_exec(container: Box) -> None:
    first = container.start("sleep", "60")
    assert container.exec(first, "sh", "-c", CAP_LINES).out == caps()
    none = "0" * 16
    assert container.exec(first, "sh", "-c", CAP_LINES, user="bob").out == caps(effective=none, permitted=none)


@pytest.mark.row("S-14")
def test_s14_a_first_process_has_the_default_sets(container: Box) -> None:
    assert container.sh(CAP_LINES).out == caps()


@pytest.mark.row("S-14")
def test_s14_a_user_that_is_not_root_has_no_effective_set(container: Box) -> None:
    container.user = "bob"
    none = "0" * 16
    assert container.sh(CAP_LINES).out == caps(effective=none, permitted=none)


@pytest.mark.row("S-14")
def test_s14_ambient_capabilities_are_those_of_the_spec(container: Box) -> None:
    one = ["CAP_NET_BIND_SERVICE"]
    container.process.capabilities = Capabilities(one, one, one, one, one)
    container.user = "bob"
    assert container.sh("grep -E 'CapAmb|CapEff' /proc/self/status | tr -d '\\t'").out == (
        "CapEff:0000000000000400\nCapAmb:0000000000000400\n"
    )


def setuid_id(container: Box, directory: Path) -> str:
    """A copy of the host's `id` that belongs to root and is setuid; where the container has it."""
    container.with_python()
    helper = directory / "helper"
    helper.write_bytes(Path("/usr/bin/id").read_bytes())
    helper.chmod(0o4755)
    container.mount(helper, "/helper", "bind")
    return "/helper"


@pytest.mark.row("S-15")
def test_s15_no_new_privileges_holds_for_run_and_exec(container: Box, tmp_path: Path) -> None:
    helper = setuid_id(container, tmp_path)
    container.process.no_new_privileges = True
    container.user = "bob"
    script = f"grep NoNewPrivs /proc/self/status | tr -d '\\t'; {helper} -u"
    first = container.start("sleep", "60")
    wanted = msgspec.structs.replace(container.process, args=["sh", "-c", script])
    assert container.exec(first, process=wanted, user="bob").out == "NoNewPrivs:1\n1000\n"


@pytest.mark.row("S-15")
def test_s15_without_it_a_setuid_program_works(container: Box, tmp_path: Path) -> None:
    helper = setuid_id(container, tmp_path)
    container.user = "bob"
    assert container.run(helper, "-u").out == "0\n"


@pytest.mark.row("S-13")
@pytest.mark.parametrize("user", ["4294967296", "-1", "2147483648", "1000:4294967296", "1000:-1"])
def test_s13_ids_out_of_range_are_refused(container: Box, user: str) -> None:
    container.user = user
    with pytest.raises(RuntimeStepError, match="uids and gids must be in range 0-2147483647"):
        container.start("id")


@pytest.mark.row("S-13")
@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("nobody-here", "unable to find user nobody-here: no matching entries in passwd file"),
        ("bob:nothing", "unable to find group nothing: no matching entries in group file"),
    ],
)
def test_s13_unknown_names_are_refused(container: Box, user: str, text: str) -> None:
    container.user = user
    with pytest.raises(RuntimeStepError, match=text):
        container.start("id")


@pytest.mark.row("S-13")
@pytest.mark.parametrize(
    ("user", "groups", "ids"),
    [
        ("0", [], "0 0 0 10"),
        ("bob", [], "1000 1000 1000 50"),
        ("1000", [], "1000 1000 1000 50"),
        ("bob:staff", [], "1000 50 50"),
        ("1234", [], "1234 0 0"),
        ("1234:77", [], "1234 77 77"),
        ("bob", ["wheel", "99"], "1000 1000 1000 50 10 99"),
    ],
)
def test_s13_groups_are_exactly_those_of_the_containers_files(
    container: Box, user: str, groups: list[str], ids: str
) -> None:
    container.user, container.groups = user, groups
    lines = container.sh("id -u; id -g; grep Groups /proc/self/status").out.split()
    assert sorted(lines[3:], key=int) == sorted(ids.split()[2:], key=int)
    assert lines[:2] == ids.split()[:2]


@pytest.mark.row("S-12")
@pytest.mark.parametrize("kind", ["fifo", "device", "huge"])
def test_s12_a_hostile_passwd_neither_hangs_nor_fills_memory(tmp_path: Path, kind: str) -> None:
    rootfs = make_rootfs(tmp_path / "rootfs")
    passwd = rootfs / "etc/passwd"
    passwd.unlink()
    if kind == "fifo":
        os.mkfifo(passwd)
    elif kind == "device":
        passwd.symlink_to("/dev/zero")
    else:
        with passwd.open("wb") as file:
            file.truncate(1 << 30)
    with box(rootfs, tmp_path / "box") as made:
        made.user = "1000"
        begin = time.monotonic()
        out = made.run("cat", "/proc/self/status", "/proc/self/environ").out
        assert "\nUid:\t1000\t" in out
        assert "HOME=/\0" in out
        assert time.monotonic() - begin < 1.5


ASK_KEYRING = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall({keyctl}, 0, -3, 0), libc.syscall({keyctl}, 11, {key}, 0, 0), ctypes.get_errno())
"""
"""KEYCTL_GET_KEYRING_ID of the session keyring, KEYCTL_READ of a key."""


@pytest.mark.row("S-16")
def test_s16_each_process_has_a_session_keyring_of_its_own(container: Box) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    add_key = 248 if syscalls.NR.keyctl == 250 else 217
    key = libc.syscall(add_key, b"user", b"onggi-test-canary", b"secret", 6, -3)
    assert key > 0
    script = ASK_KEYRING.format(keyctl=syscalls.NR.keyctl, key=key)
    session = str(libc.syscall(syscalls.NR.keyctl, 0, -3, 0))
    first = container.start(container.with_python(), "-c", "import time; time.sleep(60)")
    for out in (container.exec(first, container.with_python(), "-I", "-c", script).out,):
        inside, read, number = out.split()
        assert inside != session
        assert (read, int(number)) == ("-1", errno.EACCES)
    libc.syscall(syscalls.NR.keyctl, 9, key, -3)


@pytest.mark.row("S-16")
def test_s16_keys_are_masked_by_default(container: Box) -> None:
    assert container.sh("cat /proc/keys | wc -c; stat -c %t:%T /proc/keys").out == "0\n1:3\n"


@pytest.mark.row("S-17")
def test_s17_without_a_terminal_there_is_none_to_type_into(container: Box) -> None:
    result = container.sh("cat < /dev/tty 2>&1")
    assert "can't open /dev/tty" in result.out


@pytest.mark.row("S-17")
def test_s17_a_terminal_belongs_to_a_session_of_the_containers_own(container: Box) -> None:
    first = container.start("sleep", "60")
    shown = container.exec(first, "sh", "-c", "cut -d' ' -f1,6 /proc/self/stat | tr ' ' '\\n'; echo $$", tty=True).out
    # The session is that of the shell, and no session of the host's (which would show as 0).
    assert shown.split()[1] == shown.split()[2]


@pytest.mark.row("S-18")
def test_s18_a_signal_never_reaches_another_process_with_the_number(container: Box) -> None:
    spawned = container.start("true")
    container.wait(spawned)
    with pytest.raises(ProcessLookupError):
        kernel_process.pidfd_send_signal(spawned.pidfd, signal.SIGKILL)


@pytest.mark.row("S-18")
def test_s18_a_fork_bomb_is_killed_within_a_second(busybox_rootfs: Path, tmp_path: Path) -> None:
    with box(busybox_rootfs, tmp_path / "box", Resources(pids=Pids(limit=100))) as made:
        made.start(
            "sh",
            "-c",
            "b() { b | b & }; b 2>/dev/null; while :; do b; done 2>/dev/null",
            stdout=os.open(os.devnull, os.O_WRONLY),
        )
        time.sleep(0.1)
        begin = time.monotonic()
        made.cgroup.kill_all()
        assert time.monotonic() - begin < 1
        assert made.cgroup.pids() == []


@pytest.mark.row("S-19")
def test_s19_no_variable_of_the_engine_is_inside(container: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        monkeypatch.setenv(f"CANARY_{number}", "secret")
        os.putenv(f"CANARY_{number}", "secret")
    container.process.env = [defaults.PATH, "A=with=equals", "B=two\nlines"]
    out = container.run("env").out
    assert "CANARY" not in out
    assert out == f"{defaults.PATH}\nA=with=equals\nB=two\nlines\nHOME=/root\n"


@pytest.mark.row("S-19")
def test_s19_a_nul_in_a_variable_or_argument_is_refused(container: Box) -> None:
    with pytest.raises(RuntimeStepError, match="NUL"):
        container.start("echo", "a\0b")
    container.process.env = ["A=b\0c"]
    with pytest.raises(RuntimeStepError, match="NUL"):
        container.start("env")


def tight(*extra: str) -> bytes:
    """A profile with what busybox's `cat` needs, and `extra`."""
    names = (
        "execve exit exit_group read write open openat close brk mmap munmap mprotect arch_prctl set_tid_address "
        "set_robust_list rseq prlimit64 readlinkat getrandom fstat newfstatat uname getuid geteuid getgid getegid "
        "sendfile rt_sigaction rt_sigprocmask fcntl readlink statx lseek prctl futex ioctl fadvise64 splice copy_file_range"
    ).split()
    return compile_profile(Profile(Action.ERRNO, 1, ("x86_64",), (Rule((*names, *extra), Action.ALLOW),)))


@pytest.mark.row("S-33")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the profile names calls of x86_64")
def test_s33_with_no_new_privileges_the_filter_is_the_last_step(container: Box) -> None:
    """A profile without a single call of those that lower our own rights still starts its program."""
    container.process.no_new_privileges = True
    container.user = "bob"
    container.seccomp = tight()
    out = container.run("cat", "/proc/self/status").out
    assert "Seccomp:\t2\n" in out
    assert "Uid:\t1000\t" in out


@pytest.mark.row("S-33")
def test_s33_without_it_the_filter_is_loaded_too_for_run_and_exec(container: Box) -> None:
    container.seccomp = default_filter(frozenset(defaults.CAPABILITIES))
    first = container.start("sleep", "60")
    script = "grep Seccomp: /proc/self/status; mount -t tmpfs none /tmp 2>&1"
    assert container.exec(first, "sh", "-c", script).out == "Seccomp:\t2\nmount: permission denied (are you root?)\n"


@pytest.mark.row("S-35")
def test_s35_cgroups_are_read_only_and_have_no_release_agent(container: Box) -> None:
    container.seccomp = default_filter(frozenset(defaults.CAPABILITIES))
    script = """
    find_all() { ls -d /sys/fs/cgroup /sys/fs/cgroup/*; }
    for d in $(find_all); do
        mkdir $d/x 2>/dev/null && echo "made $d/x"
        echo 1 2>/dev/null > $d/notify_on_release && echo "wrote $d"
        test -e $d/release_agent && echo "agent in $d"
    done
    unshare -UrmC true 2>/dev/null && echo unshared
    mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo remounted
    echo end"""
    assert container.sh(script).out == "end\n"


@pytest.mark.row("S-40")
@pytest.mark.parametrize(
    ("name", "own", "text"),
    [
        ("kernel.core_pattern", {}, "is not in a separate kernel namespace"),
        ("vm.swappiness", {}, "is not in a separate kernel namespace"),
        ("fs.file-max", {}, "is not in a separate kernel namespace"),
        ("kernel.shmmax", {"own_ipc": False}, "not allowed in host ipc namespace"),
        ("fs.mqueue.msg_max", {"own_ipc": False}, "not allowed in host ipc namespace"),
        ("net.ipv4.ip_forward", {"own_net": False}, "not allowed in host network namespace"),
        ("net/ipv4/ip_forward", {"own_net": False}, "not allowed in host network namespace"),
        ("kernel.domainname", {"own_uts": False}, "not allowed in host uts namespace"),
        ("net/../kernel/core_pattern", {}, "not"),
    ],
)
def test_s40_only_settings_of_own_namespaces_are_accepted(name: str, own: dict[str, bool], text: str) -> None:
    rights = {"own_ipc": True, "own_net": True, "own_uts": True, **own}
    with pytest.raises(InvalidArgument, match=text):
        sysctls.check({name: "1"}, **rights)


@pytest.mark.row("S-40")
def test_s40_accepted_settings_are_set_inside_alone(container: Box) -> None:
    assert container.spec.linux is not None
    before = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    flipped = "0" if before.strip() == "1" else "1"
    container.spec.linux.sysctl = {"net.ipv4.ip_forward": flipped, "kernel.msgmax": "4321", **defaults.SYSCTLS}
    out = container.sh(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ping_group_range"
    ).out
    assert out.split() == [flipped, "4321", "0", "2147483647"]
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == before


@pytest.mark.row("S-40")
def test_s40_a_host_network_refuses_them_at_the_start(container: Box) -> None:
    assert container.spec.linux is not None
    container.spec.linux.namespaces = [n for n in container.spec.linux.namespaces if n.type != "network"]
    container.spec.linux.sysctl = {"net.ipv4.ip_forward": "1"}
    with pytest.raises(RuntimeStepError, match="not allowed in host network namespace"):
        container.start("true")


HOSTILE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print("ready", flush=True)
seen = set()
while True:
    for name in os.listdir("/proc"):
        if not name.isdigit() or name == "1" or name in seen:
            continue
        for what in ("environ", "mem", "maps", "cwd", "root", "exe", *(f"fd/{number}" for number in range(40))):
            path = f"/proc/{name}/{what}"
            try:
                if what in ("cwd", "root", "exe") or what.startswith("fd/"):
                    got = os.readlink(path)
                else:
                    with open(path, "rb") as file:
                        got = file.read(1 << 16) if what != "mem" else "open"
                with open(f"/proc/{name}/comm") as comm:
                    command = comm.read().strip()
            except OSError:
                continue
            # What can be read of the exec's program itself is no secret; its command tells that it is that.
            if command != "true":
                print(name, what, got, command, flush=True)
                seen.add(name)
"""


@pytest.mark.row("S-02")
def test_s02_an_exec_cannot_be_read_or_traced_before_its_program(container: Box) -> None:
    """A hostile first process opens what it can of each new one: before its program that is nothing.

    The kernel asks for mem what it asks for ptrace(PTRACE_ATTACH).
    """
    reader, writer = os.pipe()
    first = container.start(container.with_python(), "-I", "-c", HOSTILE, stdout=writer)
    os.close(writer)
    assert os.read(reader, 6) == b"ready\n"
    end = time.monotonic() + 1.0
    count = 0
    while time.monotonic() < end or count <= 5:
        assert container.exec(first, "true").code == 0
        count += 1
    os.kill(first.pid, signal.SIGKILL)
    with os.fdopen(reader, "rb") as seen:
        assert seen.read() == b""


def test_a_process_without_capabilities_in_the_spec_has_none(container: Box) -> None:
    container.process.capabilities = None
    assert "CapBnd:0000000000000000" in container.sh(CAP_LINES).out
    first = container.start("sleep", "60")
    assert "CapEff:0000000000000000" in container.exec(first, process=Process(args=["sh", "-c", CAP_LINES])).out


@pytest.mark.row("S-14", "S-33")
def test_s33_a_first_process_of_ours_is_confined_as_the_program_is(container: Box) -> None:
    """CAP_SYS_ADMIN is lent until exec for the filter's sake: what stays ours (--init) must have given it back."""
    container.init = True
    container.seccomp = default_filter(frozenset(defaults.CAPABILITIES))
    shown = container.sh(
        "for p in 1 self; do grep -e ^Seccomp: -e ^Cap -e ^NoNew /proc/$p/status; done"
    ).out.splitlines()
    assert shown[: len(shown) // 2] == shown[len(shown) // 2 :]
    assert "Seccomp:\t2" in shown
    assert "CapEff:\t00000000a80425fb" in shown
