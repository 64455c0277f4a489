"""`linux.seccomp` of a bundle: actions, comparisons, flags and the agent that answers calls, seen by a program inside."""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onggi.errors import InvalidArgument, RuntimeStepError
from onggi.oci.runtime import Process, Seccomp, State
from onggi.runtime import filters, init
from onggi.runtime.init import ExecPlan
from onggi.runtime.plan import InitPlan
from tests.kernel.spawning import Box, read_all

pytestmark = pytest.mark.root


def seccomp(*rules: dict[str, Any], default: str = "SCMP_ACT_ALLOW", **more: Any) -> Seccomp:
    return msgspec.convert({"defaultAction": default, "syscalls": list(rules), **more}, Seccomp)


def confine(made: Box, given: Seccomp) -> None:
    made.seccomp = filters.from_spec(given).program


GETPRIORITY = (
    "import ctypes; l = ctypes.CDLL(None, use_errno=True); print(min(l.syscall(140, {}, 0), 0), ctypes.get_errno())"
)
"""getpriority(2): its first argument is compared; without a filter it answers 1 to 40 (here 0), or EINVAL for an odd one."""


@pytest.mark.row("CL-203")
@pytest.mark.parametrize(
    ("op", "value", "two", "refused", "let"),
    [
        ("NE", 1, 0, 0, 1),
        ("LT", 1, 0, 0, 1),
        ("LE", 1, 0, 1, 2),
        ("EQ", 1, 0, 1, 0),
        ("GE", 1, 0, 1, 0),
        ("GT", 1, 0, 2, 1),
        ("MASKED_EQ", 6, 2, 2, 1),
    ],
)
def test_each_comparison_looks_at_the_argument(
    container: Box, op: str, value: int, two: int, refused: int, let: int
) -> None:
    argument = {"index": 0, "value": value, "valueTwo": two, "op": f"SCMP_CMP_{op}"}
    rule = {"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": [argument]}
    confine(container, seccomp(rule))
    assert container.python(GETPRIORITY.format(refused)).out.split() == ["-1", "77"]
    assert container.python(GETPRIORITY.format(let)).out.split()[1] != "77"


@pytest.mark.row("CL-203")
@pytest.mark.parametrize(
    ("action", "signal_number"),
    [("KILL", signal.SIGSYS), ("KILL_THREAD", signal.SIGSYS), ("KILL_PROCESS", signal.SIGSYS), ("TRAP", signal.SIGSYS)],
)
def test_actions_that_kill_do(container: Box, action: str, signal_number: signal.Signals) -> None:
    confine(container, seccomp({"names": ["getpriority"], "action": f"SCMP_ACT_{action}"}))
    assert container.python(GETPRIORITY.format(0)).code == -signal_number


@pytest.mark.row("CL-203")
@pytest.mark.parametrize(
    ("action", "answer"), [("LOG", ["0", "0"]), ("ALLOW", ["0", "0"]), ("TRACE", ["-1", str(errno.ENOSYS)])]
)
def test_other_actions_answer(container: Box, action: str, answer: list[str]) -> None:
    confine(container, seccomp({"names": ["getpriority"], "action": f"SCMP_ACT_{action}"}, default="SCMP_ACT_LOG"))
    assert container.python(GETPRIORITY.format(0)).out.split() == answer


@pytest.mark.row("CL-203")
def test_the_default_errno_is_the_specs(container: Box) -> None:
    given = seccomp({"names": ["getpriority"], "action": "SCMP_ACT_ERRNO"}, defaultErrnoRet=61)
    confine(container, given)
    assert container.python(GETPRIORITY.format(0)).out.split() == ["-1", str(errno.EPERM)]


WRONG: list[tuple[Seccomp, str]] = [
    (seccomp(default="SCMP_ACT_X"), "unknown action 'SCMP_ACT_X'"),
    (seccomp({"names": ["a"], "action": "X"}), "unknown action 'X'"),
    (seccomp(architectures=["SCMP_ARCH_VAX"]), "unknown architecture 'vax'"),
    (seccomp(flags=["SECCOMP_FILTER_FLAG_X"]), "seccomp flag 'SECCOMP_FILTER_FLAG_X' is unknown"),
    (seccomp(flags=["SECCOMP_FILTER_FLAG_NEW_LISTENER"]), "is the runtime's own"),
    (seccomp(default="SCMP_ACT_NOTIFY"), "SCMP_ACT_NOTIFY cannot be used as default action"),
    (seccomp({"names": ["write"], "action": "SCMP_ACT_NOTIFY"}), "cannot be used for the write syscall"),
    (seccomp({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}), "SCMP_ACT_NOTIFY needs a listenerPath"),
    (
        seccomp({"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_X"}]}),
        "unknown comparison 'SCMP_CMP_X'",
    ),
    (
        seccomp({"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}),
        "a system call has no argument 6",
    ),
]


@pytest.mark.row("CL-203")
@pytest.mark.parametrize(("given", "words"), WRONG)
def test_what_makes_no_sense_is_refused(given: Seccomp, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        filters.from_spec(given)


@pytest.mark.row("CL-203")
def test_every_architecture_and_flag_of_the_spec_is_taken(container: Box) -> None:
    names = "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPSEL64N32 PPC64LE S390X PARISC64 RISCV64 LOONGARCH64 M68K SHEB"
    flags = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"]
    given = seccomp(
        {"names": ["getpriority", "no_such_call"], "action": "SCMP_ACT_ERRNO"},
        architectures=[f"SCMP_ARCH_{name}" for name in names.split()],
        flags=[f"SECCOMP_FILTER_FLAG_{name}" for name in flags],
    )
    made = filters.from_spec(given)
    container.seccomp, container.seccomp_flags = made.program, made.flags
    assert container.python(GETPRIORITY.format(0)).out.split() == ["-1", str(errno.EPERM)]


@pytest.mark.row("CL-203", "S-33")
@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_profile_needs_to_allow_nothing_of_ours_but_exec(container: Box, *, no_new_privileges: bool) -> None:
    """No capset, no chdir, no close_range, no getcwd: what an ordinary static program needs and execve."""
    needed = "execve brk arch_prctl set_tid_address set_robust_list rseq prlimit64 readlink getrandom mprotect ioctl write exit_group"
    more = "getuid prctl uname fstat newfstatat mmap munmap"
    container.process.no_new_privileges = no_new_privileges
    rule = {"names": [*needed.split(), *more.split()], "action": "SCMP_ACT_ALLOW"}
    confine(container, seccomp(rule, default="SCMP_ACT_ERRNO"))
    ended = container.run("echo", "through")
    assert (ended.code, ended.out) == (0, "through\n")


class Agent:
    """Listens for one container process state, and answers its calls with an errno of its own."""

    IOCTL_RECV, IOCTL_SEND = 0xC0502100, 0xC0182101
    """SECCOMP_IOCTL_NOTIF_RECV and _SEND (include/uapi/linux/seccomp.h)."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen(1)
        self.told: dict[str, Any] = {}
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        connection, _ = self.socket.accept()
        content, rights, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
        fd = array.array("i", rights[0][2])[0]
        while piece := connection.recv(65536):
            content += piece
        self.told = json.loads(content)
        with contextlib.suppress(OSError):
            request = ctypes.create_string_buffer(80)
            fcntl.ioctl(fd, self.IOCTL_RECV, request)
            identifier = struct.unpack_from("=Q", request.raw)[0]
            fcntl.ioctl(fd, self.IOCTL_SEND, struct.pack("=QqiI", identifier, 0, -errno.ENOMEDIUM, 0))
        os.close(fd)
        connection.close()

    def close(self) -> None:
        self.thread.join(5)
        self.socket.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[[], tuple[Agent, Seccomp]]]:
    made: list[Agent] = []

    def make() -> tuple[Agent, Seccomp]:
        path = tmp_path / f"agent{len(made)}"
        made.append(Agent(path))
        rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}
        return made[-1], seccomp(rule, listenerPath=str(path), listenerMetadata="some words")

    yield make
    for one in made:
        one.close()


def _plan(made: Box, given: Seccomp, *args: str) -> InitPlan:
    program, flags, listener = filters.from_spec(given)
    plan = made.plan(*args)
    return msgspec.structs.replace(
        plan, seccomp=program, seccomp_flags=flags, listener=listener, container_id="one", bundle="/bundle"
    )


@pytest.mark.row("CL-203")
@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_an_agent_answers_the_calls_that_it_is_sent(
    container: Box, agent: Callable[[], tuple[Agent, Seccomp]], *, no_new_privileges: bool
) -> None:
    listening, given = agent()
    container.process.no_new_privileges = no_new_privileges
    plan = _plan(container, given, "mkdir", "/tmp/new")
    reader, writer = os.pipe()
    spawned = init.spawn(plan, stdio=(0, writer, writer), tty=False, cgroup=container.cgroup, supervised=False)
    container.running.append(spawned)
    os.close(writer)
    assert "No medium found" in read_all(reader)
    os.close(reader)
    container.wait(spawned)
    listening.thread.join(5)
    assert listening.told["fds"] == ["seccompFd"]
    assert (listening.told["metadata"], listening.told["pid"]) == ("some words", spawned.pid)
    state = {"ociVersion": container.spec.oci_version, "id": "one", "status": "creating", "pid": spawned.pid}
    assert state.items() <= listening.told["state"].items()
    assert listening.told["state"]["bundle"] == "/bundle"


@pytest.mark.row("CL-203")
def test_an_exec_has_an_agent_of_its_own(container: Box, agent: Callable[[], tuple[Agent, Seccomp]]) -> None:
    spawned = container.start("sleep", "60")
    listening, given = agent()
    program, flags, listener = filters.from_spec(given)
    wanted = Process(args=["mkdir", "/tmp/new"], env=list(container.process.env))
    reader, writer = os.pipe()
    plan = ExecPlan(
        pid=spawned.pid, process=wanted, cgroup=container.cgroup, seccomp=program, seccomp_flags=flags,
        listener=listener, state=State("1.3.0", "one", "running", spawned.pid, "/bundle"),
    )  # fmt: skip
    entered = init.exec_in(plan, stdio=(0, writer, writer), supervised=False)
    container.running.append(entered)
    os.close(writer)
    assert "No medium found" in read_all(reader)
    os.close(reader)
    container.wait(entered)
    listening.thread.join(5)
    assert listening.told["pid"] == entered.pid
    assert (listening.told["state"]["pid"], listening.told["state"]["status"]) == (spawned.pid, "running")


@pytest.mark.row("CL-203")
def test_without_an_agent_there_is_no_container(container: Box, tmp_path: Path) -> None:
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
    plan = _plan(container, seccomp(rule, listenerPath=str(tmp_path / "nobody")), "true")
    with pytest.raises(RuntimeStepError, match="seccomp listener .*nobody: no such file or directory"):
        init.spawn(plan, stdio=(0, 1, 2), tty=False, cgroup=container.cgroup, supervised=False)
    assert container.cgroup.pids() == []
