"""A container's first process, made before anybody asks for one.

Half of a start doesn't depend on what is started: the clone itself with its namespaces, the loopback, /proc, /sys and
/dev with its nodes, and the first touch of every page that the parent's memory is shared with. So a spare shim has its
child made while it waits for work, and a starter sends the child its plan. A plan that wants other namespaces gets a child
of its own.

The child waits in the host's mount namespace, where nothing is mounted yet: what the host mounts meanwhile is seen.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import Never

import msgspec

from onggi.errors import OnggiError, RuntimeStepError
from onggi.kernel import filesystem, mounts, paths, process
from onggi.kernel.clone import CloneFlag
from onggi.kernel.faults import point
from onggi.kernel.fds import Fd
from onggi.kernel.mounts import MountAttr
from onggi.kernel.namespaces import is_rootless
from onggi.oci.runtime import Mount, Spec, User
from onggi.runtime import become, defaults, devices, links, loopback, masks, protocol, users
from onggi.runtime.inside import Start
from onggi.runtime.parent import Spawned, kill
from onggi.runtime.plan import InitPlan, RootfsPlan
from onggi.runtime.rootfs import CgroupView, MountedRoot, PreparedMount, Ready
from onggi.runtime.steps import ChildLink, ParentLink, StepFailed

MADE = CloneFlag.NEWPID | CloneFlag.NEWNET | CloneFlag.NEWIPC | CloneFlag.NEWUTS
"""Namespaces that the child is born in; its mount namespace comes with the plan."""

_KINDS = {"mount", "pid", "network", "ipc", "uts"}


class StartRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Parent to child. Descriptors: stdio, unless `tty`."""

    plan: InitPlan
    hierarchies: dict[str, str]
    unified: bool
    tty: bool = False


decode = msgspec.msgpack.Decoder(StartRequest).decode


def fits(plan: InitPlan) -> bool:
    """Whether a child made ahead is what `plan` needs."""
    if plan.spec.linux is None or plan.preserve_fds or plan.spec.linux.net_devices:
        return False
    wanted = plan.spec.linux.namespaces
    if any(mount.uid_mappings or mount.gid_mappings for mount in plan.spec.mounts):
        return False  # whose map is made by a process with the host's /proc
    return {entry.type for entry in wanted} - {"cgroup"} == _KINDS and not any(entry.path for entry in wanted)


def live(enter: Callable[[], None] | None, link: ChildLink) -> Never:
    """The whole life of a child that was cloned with MADE, and dies with its parent.

    Its first act is to `enter` the cgroup that the container may have; it ends when it can't.
    """
    try:
        _wait(enter, link)
    except BaseException as error:  # noqa: BLE001 - the starter must know, and this process must end
        link.fail(error)
    finally:
        os._exit(1)


class Ahead:
    """Another process's child that waits for a plan, as who starts the container has it."""

    __slots__ = ("link", "spawned")

    def __init__(self, link: ParentLink, spawned: Spawned) -> None:
        self.link, self.spawned = link, spawned

    def is_ready(self) -> bool:
        """Waits until all is made: what a start does builds on it. False: it has failed, or was killed."""
        try:
            return self.link.receive() == (b"A", [])
        except (OSError, RuntimeStepError):
            return False

    def begin(
        self, plan: InitPlan, stdio: tuple[int, int, int], hierarchies: dict[str, str], *, unified: bool, tty: bool
    ) -> None:
        """Give it the plan. Raises OSError.

        Holds:
            it is ready, and the plan fits.
        """
        protocol.send(self.link.socket, StartRequest(plan, hierarchies, unified, tty), [] if tty else stdio)

    def end(self) -> None:
        """It isn't needed. It is gone when this returns, and its parent's to be reaped."""
        self.link.close()
        kill(self.spawned)


def _wait(enter: Callable[[], None] | None, link: ChildLink) -> Never:
    """The child's whole life. Returns only by raising."""
    if enter is not None:
        enter()
    become.leave_parent([link.fileno()], supervised=True)
    ready = Ready()
    # Without what fails here a start is slower, and not wrong: it is made again, and fails there if it must.
    with contextlib.suppress(OSError, OnggiError, StepFailed):
        loopback.set_up()
        ready = _file_systems()
        _rehearse()
    point("init.ahead.made")
    link.waiting()
    request, fds = _receive(link)
    view = CgroupView(request.hierarchies, unified=request.unified)
    stdio = (fds[0], fds[1], fds[2]) if fds else (-1, -1, -1)
    start = Start(request.plan, stdio, view, tty=request.tty, exec_fifo=None, supervised=True)
    if not ready.hidden.issubset(start.linux.masked_paths) or not ready.read_only.issubset(start.linux.readonly_paths):
        # This one shall see what the default hides: /proc and /sys are made anew.
        ready = Ready(proc=ready.proc, ipv6_off=ready.ipv6_off)
    process.unshare(CloneFlag.NEWNS)
    start.proceed(link, ready)
    raise AssertionError


def _receive(link: ChildLink) -> tuple[StartRequest, list[int]]:
    received = protocol.receive(link.socket)
    if received is None:
        os._exit(0)  # the starter is gone, or had something else to do
    payload, fds = received
    return decode(payload), fds


def _file_systems() -> Ready:
    """What every container has, by what it is: detached mounts, to be attached in the container's root."""
    ready = Ready(proc=mounts.new_mount("proc"))
    kernels: dict[str, Fd] = {}
    for mount in defaults.MOUNTS:
        if mount.type == "cgroup":
            continue
        options = [*mount.options, f"size={defaults.SHM_BYTES}"] if mount.destination == "/dev/shm" else mount.options
        prepared = PreparedMount(Mount(mount.destination, mount.type, mount.source, options))
        fd = ready.mounts[prepared.key] = mounts.new_mount(prepared.type, prepared.data, prepared.options.set)
        if mount.destination == "/dev":
            devices.fill(fd, bound=is_rootless())
        elif mount.destination in ("/proc", "/sys"):
            kernels[mount.destination] = fd
    _cover(ready, kernels)
    if ready.proc is not None:
        ready.ipv6_off = links.prepare_ipv6(ready.proc)
    return ready


def _cover(ready: Ready, kernels: dict[str, Fd]) -> None:
    """Masks in the detached /proc and /sys, where the kernel can mount on what is detached (Linux 6.15)."""

    def find(path: str) -> Fd | None:
        top = path[: path.index("/", 1)]
        return MountedRoot(kernels[top], ready).find(path.removeprefix(top))

    hidden = defaults.masked_paths()
    try:
        masks.set_readonly(find, defaults.READ_ONLY_PATHS)
        ready.read_only.update(defaults.READ_ONLY_PATHS)
        masks.mask(find, hidden)
        ready.hidden.update(hidden)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # Not this kernel: each of them is placed when the container's root is there.


def _rehearse() -> None:
    """What has no effect is done once: each page that it writes to costs a fault now, and none later."""
    plan = InitPlan(spec=_sample(), rootfs=RootfsPlan(lower=["/"]), user="0")
    sample = decode(msgspec.msgpack.encode(StartRequest(plan, {}, unified=False)))
    Start(sample.plan, (0, 1, 2), CgroupView({}, unified=False), tty=False, exec_fifo=None, supervised=True)
    with mounts.new_mount("tmpfs", {"size": "64k"}, MountAttr.NOSUID) as scratch:
        root = MountedRoot(scratch, Ready())
        paths.make_dirs_in_root(scratch, "/etc").close()
        paths.make_file_in_root(scratch, "/etc/passwd").close()
        root.find("/etc/passwd/x")
        filesystem.magic(scratch.fileno())
        users.identify(scratch, User(), "0", [], home=True)
        with contextlib.suppress(OSError):
            mounts.open_tree(scratch, "etc", clone=True, recursive=True).close()
    first, second = socket.socketpair()
    first.close()
    second.close()


def _sample() -> Spec:
    spec = defaults.default_spec()
    if spec.process is not None:
        spec.process.args = ["true"]
    return spec
