"""The mount API by descriptor (fsopen(2), open_tree(2), move_mount(2), mount_setattr(2)) and the old one beside it.

A mount is made detached, prepared, and moved to a descriptor: no path is resolved twice, so nobody can swap it between.
Source: the man pages; fsopen family Linux 5.2, mount_setattr 5.12, overlayfs "lowerdir+" 6.7 (fs/overlayfs/params.c).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from enum import IntFlag

import msgspec

from onggi.kernel import syscalls
from onggi.kernel.fds import AnyFd, Fd, number
from onggi.kernel.namespaces import is_rootless

AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW = 0x100
AT_NO_AUTOMOUNT = 0x800
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8
_CLONE_NEWNS = 0x20000
_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_SET_FLAG, _SET_STRING, _CMD_CREATE = 0, 1, 6


class MountFlag(IntFlag):
    """mount(2)."""

    NONE = 0
    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    SYNCHRONOUS = 16
    REMOUNT = 32
    MANDLOCK = 64
    DIRSYNC = 128
    NOSYMFOLLOW = 256
    NOATIME = 1024
    NODIRATIME = 2048
    BIND = 4096
    MOVE = 8192
    REC = 16384
    SILENT = 32768
    POSIXACL = 1 << 16
    UNBINDABLE = 1 << 17
    PRIVATE = 1 << 18
    SLAVE = 1 << 19
    SHARED = 1 << 20
    RELATIME = 1 << 21
    I_VERSION = 1 << 23
    STRICTATIME = 1 << 24
    LAZYTIME = 1 << 25


class MountAttr(IntFlag):
    """Attributes of one mount: fsmount(2), mount_setattr(2)."""

    NONE = 0
    RDONLY = 0x1
    NOSUID = 0x2
    NODEV = 0x4
    NOEXEC = 0x8
    ATIME = 0x70
    NOATIME = 0x10
    STRICTATIME = 0x20
    NODIRATIME = 0x80
    IDMAP = 0x100000
    NOSYMFOLLOW = 0x200000


class _MountAttrStruct(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd"))


def mount(source: str | None, target: str, fstype: str | None, flags: MountFlag, data: str | None = None) -> None:
    """mount(2). For targets that nobody else can change: paths of ours, or /proc/self/fd/N."""
    words = [os.fsencode(word) if word is not None else None for word in (source, target, fstype)]
    syscalls.call(
        f"mount {fstype or source} on {target}", syscalls.NR.mount, *words, int(flags), data.encode() if data else None
    )


def umount2(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2). Raises OSError: EINVAL no mount point, EBUSY without MNT_DETACH."""
    syscalls.call(f"umount {target}", syscalls.NR.umount2, os.fsencode(target), flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2). With "." for both, the old root ends up stacked on the new one, to be unmounted (man page, notes)."""
    syscalls.call("pivot_root", syscalls.NR.pivot_root, os.fsencode(new_root), os.fsencode(put_old))


def open_tree(directory: AnyFd, path: str, *, clone: bool = False, recursive: bool = False, follow: bool = True) -> Fd:
    """`path` as a mount: the one that is there, or a detached copy of it (with what is mounted below if `recursive`)."""
    flags = OPEN_TREE_CLOEXEC | AT_NO_AUTOMOUNT | (0 if path else AT_EMPTY_PATH)
    flags |= OPEN_TREE_CLONE if clone else 0
    flags |= AT_RECURSIVE if clone and recursive else 0
    flags |= 0 if follow else AT_SYMLINK_NOFOLLOW
    return Fd(syscalls.call(f"open_tree {path}", syscalls.NR.open_tree, number(directory), os.fsencode(path), flags))


def move_mount(mount_fd: AnyFd, target: AnyFd, path: str = "") -> None:
    """Attaches the detached mount `mount_fd` on `path` below `target`, or on `target` itself."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | (0 if path else MOVE_MOUNT_T_EMPTY_PATH)
    syscalls.call(
        f"move_mount to {path or 'descriptor'}", syscalls.NR.move_mount,
        number(mount_fd), b"", number(target), os.fsencode(path), flags,
    )  # fmt: skip


def fsopen(fstype: str) -> Fd:
    """A context for a new file system. Raises OSError ENODEV when the kernel doesn't have it."""
    return Fd(syscalls.call(f"fsopen {fstype}", syscalls.NR.fsopen, fstype.encode(), _FSOPEN_CLOEXEC))


def _fsconfig(context: AnyFd, command: int, key: str | None, value: bytes | None, aux: int) -> None:
    step = f"fsconfig {key or 'create'}"
    try:
        syscalls.call(step, syscalls.NR.fsconfig, number(context), command, key.encode() if key else None, value, aux)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}{_messages(context)}") from None


def _messages(context: AnyFd) -> str:
    """What the file system says of the failure, from the context's log (fsopen(2))."""
    lines: list[str] = []
    while len(lines) < 8:
        try:
            line = os.read(number(context), 1024)
        except OSError:
            break
        lines.append(line.decode(errors="replace").strip())
    return f" ({'; '.join(lines)})" if lines else ""


def fsconfig_string(context: AnyFd, key: str, value: str) -> None:
    _fsconfig(context, _SET_STRING, key, os.fsencode(value), 0)


def fsconfig_flag(context: AnyFd, key: str) -> None:
    _fsconfig(context, _SET_FLAG, key, None, 0)


def fsconfig_create(context: AnyFd) -> None:
    _fsconfig(context, _CMD_CREATE, None, None, 0)


def fsmount(context: AnyFd, attributes: MountAttr = MountAttr.NONE) -> Fd:
    """The context's file system as a detached mount."""
    return Fd(syscalls.call("fsmount", syscalls.NR.fsmount, number(context), _FSMOUNT_CLOEXEC, int(attributes)))


def new_mount(
    fstype: str, options: Mapping[str, str | None] | None = None, attributes: MountAttr = MountAttr.NONE
) -> Fd:
    """A detached mount of a new file system; an option without a value is a flag."""
    with fsopen(fstype) as context:
        for key, value in (options or {}).items():
            if value is None:
                fsconfig_flag(context, key)
            else:
                fsconfig_string(context, key, value)
        fsconfig_create(context)
        return fsmount(context, attributes)


def overlay(
    lower: Sequence[str],
    upper: str | None,
    work: str | None,
    *,
    options: Mapping[str, str | None] | None = None,
    own_namespace: bool = False,
) -> Fd:
    """Overlay of `lower` (topmost first) with `upper` over them, as a detached mount; read-only without `upper`.

    Layers go in one at a time where the kernel can (6.7): mount(2) stops at one page of options, about 30 layers.
    Older kernels get that page, with descriptors for paths: about 240 layers. `own_namespace`: the caller is alone in its
    mount namespace, which goes soon. Raises OSError with the file system's own words.
    """
    options = dict(options or {})
    if is_rootless():
        # trusted.* is for the host's root (overlayfs.rst, "User xattr"; Linux 5.11). Redirects are off with it by themselves,
        # and refused by name (ovl_fs_params_verify).
        options = {key: value for key, value in options.items() if key != "redirect_dir"} | {"userxattr": None}
    if not _takes_layers_singly():
        return _overlay_by_page(lower, upper, work, options, own_namespace=own_namespace)
    with fsopen("overlay") as context:
        for directory in lower:
            fsconfig_string(context, "lowerdir+", directory)
        if upper and work:
            fsconfig_string(context, "upperdir", upper)
            fsconfig_string(context, "workdir", work)
        for key, value in options.items():
            fsconfig_flag(context, key) if value is None else fsconfig_string(context, key, value)
        fsconfig_create(context)
        return fsmount(context)


@functools.cache
def _takes_layers_singly() -> bool:
    """Whether overlayfs knows "lowerdir+". One from before its move to this API takes any word, and refuses in the end."""
    with fsopen("overlay") as context:
        try:
            fsconfig_string(context, "no-such-option", "")
        except OSError:
            with contextlib.suppress(OSError):
                fsconfig_string(context, "lowerdir+", "/")
                return True
        return False


def _overlay_by_page(
    lower: Sequence[str], upper: str | None, work: str | None, options: Mapping[str, str | None], *, own_namespace: bool
) -> Fd:
    """mount(2) has to put it somewhere: on the topmost layer, in a mount namespace that nobody else sees.

    fsconfig(2) is no help on these kernels: it takes 256 bytes of a value (SYSCALL fsconfig in fs/fsopen.c).
    """
    words = [key if value is None else f"{key}={value}" for key, value in options.items() if key != "source"]

    def make() -> Fd:
        # Opened here: overlayfs takes directories of the calling namespace only (clone_private_mount in fs/namespace.c).
        with contextlib.ExitStack() as opened:

            def short(path: str) -> str:
                fd = opened.enter_context(Fd(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)))
                return f"/proc/self/fd/{fd.fileno()}"

            above = [f"upperdir={short(upper)}", f"workdir={short(work)}"] if upper and work else []
            data = ",".join([f"lowerdir={':'.join(map(short, lower))}", *above, *words])
            mount("overlay", lower[0], "overlay", MountFlag.NONE, data)
            with Fd(os.open(lower[0], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as top:
                return open_tree(top, "", clone=True)

    return make() if own_namespace else in_a_namespace_of_its_own(make)


def in_a_namespace_of_its_own(make: Callable[[], Fd]) -> Fd:
    """A thread for it: unshare(2) with CLONE_NEWNS is for the calling thread alone, and descriptors are for all."""
    import threading

    results: list[Fd | OSError] = []

    def run() -> None:
        try:
            syscalls.call("unshare", syscalls.NR.unshare, _CLONE_NEWNS)
            mount(None, "/", None, MountFlag.REC | MountFlag.PRIVATE)
            results.append(make())
        except OSError as error:
            results.append(error)

    thread = threading.Thread(target=run, name="mount")
    thread.start()
    thread.join()
    if isinstance(results[0], OSError):
        raise results[0]
    return results[0]


def mount_setattr(
    mount_fd: AnyFd,
    *,
    set: MountAttr = MountAttr.NONE,
    clear: MountAttr = MountAttr.NONE,
    propagation: MountFlag = MountFlag.NONE,
    recursive: bool = False,
    userns: AnyFd | None = None,
) -> None:
    """Changes attributes of a mount, and of all below it if `recursive`, at once or not at all.

    Raises OSError: EPERM for a locked flag, EINVAL.
    """
    attr = _MountAttrStruct(int(set), int(clear), int(propagation), 0 if userns is None else number(userns))
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscalls.call(
        "mount_setattr", syscalls.NR.mount_setattr,
        number(mount_fd), b"", flags, ctypes.byref(attr), ctypes.sizeof(attr),
    )  # fmt: skip


class Mount(msgspec.Struct, frozen=True):
    """A line of /proc/PID/mountinfo (proc_pid_mountinfo(5))."""

    id: int
    parent: int
    device: str
    root: str
    target: str
    options: str
    optional: tuple[str, ...]
    fstype: str
    source: str
    super_options: str


def _unescape(text: str) -> str:
    """What mangle() in fs/proc_namespace.c escapes; the backslash last, since it begins the others."""
    for escaped, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\043", "#"), ("\\134", "\\")):
        text = text.replace(escaped, plain)
    return text


def mountinfo(pid: int | str = "self") -> list[Mount]:
    """Mounts of the namespace of `pid`, in their order."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
    found = []
    for line in text.split("\n")[:-1]:  # splitlines would also split at what a path may contain
        left, _, right = line.partition(" - ")
        words, (fstype, source, *rest) = left.split(" "), right.split(" ")
        found.append(
            Mount(
                int(words[0]), int(words[1]), words[2], _unescape(words[3]), _unescape(words[4]), words[5],
                tuple(words[6:]), fstype, _unescape(source), rest[0] if rest else "",
            )
        )  # fmt: skip
    return found
