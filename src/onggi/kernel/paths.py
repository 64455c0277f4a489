"""Paths below a root that somebody else may change at any moment: resolved by the kernel, by descriptor.

A container, an image or a build context can hold any link, and can swap one for another while we look. So nothing here
joins strings and opens: openat2(2) resolves with the root as `/` (IN_ROOT) or refuses to leave it (BENEATH), and
directories are made and walked descriptor by descriptor. CVE-2021-30465, CVE-2019-14271, CVE-2024-45310.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from enum import IntFlag

from onggi.kernel import syscalls
from onggi.kernel.fds import AnyFd, Fd, number

_TRIES = 32
_MAX_LINKS = 40
"""As MAXSYMLINKS in include/linux/namei.h."""


class Resolve(IntFlag):
    """What a path may not do: openat2(2)."""

    NONE = 0
    NO_XDEV = 0x01
    NO_MAGICLINKS = 0x02
    NO_SYMLINKS = 0x04
    BENEATH = 0x08
    IN_ROOT = 0x10
    CACHED = 0x20


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(root: AnyFd, path: str | bytes, flags: int, resolve: Resolve, mode: int = 0) -> Fd:
    """Open `path` below `root`; `resolve` says what the path may not do. Close-on-exec always.

    Raises OSError: EXDEV path leaves `root`, ELOOP forbidden link. A lost race with a rename (EAGAIN) is tried 32 times.
    Source: openat2(2), Linux 5.6.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, int(resolve))
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise OSError(errno.EINVAL, f"open {path!r}: NUL in a path")
    for attempt in range(_TRIES):
        try:
            fd = syscalls.call(
                f"open {os.fsdecode(raw)}",
                syscalls.NR.openat2,
                number(root),
                raw,
                ctypes.byref(how),
                ctypes.sizeof(how),
            )
        except OSError as error:
            if error.errno != errno.EAGAIN or attempt == _TRIES - 1:
                raise
        else:
            return Fd(fd)
    raise AssertionError


def open_in_root(root: AnyFd, path: str | bytes, flags: int, mode: int = 0) -> Fd:
    """`path` as a process with `root` for its `/` would open it, but never through a magic link of /proc."""
    return openat2(root, path, flags, Resolve.IN_ROOT | Resolve.NO_MAGICLINKS, mode)


def make_dirs_in_root(root: AnyFd, path: str, mode: int = 0o755) -> Fd:
    """The directory `path` below `root` (O_PATH), made with its parents where they are missing.

    Links on the way are followed inside the root; one whose target doesn't exist is ENOENT, not a directory made at its
    target: runc's SecureJoin makes it, and CVE-2024-45310 is what came of that.
    Raises OSError: ENOTDIR, ELOOP, ENOENT.
    """
    current = open_in_root(root, ".", os.O_PATH | os.O_DIRECTORY)
    walked = ""
    for name in path.split("/"):
        if name in ("", "."):
            continue
        walked = f"{walked}/{name}"
        try:
            found = open_in_root(root, walked, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            if error.errno != errno.ENOENT or name == "..":
                raise
            try:
                os.mkdir(name, mode, dir_fd=current.fileno())
            except FileExistsError:
                pass
            found = openat2(current, name, os.O_PATH | os.O_DIRECTORY, Resolve.BENEATH | Resolve.NO_SYMLINKS)
        current.close()
        current = found
    return current


def make_file_in_root(root: AnyFd, path: str, mode: int = 0o644) -> Fd:
    """The regular file `path` below `root` (O_PATH), made empty with its parents where it is missing: a mount's target.

    Raises OSError: EISDIR when it is a directory.
    """
    try:
        found = open_in_root(root, path, os.O_PATH)
    except FileNotFoundError:
        directory, _, name = path.rstrip("/").rpartition("/")
        with make_dirs_in_root(root, directory) as parent:
            openat2(parent, name, os.O_CREAT | os.O_WRONLY, Resolve.BENEATH | Resolve.NO_SYMLINKS, mode).close()
            found = openat2(parent, name, os.O_PATH | os.O_NOFOLLOW, Resolve.BENEATH | Resolve.NO_SYMLINKS)
    if stat.S_ISDIR(os.fstat(found.fileno()).st_mode):
        found.close()
        raise OSError(errno.EISDIR, f"open {path}: is a directory")
    return found


def make_target_in_root(root: AnyFd, path: str, *, is_directory: bool = True) -> Fd:
    """What something is mounted on: the directory or the file `path` below `root` (O_PATH), made where it is missing.

    A link on the way that leads nowhere leads to what is made then, inside the root, as with runc and docker: images have
    such an /etc/localtime. Raises OSError.
    """
    make = make_dirs_in_root if is_directory else make_file_in_root
    try:
        return make(root, path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
    # Whatever the links are by now, the kernel finds and makes below the root (CVE-2024-45310).
    return make(root, _followed(root, path))


def _followed(root: AnyFd, path: str) -> str:
    """`path` with the links that are on it now replaced by what they lead to, there or not. Raises OSError ELOOP."""
    left, walked, links = path.split("/")[::-1], list[str](), 0
    while left:
        name = left.pop()
        if name == "..":
            walked = walked[:-1]
        elif name not in ("", "."):
            walked.append(name)
            target = _link_target(root, "/".join(walked))
            if target is not None:
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, f"open {path}: too many levels of symbolic links")
                walked = [] if target.startswith("/") else walked[:-1]
                left += target.split("/")[::-1]
    return "/" + "/".join(walked)


def _link_target(root: AnyFd, path: str) -> str | None:
    """None when there is no link at `path`."""
    try:
        with open_in_root(root, path, os.O_PATH | os.O_NOFOLLOW) as found:
            is_link = stat.S_ISLNK(os.fstat(found.fileno()).st_mode)
            return os.readlink("", dir_fd=found.fileno()) if is_link else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def reopen(fd: AnyFd, flags: int) -> Fd:
    """The same file with other flags: an O_PATH descriptor becomes one to read or write.

    Goes through our own /proc/self/fd, so it needs the host's procfs in sight.
    """
    return Fd(os.open(f"/proc/self/fd/{number(fd)}", flags | os.O_CLOEXEC))


def current_directory() -> str:
    """The getcwd system call's own answer: `(unreachable)/…` for a directory outside of the root, which libc hides.

    CVE-2024-21626 started processes in such a directory. Raises OSError.
    """
    buffer = ctypes.create_string_buffer(4096 + 16)
    length = syscalls.call("getcwd", syscalls.NR.getcwd, buffer, len(buffer))
    return os.fsdecode(buffer.raw[: length - 1])
