"""Who a process runs as: docker's `user[:group]`, looked up in the container's own passwd and group.

glibc's functions would load modules that the container's nsswitch.conf names (CVE-2019-14271), so the files are read
here: regular files only, never blocking, at most 4 MiB. Ids are 0 to 2^31-1 (CVE-2024-40635: more overflowed to root).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

import msgspec

from onggi.errors import InvalidArgument
from onggi.kernel.fds import AnyFd
from onggi.kernel.paths import open_in_root
from onggi.oci.runtime import User

MAX_BYTES = 4 << 20
MAX_ID = 2**31 - 1
_MAX_DIGITS = 20
_OUT_OF_RANGE = "uids and gids must be in range 0-2147483647"


class Identity(msgspec.Struct, frozen=True):
    """Ids of a process, its extra groups (the primary one among them, as docker has it), and its home directory."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def read_lines(root: AnyFd, path: str) -> list[list[str]]:
    """Fields of each line of a passwd-like file below `root`; none when it is missing or no regular file."""
    try:
        with open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY) as fd:
            if not stat.S_ISREG(os.fstat(fd.fileno()).st_mode):
                return []
            content = b""
            while len(content) < MAX_BYTES and (piece := os.read(fd.fileno(), MAX_BYTES - len(content))):
                content += piece
    except OSError:
        return []
    return [line.split(":") for line in content.decode("utf-8", "replace").split("\n") if line and line[0] != "#"]


def identify(root: AnyFd, given: User, user: str, groups: list[str], *, home: bool) -> Identity:
    """Docker's `user` and `groups` if there are any, else the numbers of the spec. `home`: the home directory is asked for."""
    if user or groups:
        text = user or str(given.uid)
        return lookup(text, groups, read_lines(root, "/etc/passwd"), read_lines(root, "/etc/group"))
    for number in (given.uid, given.gid, *given.additional_gids):
        if not 0 <= number <= MAX_ID:
            raise InvalidArgument(_OUT_OF_RANGE)
    passwd = read_lines(root, "/etc/passwd") if home else []
    found = lookup(str(given.uid), [], passwd, []).home
    return Identity(given.uid, given.gid, tuple(given.additional_gids), found)


def _id(text: str) -> int | None:
    """The number, or None when it is a name. Raises InvalidArgument for one out of range."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        return None
    # Longer ones can't be in range, and int() has a limit of its own.
    value = int(text) if len(text) <= _MAX_DIGITS else -1
    if not 0 <= value <= MAX_ID:
        raise InvalidArgument(_OUT_OF_RANGE)
    return value


def lookup(user: str, groups: Iterable[str], passwd: list[list[str]], group: list[list[str]]) -> Identity:
    """`user` is name|uid[:group|gid] or empty for root; `groups` are names or numbers to be added.

    Numbers need no entry. Raises InvalidArgument in docker's words.
    """
    name, _, group_name = user.partition(":")
    wanted = 0 if not name else _id(name)
    entry = next(
        (e for e in passwd if len(e) >= 6 and (e[0] == name or (wanted is not None and e[2] == str(wanted)))), None
    )
    if wanted is None and entry is None:
        raise InvalidArgument(f"unable to find user {name}: no matching entries in passwd file")
    uid = _number_field(entry, 2) if entry and wanted is None else wanted or 0
    gid = _number_field(entry, 3) if entry else 0
    if group_name:
        gid = _group(group_name, group)
    extra = [] if group_name else _memberships(entry[0] if entry else "", group)
    extra += [_group(text, group) for text in groups]
    home = entry[5] if entry and entry[5] else "/"
    return Identity(uid, gid, tuple(dict.fromkeys([gid, *extra])), home)


def _number_field(entry: list[str], at: int) -> int:
    number = _id(entry[at])
    if number is None:
        raise InvalidArgument(f"unable to find user {entry[0]}: its passwd entry has no number")
    return number


def _group(text: str, group: list[list[str]]) -> int:
    number = _id(text)
    if number is not None:
        return number
    for entry in group:
        if len(entry) >= 3 and entry[0] == text and entry[2].isdigit():
            return _id(entry[2]) or 0
    raise InvalidArgument(f"unable to find group {text}: no matching entries in group file")


def _memberships(name: str, group: list[list[str]]) -> list[int]:
    if not name:
        return []
    return [
        int(e[2]) for e in group if len(e) >= 4 and e[2].isdigit() and int(e[2]) <= MAX_ID and name in e[3].split(",")
    ]
