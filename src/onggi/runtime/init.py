"""From a plan to a running process: clone3, and the parent's side of what follows.

Parent (a starter, or `onggi-runtime`): clone, cgroup, links, reports. Child (inside.py, joining.py): mounts, pivot, rights,
exec. They go side by side: while the child mounts, the parent puts it into its cgroups and makes its links; the child
waits for that only where it needs it.

Invariants: (1) what can be read or checked on the host is read before the clone; (2) the child opens paths of the
container only through its root descriptor; (3) it ends in exec or os._exit, and any error is a step with an errno;
(4) whatever was made when a step fails goes with the namespaces, which go with the child.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from onggi.errors import OnggiError, RuntimeStepError
from onggi.kernel import cgroups
from onggi.kernel.clone import CloneFlag
from onggi.kernel.faults import point
from onggi.kernel.fds import Fd
from onggi.kernel.namespaces import is_rootless
from onggi.oci.runtime import VERSION, State
from onggi.runtime import inside, joining, notifying
from onggi.runtime.joining import ExecPlan
from onggi.runtime.parent import Parent, Spawned, as_step_error
from onggi.runtime.plan import InitPlan
from onggi.runtime.rootfs import CgroupView
from onggi.runtime.steps import StepFailed

if TYPE_CHECKING:
    # A program that starts one container and ends (onggi-runtime) has no use for it, and none for its imports.
    from onggi.runtime.ahead import Ahead

__all__ = ["ExecPlan", "Spawned", "exec_in", "spawn", "spawn_ahead"]


def spawn(
    plan: InitPlan,
    *,
    stdio: tuple[int, int, int],
    tty: bool,
    cgroup: cgroups.Cgroup,
    exec_fifo: int | None = None,
    supervised: bool = True,
    beside: Callable[[int], None] | None = None,
) -> Spawned:
    """The container's first process, running its program, or waiting for a byte in `exec_fifo` right before that.

    `stdio` isn't used with a tty. `supervised`: the process becomes a child of the caller's parent, and dies with that;
    otherwise it is the caller's own and outlives it. `beside` is done by the parent while the child mounts. Raises
    RuntimeStepError in runc's words; nothing is left then.

    Holds:
        one thread, no event loop; root, or a user namespace in the plan.
    """
    parent = Parent(_expected(plan, tty=tty, supervised=supervised), supervised=supervised, listener=_passing_on(plan))

    def prepare(pid: int) -> None:
        if clone_cgroup is None:
            cgroup.add(pid)
        _parents_part(plan, pid, beside, supervised=supervised)
        if start.devices_moved:
            from onggi.runtime import netdevices

            joined = next((fd for fd, flag in start.spaces.joined if flag == CloneFlag.NEWNET), None)
            netdevices.move(start.devices_moved, pid, joined)

    try:
        view = CgroupView(cgroup.view(), unified=cgroup.unified)
        start = inside.Start(plan, stdio, view, tty=tty, exec_fifo=exec_fifo, supervised=supervised)
        clone_cgroup = cgroup.clone_fd()
    except (StepFailed, OSError, OnggiError) as error:
        raise as_step_error(error) from error
    try:
        spaces = start.spaces
        pid_namespace = next((fd for fd, flag in spaces.joined if flag == CloneFlag.NEWPID), None)
        return parent.run(
            start.become, prepare, spaces.clone_flags, clone_cgroup, pid_namespace,
            through=spaces.through, maps=spaces.maps,
        )  # fmt: skip
    finally:
        start.close()


def spawn_ahead(
    made: Ahead,
    plan: InitPlan,
    *,
    stdio: tuple[int, int, int],
    tty: bool,
    cgroup: cgroups.Cgroup,
    placed: bool,
    beside: Callable[[int], None] | None = None,
) -> Spawned:
    """The same with a child that waits for its plan, whosesoever child it is; `placed` says that it is in `cgroup` already.

    Holds:
        the child is ready, and the plan fits (ahead.py).
    """

    def prepare(pid: int) -> None:
        if not placed:
            cgroup.add(pid)
        _parents_part(plan, pid, beside, supervised=True)

    try:
        made.begin(plan, stdio, cgroup.view(), unified=cgroup.unified, tty=tty)
    except OSError as error:
        made.end()
        raise as_step_error(error) from error
    parent = Parent(_expected(plan, tty=tty, supervised=True), supervised=True, listener=_passing_on(plan))
    return parent.finish(made.link, made.spawned, prepare)


def _expected(plan: InitPlan, *, tty: bool, supervised: bool) -> list[str]:
    """Which descriptors the child hands out, in their order."""
    keeps_root = supervised and bool(plan.rootfs.lower)
    return (["root"] if keeps_root else []) + (["console"] if tty else []) + (["dns"] if plan.dns else [])


def _parents_part(plan: InitPlan, pid: int, beside: Callable[[int], None] | None, *, supervised: bool) -> None:
    """Done while the child mounts; it is in its cgroup."""
    if beside is not None:
        beside(pid)
    point("init.cgroup.added")
    _set_oom_score(pid, plan.spec.process.oom_score_adj if plan.spec.process else None, supervised=supervised)
    if plan.links:
        from onggi.runtime import links  # few programs need it

        links.connect(plan.links, pid)
        point("init.links.made")


def exec_in(
    plan: ExecPlan,
    *,
    stdio: tuple[int, int, int] | None,
    supervised: bool = True,
    until: Callable[[Mapping[int, int]], set[int]] | None = None,
) -> Spawned:
    """A process beside the first one of a running container: same namespaces, same cgroup, its own rights.

    Without `stdio` it gets a terminal. It is the caller's child, and dies with the caller if `supervised`; `until` is how
    the caller waits for what the child says (waiting.py). Raises RuntimeStepError in runc's words.
    """
    try:
        entry = joining.Entry(plan, stdio, supervised=supervised)
    except (StepFailed, OSError, OnggiError) as error:
        raise as_step_error(error) from error
    with entry.target:

        def prepare(pid: int) -> None:
            if plan.cgroup is not None and entry.clone_cgroup is None:
                plan.cgroup.add(pid)
            _set_oom_score(pid, plan.process.oom_score_adj, supervised=supervised)

        parent = Parent(["console"] if plan.tty else [], supervised=False, listener=_passing_on(plan), until=until)
        try:
            return parent.run(
                entry.become, prepare, CloneFlag.NONE, entry.clone_cgroup, entry.target, through=entry.through
            )
        except RuntimeStepError as error:
            if error.errno != errno.EAGAIN or entry.clone_cgroup is None:
                raise
        # The container has as many processes as it may: none is born into its group, one that is moved there is let in
        # (cgroup-v2.rst, "PID": "Organisational operations are not blocked by cgroup policies").
        entry.clone_cgroup = None
        return parent.run(entry.become, prepare, CloneFlag.NONE, None, entry.target, through=entry.through)


def _passing_on(plan: InitPlan | ExecPlan) -> Callable[[Fd, int], None] | None:
    """What to do with the seccomp listener of the plan's process, None when it has none."""
    wanted = plan.listener
    if wanted is None:
        return None

    def tell(listener: Fd, pid: int) -> None:
        if isinstance(plan, InitPlan):
            spec = plan.spec
            state = State(spec.oci_version, plan.container_id, "creating", pid, plan.bundle, spec.annotations)
        else:
            state = plan.state or State(VERSION, "", "running", plan.pid, "")
        notifying.tell(wanted, listener, pid, state)

    return tell


def _set_oom_score(pid: int, value: int | None, *, supervised: bool) -> None:
    """Shims are spared when memory is short, containers are not: a child must not keep its parent's score."""
    if value is None and not supervised:
        return
    fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"%d" % (value or 0))
    except PermissionError:
        # An ordinary user may only be offered to the kernel earlier than the session, not later.
        if not is_rootless():
            raise
    finally:
        os.close(fd)
