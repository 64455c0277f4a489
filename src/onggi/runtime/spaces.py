"""The namespaces of a container: which are new, which are entered by path, whose ids are whose, how the clocks differ.

Read and checked before the clone; `enter` is the child's first step. The order is the point:
1. the parent writes the id maps, which the child waits for: without them it is nobody;
2. clocks: offsets can be set only as long as nobody lives in the namespace (time_namespaces(7));
3. root of the user namespace: what is made from now on belongs to it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import Final

from onggi.errors import InvalidArgument
from onggi.kernel import capabilities, process, userns
from onggi.kernel.clone import CloneFlag
from onggi.kernel.fds import Fd
from onggi.kernel.namespaces import NamespaceKind
from onggi.kernel.userns import IdMaps, IdRange
from onggi.oci.runtime import IdMapping, Linux
from onggi.runtime.steps import ChildLink, StepFailed

_ORDER: Final = (
    CloneFlag.NEWUSER, CloneFlag.NEWPID, CloneFlag.NEWIPC, CloneFlag.NEWUTS, CloneFlag.NEWNET, CloneFlag.NEWTIME,
    CloneFlag.NEWCGROUP, CloneFlag.NEWNS,
)  # fmt: skip
"""Joined in this order: the user namespace gives the rights to the others; after mount our own paths are gone."""

_USER: Final = CloneFlag.NEWUSER.value
_TIME: Final = CloneFlag.NEWTIME.value
_CLOCKS: Final = ("monotonic", "boottime")


class Spaces:
    """`new` flags, `joined` descriptors with their flags, `maps` of a new user namespace.

    `has_user`: the container's ids are not the runtime's, whether the namespace is new or joined.
    """

    __slots__ = ("denies_setgroups", "has_user", "joined", "maps", "new", "offsets")

    def __init__(self, linux: Linux) -> None:
        """Raises StepFailed, InvalidArgument, OSError."""
        self.joined: list[tuple[Fd, CloneFlag]] = []
        self.maps: IdMaps | None = None
        self.offsets = b""
        self.denies_setgroups = False
        seen = new = 0  # plain numbers: an IntFlag's operators are functions, and a start waits for this
        for namespace in linux.namespaces:
            flag = _flag(namespace.type)
            number = flag.value
            if seen & number:
                raise StepFailed(errno.EINVAL, f"malformed spec file: duplicated ns {namespace.type!r}")
            seen |= number
            if not namespace.path:
                new |= number
            elif _is_ours(namespace.path, namespace.type):
                seen &= ~number
            else:
                self.joined.append((_open(namespace.path, flag), flag))
        self.new = CloneFlag(new)
        self.joined.sort(key=lambda entry: _ORDER.index(entry[1]))
        self.has_user = bool(seen & _USER)
        if self.has_user or linux.uid_mappings or linux.gid_mappings:
            self._read_maps(linux)
        if seen & _TIME or linux.time_offsets:
            self._read_offsets(linux, has_time=bool(seen & _TIME))

    def _read_maps(self, linux: Linux) -> None:
        if not self.has_user:
            raise InvalidArgument("user namespace mappings specified, but user namespace isn't enabled in the config")
        if not self.new & CloneFlag.NEWUSER:
            return  # the one that is joined has its own
        if not linux.uid_mappings or not linux.gid_mappings:
            raise InvalidArgument("a new user namespace needs uidMappings and gidMappings")
        self.maps = id_maps(linux.uid_mappings, linux.gid_mappings)
        self.denies_setgroups = self.maps.denies_setgroups()

    def _read_offsets(self, linux: Linux, *, has_time: bool) -> None:
        if not os.path.exists("/proc/self/ns/time"):
            raise StepFailed(errno.ENOTSUP, "time namespaces aren't enabled in the kernel")
        if not linux.time_offsets:
            return
        if not self.new & CloneFlag.NEWTIME:
            what = "isn't new" if has_time else "isn't enabled in the config"
            raise InvalidArgument(f"time namespace offsets specified, but time namespace {what}")
        for clock, offset in linux.time_offsets.items():
            if clock not in _CLOCKS:
                raise InvalidArgument(f"timeOffsets: the clock {clock!r} has no offset")
            self.offsets += b"%s %d %d\n" % (clock.encode(), offset.get("secs", 0), offset.get("nanosecs", 0))

    def has_own(self, kind: NamespaceKind) -> bool:
        """A new one, or another container's: not the host's."""
        return bool(self.new & kind.flag) or any(flag == kind.flag for _, flag in self.joined)

    def capabilities(self) -> int:
        """What can be given to a process: all in a user namespace of its own, else what we have ourselves."""
        return -1 if self.has_user else capabilities.get_caps().permitted

    @property
    def clone_flags(self) -> CloneFlag:
        """What the clone makes. The child makes the two others: cgroup once it is in its own, time before anybody lives there."""
        return self.new & ~(CloneFlag.NEWCGROUP | CloneFlag.NEWTIME)

    @property
    def through(self) -> list[tuple[Fd, CloneFlag]]:
        """What a process in between joins before the clone, and the child is born into.

        A new user namespace has no rights to namespaces that were there before it; and what is new must belong to the
        user namespace that is joined. Without one the child joins itself, and saves the process.
        """
        return self.joined if self.has_user else []

    def enter(self, link: ChildLink) -> None:
        """The child's first step, see above."""
        if self.maps is not None:
            link.wait_mapped()
        if self.new & CloneFlag.NEWTIME:
            self._enter_time()
        if self.has_user:
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)

    def join(self) -> None:
        """What the child joins itself."""
        for fd, flag in self.joined:
            if not self.has_user and flag != CloneFlag.NEWPID:
                process.setns(fd, flag)
            fd.close()

    def _enter_time(self) -> None:
        process.unshare(CloneFlag.NEWTIME)
        if self.offsets:
            fd = os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, self.offsets)
            except OSError as error:
                raise OSError(error.errno, f"time offsets: {os.strerror(error.errno or errno.EIO)}") from None
            finally:
                os.close(fd)
        with Fd(os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)) as own:
            process.setns(own, CloneFlag.NEWTIME)

    def close(self) -> None:
        """The descriptors of what is joined, in the parent."""
        for fd, _ in self.joined:
            fd.close()


def id_maps(uids: list[IdMapping], gids: list[IdMapping], *, needs_root: bool = True) -> IdMaps:
    """The spec's mappings. Raises InvalidArgument."""
    maps = IdMaps(*(tuple(IdRange(m.container_id, m.host_id, m.size) for m in each) for each in (uids, gids)))
    userns.check(maps.uids, "uidMappings", needs_root=needs_root)
    userns.check(maps.gids, "gidMappings", needs_root=needs_root)
    return maps


_FLAGS: Final = {kind.value: kind.flag for kind in NamespaceKind}


def _flag(name: str) -> CloneFlag:
    try:
        return _FLAGS[name]
    except KeyError:
        raise StepFailed(errno.EINVAL, f"unknown namespace type {name!r}") from None


def _is_ours(path: str, kind: str) -> bool:
    """Not one to be entered: a root must not be pivoted in the host's mount namespace, and the kernel refuses some anew."""
    own = f"/proc/self/ns/{NamespaceKind(kind).proc_name}"
    return os.path.exists(path) and os.path.samefile(path, own)


_NS_GET_NSTYPE: Final = 0xB703
"""ioctl_nsfs(2), Linux 4.11."""


def _open(path: str, flag: CloneFlag) -> Fd:
    try:
        fd = Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        raise OSError(error.errno, f"namespace {path}: {os.strerror(error.errno or errno.EIO).lower()}") from None
    try:
        fits = stat.S_ISREG(os.fstat(fd.fileno()).st_mode) and fcntl.ioctl(fd.fileno(), _NS_GET_NSTYPE) == flag
    except OSError:
        fits = False
    if not fits:
        raise StepFailed(errno.EINVAL, f"{path} is no namespace of the type that the spec gives it")
    return fd
