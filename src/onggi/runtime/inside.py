"""The child's side of a start, from its first instruction in new namespaces to exec.

Runs inside the container's namespaces, while the parent puts it into its cgroups and makes its links. `Start` is
prepared by the parent and inherited. Nothing is imported and nothing is opened by a name that the container controls
(S-11, S-20); any error ends the process (init.py).
"""

from __future__ import annotations

import _signal as signal  # lean.py
import _socket
import errno
import os
from typing import TYPE_CHECKING

from onggi.kernel import mounts, paths, process, pty
from onggi.kernel.clone import CloneFlag
from onggi.kernel.faults import point
from onggi.kernel.fds import Fd
from onggi.kernel.mounts import MountAttr
from onggi.kernel.namespaces import NamespaceKind, is_rootless
from onggi.oci.runtime import Linux, Process, State
from onggi.runtime import become, childhooks, devices, labels, loopback, masks, pivoting, reaper, rootfs, sysctls, users
from onggi.runtime.become import Program
from onggi.runtime.plan import InitPlan
from onggi.runtime.rootfs import CgroupView, MountedRoot, Ready
from onggi.runtime.sources import Sources
from onggi.runtime.spaces import Spaces
from onggi.runtime.steps import CANNOT_RUN, ChildLink, StepFailed

if TYPE_CHECKING:
    from onggi.runtime.netdevices import Moved


class Start:
    """One start: all that can be read, checked and computed on the host, and what the child does with it."""

    def __init__(
        self,
        plan: InitPlan,
        stdio: tuple[int, int, int],
        view: CgroupView,
        *,
        tty: bool,
        exec_fifo: int | None,
        supervised: bool,
    ) -> None:
        """Raises StepFailed, InvalidArgument, OSError."""
        if plan.spec.process is None:
            raise StepFailed(errno.EINVAL, "the spec has no process")
        self.plan, self.stdio, self.tty, self.exec_fifo = plan, stdio, tty, exec_fifo
        self.supervised = supervised
        self.linux = plan.spec.linux or Linux()
        self.devices_moved: list[Moved] = []
        self.needs_links = bool(plan.links or plan.dns or self.linux.net_devices)
        # A bundle has neither, and needs no netlink: it is imported for who does, on this side of the clone.
        if self.needs_links:
            from onggi.runtime import links  # noqa: F401 - the child needs it
        if self.linux.net_devices:
            from onggi.runtime import netdevices

            self.devices_moved = netdevices.read(self.linux.net_devices)
        self.process: Process = plan.spec.process
        self.spaces = Spaces(self.linux)
        self.new = self.spaces.new
        self.has_root = self.spaces.has_own(NamespaceKind.MOUNT)
        self.program = Program(
            self.process, plan.seccomp, preserve_fds=plan.preserve_fds, own=self.spaces.capabilities(), linux=self.linux
        )
        self.program.filter_flags = plan.seccomp_flags
        # crun's annotation, which podman's --group-add keep-groups sets.
        wants_groups_kept = plan.spec.annotations.get("run.oci.keep_original_groups") == "1"
        self.program.keeps_groups = wants_groups_kept or self.spaces.denies_setgroups
        self.mounts = rootfs.prepare_mounts(plan.spec)
        self.sources = Sources(self.mounts, plan.rootfs, self.linux, self.spaces)
        labels.check(self.process)
        self.settings = dict(self.linux.sysctl)
        sysctls.check(
            self.settings,
            own_ipc=self.spaces.has_own(NamespaceKind.IPC),
            own_net=self.spaces.has_own(NamespaceKind.NETWORK),
            own_uts=self.spaces.has_own(NamespaceKind.UTS),
            domainname=plan.spec.domainname,
        )
        if plan.spec.domainname and CloneFlag.NEWUTS in self.new:
            self.settings["kernel.domainname"] = plan.spec.domainname
        self.cgroup_view = view
        self.pid = 0
        self.words = process.Words() if plan.init else None

    @property
    def binds_devices(self) -> bool:
        """Nobody but the host's root makes nodes that open a device."""
        return self.spaces.has_user or is_rootless()

    def become(self, link: ChildLink) -> None:
        """The whole way. Returns only by raising."""
        keep = [link.fileno(), *self.stdio, *range(3, self.program.first_fd), *self.sources.numbers()]
        keep += [fd.fileno() for fd, _ in self.spaces.joined]
        if self.exec_fifo is not None:
            keep.append(self.exec_fifo)
        # Before we are untraceable: our parent may be no root, and couldn't write our maps then (proc_pid_uid_map(5)).
        self.spaces.enter(link)
        become.leave_parent(keep, supervised=self.supervised)
        self.spaces.join()
        self.proceed(link, Ready())

    def close(self) -> None:
        """The parent's copies of what the child has."""
        self.spaces.close()
        self.sources.close()

    def proceed(self, link: ChildLink, ready: Ready) -> None:
        """The way from where all namespaces are there."""
        if self.has_root:
            root = self._file_system(link, ready)
        else:
            # The host's mount namespace: nothing is mounted in it, and the root is only a root directory.
            path = self.plan.rootfs.path or "/"
            root = MountedRoot(Fd(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)), ready)
            self.pid = link.wait()
        slave = self._terminal(root, link)
        self._network(root, link)
        if self.plan.spec.hostname and CloneFlag.NEWUTS in self.new:
            _socket.sethostname(self.plan.spec.hostname)
        if self.settings:
            sysctls.apply(self.settings, root.proc)
        identity = self._identity(root.fd)
        if self.has_root:
            self._finish_root(root)
        else:
            os.fchdir(root.fd.fileno())
            os.chroot(".")
        labels.set_for_exec(self.process, lambda: root.proc or labels.own_proc())
        root.close()
        if self.plan.keyring:
            process.join_session_keyring(self.plan.keyring)
        self._run_program(link, identity, slave)

    def _file_system(self, link: ChildLink, ready: Ready) -> MountedRoot:
        """Root, mounts and devices. Returns when the parent has done its part too."""
        self.sources.open_propagating()
        rootfs.make_private()
        point("init.root.mount")
        root = MountedRoot(rootfs.open_rootfs(self.plan.rootfs, self.sources.root), ready)
        if self.supervised and self.plan.rootfs.lower:
            link.hand_out([root.fd.fileno()])
        # A cgroup namespace is new only when the process is in its cgroup, and the mount shows what the namespace does.
        waits = CloneFlag.NEWCGROUP in self.new
        for mount in self.mounts:
            if waits and mount.type in ("cgroup", "cgroup2"):
                waits = False
                self._enter_cgroup(link)
            rootfs.mount_one(root, mount, self.cgroup_view)
        if not root.has_devices:
            devices.make_default_nodes(root.fd, bound=self.binds_devices)
        devices.make_nodes(root.fd, self.linux.devices, bound=self.binds_devices, made=self.sources.nodes)
        if CloneFlag.NEWCGROUP not in self.new:
            self.pid = link.wait()
        elif waits:
            self._enter_cgroup(link)
        point("init.root.mounted")
        return root

    def _enter_cgroup(self, link: ChildLink) -> None:
        self.pid = link.wait()
        process.unshare(CloneFlag.NEWCGROUP)

    def _terminal(self, root: MountedRoot, link: ChildLink) -> Fd | None:
        if not self.tty:
            return None
        master, slave = devices.open_terminal(root.fd)
        if self.has_root:
            devices.bind_console(root.fd, slave)
        devices.set_size(slave, self.process.console_size)
        link.hand_out([master.fileno()])
        master.close()
        return slave

    def _network(self, root: MountedRoot, link: ChildLink) -> None:
        if not self.needs_links and not root.ready.ipv6_off:
            if CloneFlag.NEWNET in self.new:
                loopback.set_up()
            return
        # There already: __init__ has seen to it, or who made this child ahead.
        from onggi.runtime import links

        point("init.network.configure")
        if CloneFlag.NEWNET in self.new:
            links.configure(self.plan.links, root.proc, ipv6_off=root.ready.ipv6_off)
        if self.devices_moved:
            from onggi.runtime import netdevices

            netdevices.settle(self.devices_moved)
        if self.plan.dns:
            sockets = links.dns_sockets()
            link.hand_out([sock.fileno() for sock in sockets])
            for sock in sockets:
                sock.close()

    def _state(self, status: str) -> State:
        plan = self.plan
        return State(plan.spec.oci_version, plan.container_id, status, self.pid, plan.bundle, plan.spec.annotations)

    def _identity(self, root: Fd) -> users.Identity:
        return users.identify(root, self.process.user, self.plan.user, self.plan.groups, home=not self.program.has_home)

    def _finish_root(self, root: MountedRoot) -> None:
        """What is hidden, what can't be written, the working directory; then the pivot."""
        if self.plan.spec.hooks is not None:
            childhooks.run("createContainer", self.plan.spec.hooks.create_container, self._state("creating"))
        masks.set_readonly(root.find, (path for path in self.linux.readonly_paths if path not in root.ready.read_only))
        masks.mask(root.find, (path for path in self.linux.masked_paths if path not in root.ready.hidden))
        self._make_working_directory(root.fd)
        if self.plan.spec.root and self.plan.spec.root.readonly:
            mounts.mount_setattr(root.fd, set=MountAttr.RDONLY)
        point("init.pivot")
        leave_host = pivoting.move_over if self.plan.rootfs.no_pivot else pivoting.pivot
        leave_host(root.fd, self.linux.rootfs_propagation)

    def _make_working_directory(self, root: Fd) -> None:
        """One that the image lacks is made, for root, as docker does."""
        if self.process.cwd in ("", "/"):
            return
        try:
            paths.make_dirs_in_root(root, self.process.cwd).close()
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                text = f"mkdir {self.process.cwd}: not a directory"
                raise StepFailed(errno.ENOTDIR, text, CANNOT_RUN) from None
            if error.errno not in (errno.EROFS, errno.ENOENT):
                raise

    def _run_program(self, link: ChildLink, identity: users.Identity, slave: Fd | None) -> None:
        program = self.program
        if not program.has_home:
            program.add_home(identity.home)
        if slave:
            devices.give_terminal(slave, identity.uid)
            pty.take_as_controlling(slave)
            become.take_terminal(slave)
        else:
            become.take_stdio(self.stdio)
            devices.give_stdio(identity.uid, identity.gid)
        become.apply_limits(program)
        point("init.rights")
        if self.exec_fifo is None:
            link.becoming()
        become.drop_rights(program, identity)
        if self.supervised:
            process.set_pdeathsig(signal.SIGKILL)  # the change of ids has cleared it
        os.umask(0o022 if self.process.user.umask is None else self.process.user.umask)
        become.enter_directory(self.process.cwd)
        if self.plan.listener is not None:
            become.hand_over_filter(program, link)
        if self.exec_fifo is not None:
            # Found out now, while `create` can still say it: runc does so too.
            program.found = program.found or become.find_program(program.arguments[0], program.environment)
            link.ready()
            os.read(self.exec_fifo, 1)
        if self.plan.spec.hooks is not None:
            childhooks.run("startContainer", self.plan.spec.hooks.start_container, self._state("created"))
        if self.words is not None:
            become.confine(program)
            reaper.split(self.words, keep_open=program.first_fd)
        become.exec_program(program)
