"""User namespaces: writing their id maps, and namespaces that are made for their map alone.

Source: user_namespaces(7), newuidmap(1).
"""

from __future__ import annotations

import _signal as signal  # lean.py
import itertools
import os
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from onggi.errors import InvalidArgument
from onggi.kernel import capabilities
from onggi.kernel.clone import CloneFlag, clone3
from onggi.kernel.fds import Fd
from onggi.kernel.process import pidfd_send_signal

_SETIDS: Final = 1 << capabilities.CAPS["CAP_SETUID"] | 1 << capabilities.CAPS["CAP_SETGID"]
_MAX_ID: Final = 2**32 - 1


class IdRange(NamedTuple):
    """`size` ids from `inside` on in the namespace are those from `outside` on in its parent."""

    inside: int
    outside: int
    size: int


class IdMaps(msgspec.Struct, frozen=True):
    """The two maps of a namespace."""

    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]

    def denies_setgroups(self) -> bool:
        """Whether the kernel takes these maps only with setgroups(2) forbidden inside: no right but to one's own ids."""
        return not _may_map() and _is_own(self.gids, os.getegid()) and _is_own(self.uids, os.geteuid())


def check(ranges: Sequence[IdRange], what: str, *, needs_root: bool) -> None:
    """Raises InvalidArgument for what no kernel takes: an empty range, two that overlap; and if asked for no id 0 inside."""
    for start in ("inside", "outside"):
        spans = sorted((getattr(entry, start), entry.size) for entry in ranges)
        for (first, size), (following, _) in itertools.pairwise(spans):
            if first + size > following:
                raise InvalidArgument(f"{what}: ranges overlap at {following}")
    if any(entry.size <= 0 or min(entry) < 0 or max(entry) > _MAX_ID for entry in ranges):
        raise InvalidArgument(f"{what}: a range is empty or not of 32 bits")
    if needs_root and not any(entry.inside <= 0 < entry.inside + entry.size for entry in ranges):
        raise InvalidArgument(f"{what}: container id 0 is not mapped, and nobody could make the container's root")


def outside(ranges: Sequence[IdRange], inside: int) -> int:
    """The id in the parent namespace. Raises InvalidArgument when it isn't mapped."""
    for entry in ranges:
        if 0 <= inside - entry.inside < entry.size:
            return entry.outside + inside - entry.inside
    raise InvalidArgument(f"id {inside} is not mapped in the user namespace")


def write_maps(pid: int, maps: IdMaps) -> None:
    """Both maps of the new namespace that `pid` lives in; newuidmap(1) and newgidmap(1) where we have no right to.

    Raises OSError with the file's or the program's name.
    """
    if _may_map():
        _write(f"/proc/{pid}/uid_map", _text(maps.uids))
        _write(f"/proc/{pid}/gid_map", _text(maps.gids))
    elif maps.denies_setgroups():
        _write(f"/proc/{pid}/uid_map", _text(maps.uids))
        # Before the map: an unprivileged process must not be able to leave a group that it is kept out by (CVE-2014-8989).
        _write(f"/proc/{pid}/setgroups", b"deny")
        _write(f"/proc/{pid}/gid_map", _text(maps.gids))
    else:
        _run("newuidmap", pid, maps.uids)
        _run("newgidmap", pid, maps.gids)


def _may_map() -> bool:
    return capabilities.get_caps().effective & _SETIDS == _SETIDS


def _is_own(ranges: tuple[IdRange, ...], own: int) -> bool:
    return len(ranges) == 1 and ranges[0].size == 1 and ranges[0].outside == own


def _text(ranges: tuple[IdRange, ...]) -> bytes:
    return b"".join(b"%d %d %d\n" % entry for entry in ranges)


def _write(path: str, content: bytes) -> None:
    """One write(2): the kernel takes a map whole, and once."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, content)
        finally:
            os.close(fd)
    except OSError as error:
        raise OSError(error.errno, f"write {os.path.basename(path)}: {error.strerror}") from None


def _run(program: str, pid: int, ranges: tuple[IdRange, ...]) -> None:
    words = [program, str(pid), *(str(number) for entry in ranges for number in entry)]
    try:
        child = os.posix_spawnp(program, words, os.environ)
    except FileNotFoundError:
        raise OSError(2, f"{program}: not installed (Debian: uidmap), and these ids aren't this user's own") from None
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise OSError(1, f"{program}: refused; /etc/subuid and /etc/subgid must give this user the ranges of the spec")


def namespace(maps: IdMaps) -> Fd:
    """A namespace with these maps and no process in it, for idmapped mounts (mount_setattr(2), Linux 5.12)."""
    born = clone3(CloneFlag.NEWUSER)
    if born is None:
        try:
            signal.pause()
        finally:
            os._exit(0)
    pid, pidfd = born
    with pidfd:
        try:
            write_maps(pid, maps)
            return Fd(os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC))
        finally:
            pidfd_send_signal(pidfd, signal.SIGKILL)
            os.waitpid(pid, 0)
