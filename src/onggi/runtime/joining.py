"""A process beside the first one of a running container: the child's side of an exec.

It is born in the container's pid namespace, where hostile processes may already wait for it, so it holds nothing of the
host's but what it needs: it is untraceable (CVE-2016-9962), enters the other namespaces at once, and the descriptors
that are open are those listed here: stdio, the link to the parent, the pidfd of the container's init until it has joined.
"""

from __future__ import annotations

import _signal as signal  # lean.py
import errno
import os

from onggi.kernel import capabilities, cgroups, namespaces, process, pty
from onggi.kernel.clone import CloneFlag
from onggi.kernel.fds import Fd
from onggi.kernel.namespaces import NamespaceKind
from onggi.oci.runtime import Linux, Process, State
from onggi.runtime import become, devices, labels, users
from onggi.runtime.attributes import affinity
from onggi.runtime.become import Program
from onggi.runtime.notifying import ListenerPlan
from onggi.runtime.processes import start_time
from onggi.runtime.steps import ChildLink, StepFailed

_JOINED = (
    NamespaceKind.USER,
    NamespaceKind.MOUNT,
    NamespaceKind.NETWORK,
    NamespaceKind.IPC,
    NamespaceKind.UTS,
    NamespaceKind.CGROUP,
)


class ExecPlan:
    """A process to be started in the running container of `pid`: what exec_in needs to know.

    `user`, `groups`, `seccomp`, `preserve_fds` as in InitPlan; `pid_start` 0 doesn't check it; `linux` is what the
    container's spec has for every process of it; `listener` is told of the exec with the container's `state`.
    """

    __slots__ = (
        "cgroup",
        "groups",
        "keyring",
        "linux",
        "listener",
        "pid",
        "pid_start",
        "preserve_fds",
        "process",
        "seccomp",
        "seccomp_flags",
        "state",
        "tty",
        "user",
    )

    def __init__(
        self,
        *,
        pid: int,
        process: Process,
        cgroup: cgroups.Cgroup | None,
        pid_start: int = 0,
        seccomp: bytes = b"",
        tty: bool = False,
        user: str = "",
        groups: list[str] | None = None,
        preserve_fds: int = 0,
        keyring: str = "_ses",
        linux: Linux | None = None,
        seccomp_flags: int = 0,
        listener: ListenerPlan | None = None,
        state: State | None = None,
    ) -> None:
        self.pid, self.pid_start, self.process, self.seccomp = pid, pid_start, process, seccomp
        self.tty, self.user, self.groups, self.cgroup = tty, user, groups or [], cgroup
        self.preserve_fds, self.keyring, self.linux = preserve_fds, keyring, linux
        self.seccomp_flags, self.listener, self.state = seccomp_flags, listener, state


def _denies_setgroups(pid: int) -> bool:
    """Of an ordinary user who has mapped one id (user_namespaces(7))."""
    with open(f"/proc/{pid}/setgroups", encoding="utf-8") as file:
        return file.read().startswith("deny")


class Entry:
    """One exec: prepared by the parent, carried out by the child."""

    def __init__(self, plan: ExecPlan, stdio: tuple[int, int, int] | None, *, supervised: bool) -> None:
        """Raises StepFailed, InvalidArgument, OSError."""
        if not plan.tty and stdio is None:
            raise StepFailed(errno.EINVAL, "exec: neither descriptors nor a terminal")
        self.plan, self.stdio, self.supervised = plan, stdio, supervised
        labels.check(plan.process)
        try:
            self.target = process.pidfd_open(plan.pid)
        except ProcessLookupError:
            raise StepFailed(errno.ESRCH, "cannot exec in a stopped container") from None
        # Asked with the pidfd in hand: from here on the number can't become another process (S-18).
        if plan.pid_start and start_time(plan.pid) != plan.pid_start:
            raise StepFailed(errno.ESRCH, "cannot exec in a stopped container")
        self.clone_cgroup = plan.cgroup.clone_fd() if plan.cgroup is not None else None
        self.differing = CloneFlag.NONE
        for kind in _JOINED:
            if namespaces.inode("self", kind) != namespaces.inode(plan.pid, kind):
                self.differing |= kind.flag
        self.has_user = CloneFlag.NEWUSER in self.differing
        self.through: list[tuple[Fd, CloneFlag]] = []
        if self.has_user and os.geteuid() != 0:
            # An ordinary user has rights to the others only as root of this one.
            self.through = [(self.target, CloneFlag.NEWUSER), (self.target, CloneFlag.NEWPID)]
            self.differing &= ~CloneFlag.NEWUSER
        own = -1 if self.has_user else capabilities.get_caps().permitted
        self.program = Program(plan.process, plan.seccomp, preserve_fds=plan.preserve_fds, own=own, linux=plan.linux)
        self.program.keeps_groups = self.has_user and _denies_setgroups(plan.pid)
        self.program.filter_flags = plan.seccomp_flags
        cpus = plan.process.exec_cpu_affinity
        self.first_cpus = affinity(cpus.initial, "initial") if cpus is not None else set[int]()
        self.last_cpus = affinity(cpus.final, "final") if cpus is not None else set[int]()

    def become(self, link: ChildLink) -> None:
        """The whole way. Returns only by raising."""
        program, spec = self.program, self.plan.process
        keep = [link.fileno(), self.target.fileno(), *(self.stdio or ()), *range(3, program.first_fd)]
        become.leave_parent(keep, supervised=self.supervised)
        if self.first_cpus:
            os.sched_setaffinity(0, self.first_cpus)
        link.wait()
        if self.last_cpus:
            os.sched_setaffinity(0, self.last_cpus)
        if self.differing:
            process.setns(self.target, self.differing)
            if self.has_user:
                # Nobody in here until now, with the host's groups: their rights end where the container's begin.
                os.setresgid(0, 0, 0)
                os.setresuid(0, 0, 0)
        self.target.close()
        slave = None
        with Fd(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
            identity = users.identify(root, spec.user, self.plan.user, self.plan.groups, home=not program.has_home)
            if self.plan.tty:
                slave = self._terminal(root, link, identity.uid)
        if not program.has_home:
            program.add_home(identity.home)
        if slave is not None:
            become.take_terminal(slave)
        elif self.stdio is not None:
            become.take_stdio(self.stdio)
            devices.give_stdio(identity.uid, identity.gid)
        if self.plan.keyring:
            process.join_session_keyring(self.plan.keyring)
        labels.set_for_exec(spec, labels.own_proc)
        become.apply_limits(program)
        link.becoming()
        become.drop_rights(program, identity)
        if self.supervised:
            process.set_pdeathsig(signal.SIGKILL)  # the change of ids has cleared it
        os.umask(0o022 if spec.user.umask is None else spec.user.umask)
        become.enter_directory(spec.cwd)
        if self.plan.listener is not None:
            become.hand_over_filter(program, link)
        become.exec_program(program)

    def _terminal(self, root: Fd, link: ChildLink, uid: int) -> Fd:
        master, slave = devices.open_terminal(root)
        devices.set_size(slave, self.plan.process.console_size)
        devices.give_terminal(slave, uid)
        link.hand_out([master.fileno()])
        master.close()
        pty.take_as_controlling(slave)
        return slave
