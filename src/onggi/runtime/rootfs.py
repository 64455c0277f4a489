"""The container's file system: the root, the mounts on it, what is masked, and the pivot into it.

Runs in the child, inside its new mount namespace. Imports nothing there and opens no path of the container but
through its root descriptor (S-05, S-20).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Never

from onggi.kernel import capabilities, filesystem, mounts, paths
from onggi.kernel.clone import CloneFlag
from onggi.kernel.fds import AT_FDCWD, AnyFd, Fd
from onggi.kernel.mounts import MountAttr, MountFlag
from onggi.kernel.process import setns
from onggi.oci.runtime import Mount, Spec
from onggi.runtime import copyup
from onggi.runtime.options import MountOptions, parse_options
from onggi.runtime.plan import RootfsPlan
from onggi.runtime.steps import FILE_FOR_DIRECTORY, NOT_FOUND, StepFailed

PROC_ALLOWED = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo",
        "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled",
    )
)  # fmt: skip
"""What may be mounted over in /proc (runc's checkProcMount): anything else could redirect what we write there (S-09)."""


class PreparedMount:
    """A mount of the spec with its option words read: that is done before the clone.

    Three words are ours. `lowerdir+=DIR`, repeated: directories of an overlay, topmost first (one string of lowerdir= ends at 256
    bytes in fsconfig(2)). `onggi.subpath=PATH`: what is below the source, or in the overlay, at PATH is mounted in its place.
    `onggi.of=PATH`: the source is what is mounted there in the mount namespace at PATH (/dev/shm of another container).
    """

    __slots__ = ("data", "destination", "id_mappings", "is_kernels", "key", "lower", "of", "opened", "options", "source", "subpath", "type")  # fmt: skip

    def __init__(self, mount: Mount) -> None:
        if not mount.destination.startswith("/"):
            raise StepFailed(errno.EINVAL, f"mount destination {mount.destination} not absolute")
        destination = os.path.normpath("/" + mount.destination.lstrip("/"))
        self.destination, self.source = destination, mount.source
        own = {word.partition("=")[0]: word.partition("=")[2] for word in mount.options if word.startswith("onggi.")}
        self.subpath, self.of = own.get("onggi.subpath", ""), own.get("onggi.of", "")
        self.lower = [word[10:] for word in mount.options if word.startswith("lowerdir+=")]
        self.options: MountOptions = parse_options(
            [word for word in mount.options if not word.startswith(("lowerdir+=", "onggi."))]
        )
        self.type = "bind" if self.options.bind else mount.type
        self.data = {"source": mount.source or mount.type, **self.options.data}
        self.is_kernels = mount.type in _KERNELS or destination == "/dev"
        self.opened: Fd | None = None
        self.id_mappings = (mount.uid_mappings, mount.gid_mappings)
        self.key = (self.type, destination == "/dev", tuple(sorted(self.data.items())), int(self.options.set))
        if destination == "/":
            raise StepFailed(errno.EINVAL, 'mount destination "/" is the root itself')
        if destination == "/proc" and self.type != "proc" and not self._is_procfs():
            raise StepFailed(errno.EINVAL, '"/proc" cannot be mounted because it is not of type proc')
        if destination.startswith("/proc/") and not may_cover_proc(destination):
            raise StepFailed(errno.EINVAL, f'"{destination}" cannot be mounted because it is inside /proc')

    def _is_procfs(self) -> bool:
        """Of the host's, bound: for containers in its pid namespace."""
        if self.type != "bind":
            return False
        with Fd(os.open(self.source, os.O_PATH | os.O_CLOEXEC)) as source:
            return filesystem.magic(source.fileno()) == filesystem.PROC_MAGIC


_KERNELS = frozenset({"proc", "sysfs", "mqueue", "devpts", "cgroup", "cgroup2"})


def may_cover_proc(destination: str) -> bool:
    return destination in PROC_ALLOWED


def _check_covered(target: Fd, mount: PreparedMount) -> None:
    """A link in the image may lead into /proc what the spec doesn't: asked of the place itself (S-09)."""
    if filesystem.magic(target.fileno()) == filesystem.PROC_MAGIC and not may_cover_proc(mount.destination):
        raise StepFailed(errno.EINVAL, f'"{mount.destination}" cannot be mounted because it is inside /proc')


def prepare_mounts(spec: Spec) -> list[PreparedMount]:
    return [PreparedMount(mount) for mount in spec.mounts]


def make_private() -> None:
    """Nothing that is mounted from now on reaches the host (S-10); what shall propagate was opened before (sources.py)."""
    mounts.mount(None, "/", None, MountFlag.REC | MountFlag.PRIVATE)


OVERLAY_OPTIONS = {"source": "overlay", "redirect_dir": "off", "metacopy": "off", "index": "off"}
"""Whatever this kernel's own defaults: an upper directory must be complete in itself to become a layer."""


def open_rootfs(plan: RootfsPlan, opened: Fd | None) -> Fd:
    """The root, mounted in this namespace alone; its descriptor is where every path begins."""
    if opened is not None:
        root = opened
    elif plan.lower:
        with capabilities.without("CAP_SYS_RESOURCE") if plan.limited else contextlib.nullcontext():
            root = mounts.overlay(
                plan.lower, plan.upper or None, plan.work or None, options=OVERLAY_OPTIONS, own_namespace=True
            )
    else:
        root = mounts.open_tree(AT_FDCWD, plan.path, clone=True, recursive=True)
        mounts.mount_setattr(root, propagation=MountFlag.PRIVATE, recursive=True)
    with _place(plan) as place:
        mounts.move_mount(root, place)
    return root


def _place(plan: RootfsPlan) -> Fd:
    """Where the root is mounted until the pivot: at its own path, since hooks look for it there ("createContainer")."""
    try:
        return Fd(os.open(plan.path or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except PermissionError:
        # The root of a user namespace can't walk to what the host's root keeps to itself.
        return Fd(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


class Ready:
    """What a child made ahead has of its file systems (ahead.py).

    `mounts`: detached ones, by PreparedMount.key. `hidden` and `read_only`: paths in them that are masked, or read-only,
    already. `proc`: a procfs that is mounted nowhere, to write settings through. `ipv6_off`: links are born without it.
    """

    __slots__ = ("hidden", "ipv6_off", "mounts", "proc", "read_only")

    def __init__(self, *, proc: Fd | None = None, ipv6_off: bool = False) -> None:
        self.proc, self.ipv6_off = proc, ipv6_off
        self.mounts: dict[object, Fd] = {}
        self.hidden: set[str] = set()
        self.read_only: set[str] = set()


class MountedRoot:
    """The root's descriptor, and that of the procfs mounted in it: what is found through that is the kernel's."""

    __slots__ = ("fd", "has_devices", "proc", "ready")

    def __init__(self, fd: Fd, ready: Ready) -> None:
        self.fd, self.ready = fd, ready
        self.proc = ready.proc
        self.has_devices = False

    def find(self, path: str) -> Fd | None:
        """`path` in the root (O_PATH), None when there is none."""
        try:
            return paths.open_in_root(self.fd, path, os.O_PATH)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def close(self) -> None:
        self.fd.close()
        if self.proc is not None:
            self.proc.close()


def mount_one(root: MountedRoot, mount: PreparedMount, cgroups: CgroupView) -> None:
    """One mount of the spec; one that is ready is taken. Raises StepFailed in runc's words."""
    try:
        match "remount" if mount.options.remount else mount.type:
            case "remount":
                _remount(root.fd, mount)
            case "bind":
                _bind(root.fd, mount)
            case "cgroup" | "cgroup2":
                cgroups.mount(root.fd, mount)
            case "overlay" if mount.lower:
                with mounts.overlay(mount.lower, None, None, options=OVERLAY_OPTIONS) as tree:
                    _bind_tree(root.fd, mount, tree)
            case _:
                ready = root.ready.mounts.pop(mount.key, None)
                fresh = _file_system(root.fd, mount, ready)
                if mount.destination == "/proc" and not mount.options.set & MountAttr.RDONLY:
                    root.proc = root.proc or fresh
                elif mount.destination == "/dev":
                    root.has_devices = ready is not None
    except OSError as error:
        explain(mount, error)


def explain(mount: PreparedMount, error: OSError) -> Never:
    """Raises StepFailed in runc's words."""
    number = error.errno or errno.EIO
    reason = (error.strerror or "").replace(os.strerror(number), os.strerror(number).lower())
    text = f'error mounting "{mount.source}" to rootfs at "{mount.destination}": {reason}'
    if number == errno.ENOTDIR:
        text += f": {FILE_FOR_DIRECTORY}"
        raise StepFailed(number, text, NOT_FOUND) from None
    raise StepFailed(number, text) from None


def _file_system(root: AnyFd, mount: PreparedMount, ready: Fd | None) -> Fd:
    options = mount.options
    made = ready or _make(mount, _data_at(root, mount))
    # A link there would lead the mount elsewhere, and who writes to /proc after it with it (CVE-2023-27561, CVE-2026-41579).
    place = mount.destination
    with _make_plain_directory(root, place) if mount.is_kernels else paths.make_target_in_root(root, place) as target:
        if not mount.is_kernels:
            _check_covered(target, mount)
        if options.copy_up:
            copyup.copy_up(target, made)
        mounts.move_mount(made, target)
        _propagate(made, options)
    return made


def _data_at(root: AnyFd, mount: PreparedMount) -> dict[str, str | None]:
    """Its options. A tmpfs over a directory of the image is as closed as that was, unless its mode is said: runc and crun do so."""
    if mount.type != "tmpfs" or "mode" in mount.data:
        return mount.data
    try:
        with paths.open_in_root(root, mount.destination, os.O_PATH | os.O_DIRECTORY) as covered:
            return mount.data | {"mode": f"{os.fstat(covered.fileno()).st_mode & 0o7777:o}"}
    except FileNotFoundError:
        return mount.data


def _make(mount: PreparedMount, data: dict[str, str | None]) -> Fd:
    """A new mount of its type. sysfs belongs to who owns the network namespace (sysfs_init_fs_context): without it the host's."""
    if mount.type == "overlay":
        return _overlay(mount)
    try:
        return mounts.new_mount(mount.type, data, mount.options.set)
    except PermissionError:
        if mount.type != "sysfs":
            raise
        bound = mounts.open_tree(AT_FDCWD, "/sys", clone=True, recursive=True)
        mounts.mount_setattr(bound, set=mount.options.set, propagation=MountFlag.PRIVATE, recursive=True)
        return bound


def _overlay(mount: PreparedMount) -> Fd:
    """Layers go in one by one: as one option they are cut at 255 bytes (fsconfig(2), FSCONFIG_SET_STRING)."""
    data = dict(mount.data)
    lower, upper, work = data.pop("lowerdir", ""), data.pop("upperdir", None), data.pop("workdir", None)
    made = mounts.overlay((lower or "").split(":"), upper, work, options=data)
    if mount.options.set:
        mounts.mount_setattr(made, set=mount.options.set)
    return made


def _remount(root: AnyFd, mount: PreparedMount) -> None:
    """Attributes of what is mounted there already. Raises OSError EINVAL when nothing is."""
    options = mount.options
    with paths.open_in_root(root, mount.destination, os.O_PATH) as target:
        mounts.mount_setattr(target, set=options.set, clear=options.clear)
        if options.recursive_set or options.recursive_clear:
            mounts.mount_setattr(target, set=options.recursive_set, clear=options.recursive_clear, recursive=True)


def _make_plain_directory(root: AnyFd, path: str) -> Fd:
    """`path` below `root`, made if missing. Raises StepFailed when it is no directory but leads to one."""
    try:
        return paths.openat2(
            root, path.lstrip("/"), os.O_PATH | os.O_DIRECTORY, paths.Resolve.BENEATH | paths.Resolve.NO_SYMLINKS
        )
    except FileNotFoundError:
        return paths.make_dirs_in_root(root, path)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise StepFailed(errno.ELOOP, f"filesystem at {path} must be mounted on ordinary directory") from None


def _bind(root: AnyFd, mount: PreparedMount) -> None:
    if mount.of:
        with _from_namespace(mount) as source:
            _attach(root, mount, source)
    elif mount.subpath:
        with Fd(os.open(mount.source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as whole:
            _bind_tree(root, mount, whole)
    else:
        with _source(mount) as source:
            _attach(root, mount, source)


def _from_namespace(mount: PreparedMount) -> Fd:
    """A copy of what is mounted at the source's path in another mount namespace; we are back in ours when it returns."""
    with (
        Fd(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as slash,
        Fd(os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)) as own,
        Fd(os.open(mount.of, os.O_RDONLY | os.O_CLOEXEC)) as other,
    ):
        setns(other, CloneFlag.NEWNS)
        try:
            return mounts.open_tree(AT_FDCWD, mount.source, clone=True, recursive=mount.options.recursive, follow=False)
        finally:
            setns(own, CloneFlag.NEWNS)
            # setns(2) has set our root to what lies topmost on it by now: the container's.
            os.fchdir(slash.fileno())
            os.chroot(".")


def _bind_tree(root: AnyFd, mount: PreparedMount, whole: Fd) -> None:
    """A detached tree, or a part of a directory: found without leaving it, whatever links lie there at this moment (S-05)."""
    if not mount.subpath:
        _attach(root, mount, whole)
        return
    try:
        part = paths.openat2(whole, mount.subpath, os.O_PATH, paths.Resolve.BENEATH | paths.Resolve.NO_MAGICLINKS)
    except OSError as error:
        path = f"{mount.source}/{mount.subpath}"
        text = f"cannot access path {path}: lstat {path}: {os.strerror(error.errno or errno.EIO).lower()}"
        raise StepFailed(error.errno or errno.EIO, text) from None
    with part, mounts.open_tree(part, "", clone=True, recursive=mount.options.recursive) as source:
        _attach(root, mount, source)


def _attach(root: AnyFd, mount: PreparedMount, source: Fd) -> None:
    """`source`, a detached tree, at the mount's place with its attributes."""
    options = mount.options
    is_directory = stat.S_ISDIR(os.fstat(source.fileno()).st_mode)
    try:
        target = paths.make_target_in_root(root, mount.destination, is_directory=is_directory)
    except IsADirectoryError as error:
        raise OSError(errno.ENOTDIR, f"mount a file on a directory: {error.strerror}") from None
    with target:
        _check_covered(target, mount)
        if mount.opened is None:
            # A mount that propagates could carry what the container mounts below it back to the host.
            mounts.mount_setattr(source, propagation=MountFlag.PRIVATE, recursive=True)
        if options.set or options.clear:
            mounts.mount_setattr(source, set=options.set, clear=options.clear)
        if options.recursive_set or options.recursive_clear:
            mounts.mount_setattr(source, set=options.recursive_set, clear=options.recursive_clear, recursive=True)
        mounts.move_mount(source, target)
        if mount.opened is None:
            _propagate(source, options)


def _source(mount: PreparedMount) -> Fd:
    """What is bound, as a detached mount."""
    opened, recursive = mount.opened, mount.options.recursive
    if opened is None:
        return mounts.open_tree(AT_FDCWD, mount.source, clone=True, recursive=recursive)
    try:
        # The kernel lists mounts by their age: this one stands where the spec has it.
        fresh = mounts.open_tree(opened, "", clone=True, recursive=True)
    except OSError:
        return opened  # what is detached can be copied since Linux 6.15, and only where it was opened
    opened.close()
    return fresh


def _propagate(mount: AnyFd, options: MountOptions) -> None:
    for flag, recursive in options.propagation:
        if flag != MountFlag.PRIVATE:
            mounts.mount_setattr(mount, propagation=flag, recursive=recursive)


class CgroupView:
    """What a container sees at /sys/fs/cgroup.

    v2: the hierarchy, through the container's own cgroup namespace when it has one. v1: a tmpfs with one bind mount for
    each hierarchy, of the container's own directory when it has no namespace (docker's default there).
    """

    def __init__(self, hierarchies: dict[str, str], *, unified: bool) -> None:
        """`hierarchies`: name of the v1 mount ("cpu,cpuacct") → directory on the host that the container sees."""
        self._hierarchies, self._unified = hierarchies, unified

    def mount(self, root: AnyFd, mount: PreparedMount) -> None:
        if self._unified:
            made = _hierarchy(mount)
        else:
            made = mounts.new_mount("tmpfs", {"source": "cgroup", "mode": "755", "size": "1m"})
        with made, _make_plain_directory(root, mount.destination) as target:
            mounts.move_mount(made, target)
            if self._unified:
                return
            for name, directory in self._hierarchies.items():
                # The tmpfs is ours alone until the program runs: names in it lead where we made them lead.
                os.mkdir(name, 0o755, dir_fd=made.fileno())
                with mounts.open_tree(AT_FDCWD, directory, clone=True) as shown:
                    mounts.move_mount(shown, made, name)
                for alias in name.split(",") if "," in name else ():
                    os.symlink(name, alias, dir_fd=made.fileno())
            # The tmpfs and each hierarchy at once: one that can be written to is a way out (CVE-2022-0492).
            mounts.mount_setattr(made, set=mount.options.set, recursive=True)


def _hierarchy(mount: PreparedMount) -> Fd:
    """Cgroup v2. Who owns no cgroup namespace may not mount it (cgroup_do_get_tree), and is in the host's: it is bound then."""
    try:
        return mounts.new_mount("cgroup2", {}, mount.options.set)
    except PermissionError:
        bound = mounts.open_tree(AT_FDCWD, "/sys/fs/cgroup", clone=True, recursive=True)
        mounts.mount_setattr(bound, set=mount.options.set, propagation=MountFlag.PRIVATE, recursive=True)
        return bound
