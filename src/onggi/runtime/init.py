"""From a plan to a running process: clone3, and the parent's side of what follows.

Parent (a starter, or `onggi-runtime`): clone, cgroup, links, reports. Child (inside.py, joining.py): mounts, pivot, rights,
exec. They go side by side: while the child mounts, the parent puts it into its cgroups and makes its links; the child
waits for that only where it needs it.

Invariants: (1) what can be read or checked on the host is read before the clone; (2) the child opens paths of the
container only through its root descriptor; (3) it ends in exec or os._exit, and any error is a step with an errno;
(4) whatever was made when a step fails goes with the namespaces, which go with the child.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Never

from onggi.errors import OnggiError, RuntimeStepError
from onggi.kernel import cgroups, process
from onggi.kernel.clone import CloneFlag, clone3
from onggi.kernel.faults import point
from onggi.kernel.fds import Fd
from onggi.runtime import ahead, inside, joining, links
from onggi.runtime.joining import ExecPlan
from onggi.runtime.plan import InitPlan
from onggi.runtime.rootfs import CgroupView
from onggi.runtime.steps import FAILED, ChildLink, ParentLink, StepFailed

__all__ = ["Ahead", "ExecPlan", "Spawned", "exec_in", "make_ahead", "spawn"]

_KILLED_WITHIN_MS = 10_000


@dataclass(slots=True)
class Spawned:
    """A process that runs: the caller owns the descriptors. `console` is the terminal's master.

    `root` is the overlay that a supervised container runs on, for its shim to hold until the end is told: the last one
    who lets go of an overlay waits until the whole file system under it is synced to the disk (ovl_sync_fs in
    fs/overlayfs/super.c), and that had better not be the container's process on its way out.
    """

    pid: int
    pidfd: Fd
    console: Fd | None = None
    dns_fds: list[Fd] = field(default_factory=list)
    root: Fd | None = None


@dataclass(slots=True)
class Ahead:
    """A child that waits for a plan (ahead.py): for `spawn`, which uses it or ends it."""

    link: ParentLink
    spawned: Spawned

    def take(self, request: ahead.StartRequest, fds: Sequence[int]) -> bool:
        """Give it the plan; False when it is dead, and ended. Waits until all is made: links come after settings."""
        try:
            if self.link.receive() == (b"A", []):
                self.link.send(request, fds)
                return True
        except (OSError, RuntimeStepError):
            pass
        self.end()
        return False

    def end(self) -> None:
        """It isn't needed. It is gone when this returns, and its parent's to be reaped."""
        self.link.close()
        _kill(self.spawned)


def make_ahead() -> Ahead:
    """A supervised child for the next `spawn` of this process. Raises OSError.

    Holds:
        as for spawn; the caller is in the cgroup that the container's process shall be born in.
    """
    link = ParentLink()
    spawned = _Parent([], supervised=True).clone(link, ahead.wait, ahead.MADE, None, None)
    link.forked()
    return Ahead(link, spawned)


def spawn(
    plan: InitPlan,
    *,
    stdio: tuple[int, int, int],
    tty: bool,
    cgroup: cgroups.Cgroup,
    exec_fifo: int | None = None,
    supervised: bool = True,
    beside: Callable[[int], None] | None = None,
    made: Ahead | None = None,
) -> Spawned:
    """The container's first process, running its program, or waiting for a byte in `exec_fifo` right before that.

    `stdio` isn't used with a tty. `supervised`: the process becomes a child of the caller's parent, and dies with that;
    otherwise it is the caller's own and outlives it. `beside` is done by the parent while the child mounts, and must
    leave the child in its cgroup; without it `cgroup` takes it. `made` is used if the plan lets it, and gone afterwards
    in any case. Raises RuntimeStepError in runc's words; nothing is left then.

    Holds:
        one thread, no event loop; root, or a user namespace in the plan.
    """
    keeps_root = supervised and bool(plan.rootfs.lower)
    expected = (["root"] if keeps_root else []) + (["console"] if tty else []) + (["dns"] if plan.dns else [])
    parent = _Parent(expected, supervised=supervised)

    def prepare(pid: int) -> None:
        if beside is not None:
            beside(pid)
        elif clone_cgroup is None:
            cgroup.add(pid)
        point("init.cgroup.added")
        _set_oom_score(pid, plan.spec.process.oom_score_adj if plan.spec.process else None, supervised=supervised)
        if plan.links:
            links.connect(plan.links, pid)
            point("init.links.made")

    clone_cgroup: int | None = None
    if made is not None and exec_fifo is None and supervised and ahead.fits(plan):
        request = ahead.StartRequest(plan, cgroup.view(), cgroup.unified, tty)
        if made.take(request, [] if tty else stdio):
            return parent.finish(made.link, made.spawned, prepare)
    elif made is not None:
        made.end()
    try:
        view = CgroupView(cgroup.view(), unified=cgroup.unified)
        start = inside.Start(plan, stdio, view, tty=tty, exec_fifo=exec_fifo, supervised=supervised)
        clone_cgroup = cgroup.clone_fd()
    except (StepFailed, OSError, OnggiError) as error:
        raise _as_step_error(error) from error
    try:
        # Whether cgroup namespaces are new is settled in the child: it must be in its cgroup first (cgroup_namespaces(7)).
        flags = start.new & ~CloneFlag.NEWCGROUP
        pid_namespace = next((fd for fd, flag in start.joined if flag == CloneFlag.NEWPID), None)
        return parent.run(start.become, prepare, flags, clone_cgroup, pid_namespace)
    finally:
        for fd, _ in start.joined:
            fd.close()


def exec_in(plan: ExecPlan, *, stdio: tuple[int, int, int] | None, supervised: bool = True) -> Spawned:
    """A process beside the first one of a running container: same namespaces, same cgroup, its own rights.

    Without `stdio` it gets a terminal. `supervised` as in `spawn`. Raises RuntimeStepError in runc's words.
    """
    try:
        entry = joining.Entry(plan, stdio, supervised=supervised)
    except (StepFailed, OSError, OnggiError) as error:
        raise _as_step_error(error) from error
    with entry.target:

        def prepare(pid: int) -> None:
            if plan.cgroup is not None and entry.clone_cgroup is None:
                plan.cgroup.add(pid)
            _set_oom_score(pid, plan.process.oom_score_adj, supervised=supervised)

        parent = _Parent(["console"] if plan.tty else [], supervised=supervised)
        return parent.run(entry.become, prepare, CloneFlag.NONE, entry.clone_cgroup, entry.target)


def _set_oom_score(pid: int, value: int | None, *, supervised: bool) -> None:
    """Shims are spared when memory is short, containers are not: a child must not keep its parent's score."""
    if value is None and not supervised:
        return
    fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"%d" % (value or 0))
    finally:
        os.close(fd)


class _Parent:
    """The parent's side of one start: makes the child, does its own part, listens until the child is its program."""

    def __init__(self, expected: list[str], *, supervised: bool) -> None:
        self._expected, self._supervised = expected, supervised

    def run(
        self,
        child: Callable[[ChildLink], None],
        prepare: Callable[[int], None],
        flags: CloneFlag,
        cgroup: int | None,
        pid_namespace: Fd | None,
    ) -> Spawned:
        """Raises RuntimeStepError; the child is gone then."""
        link = ParentLink()
        try:
            spawned = self.clone(link, child, flags, cgroup, pid_namespace)
        except OSError as error:
            link.close()
            raise _as_step_error(error) from error
        link.forked()
        return self.finish(link, spawned, prepare)

    def finish(self, link: ParentLink, spawned: Spawned, prepare: Callable[[int], None]) -> Spawned:
        """The parent's part beside a child that is on its way. Raises RuntimeStepError; the child is gone then."""
        try:
            try:
                prepare(spawned.pid)
            except (OSError, OnggiError) as error:
                # If the child has failed already, its words are the cause and this is what follows from it.
                link.receive(wait=False)
                raise _as_step_error(error) from error
            link.go(spawned.pid)
            self._listen(link, spawned)
        except BaseException:
            self._undo(spawned)
            raise
        finally:
            link.close()
        return spawned

    def clone(
        self,
        link: ParentLink,
        child: Callable[[ChildLink], None],
        flags: CloneFlag,
        cgroup: int | None,
        pid_namespace: Fd | None,
    ) -> Spawned:
        """The child alone, which then waits for its parent. Raises OSError."""
        if pid_namespace is not None:
            # Holds for children only, so it must be done here; untraceable before it can be seen there (CVE-2016-9962).
            process.set_dumpable(False)
            process.setns(pid_namespace, CloneFlag.NEWPID)
        collecting = gc.isenabled()
        gc.disable()
        try:
            if self._supervised:
                # The kernel takes no exit signal with CLONE_PARENT: it is that of the caller.
                cloned = clone3(flags | CloneFlag.PARENT, cgroup=cgroup, exit_signal=0)
            else:
                cloned = clone3(flags, cgroup=cgroup)
            if cloned is None:
                _child(link.child_side(), child)
        finally:
            if collecting:
                gc.enable()
            if pid_namespace is not None:
                with Fd(os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)) as own:
                    process.setns(own, CloneFlag.NEWPID)
                process.set_dumpable(True)
        return Spawned(*cloned)

    def _listen(self, link: ParentLink, spawned: Spawned) -> None:
        """Until the child is its program (end of the stream) or waits before that (ready)."""
        became = False
        while True:
            kind, fds = link.receive()
            if kind == b"F":
                self._take(self._expected.pop(0), fds, spawned)
            elif kind == b"B":
                became = True
            elif kind or became:
                return
            else:
                raise RuntimeStepError(
                    "init", errno.ESRCH, "init: the process was killed before its program began", FAILED
                )

    @staticmethod
    def _take(what: str, fds: list[Fd], spawned: Spawned) -> None:
        match what:
            case "root":
                spawned.root = fds[0]
            case "console":
                spawned.console = fds[0]
            case _:
                spawned.dns_fds = fds

    def _undo(self, spawned: Spawned) -> None:
        """The child and its namespaces are gone when this returns."""
        _kill(spawned)
        if not self._supervised:
            os.waitpid(spawned.pid, 0)


def _kill(spawned: Spawned) -> None:
    """The process has ended when this returns; who its parent is reaps it."""
    with contextlib.suppress(ProcessLookupError):
        process.pidfd_send_signal(spawned.pidfd, signal.SIGKILL)
    poll = select.poll()
    poll.register(spawned.pidfd.fileno(), select.POLLIN)
    poll.poll(_KILLED_WITHIN_MS)
    for fd in (spawned.pidfd, spawned.console, spawned.root, *spawned.dns_fds):
        if fd:
            fd.close()


def _child(link: ChildLink, become: Callable[[ChildLink], None]) -> Never:
    """Everything of the child: nothing of it may run on in the parent's frames, whatever happens (S-20, S-22)."""
    try:
        become(link)
    except BaseException as error:  # noqa: BLE001 - the parent must know, and this process must end
        link.fail(error)
    finally:
        os._exit(1)


def _as_step_error(error: Exception) -> RuntimeStepError:
    if isinstance(error, StepFailed):
        return RuntimeStepError(error.text.partition(":")[0], error.errno, error.text, error.exit_code)
    if isinstance(error, OSError):
        text = error.strerror or str(error)
        return RuntimeStepError(text.partition(":")[0], error.errno or errno.EIO, text, FAILED)
    return RuntimeStepError("plan", errno.EINVAL, str(error), FAILED)
