"""--userns-remap: containers whose root is an ordinary user of the host, with ids that /etc/subuid and /etc/subgid give.

Nothing is chowned: the engine's files are mounted with mapped ids (kernel/mappedlayers.py), so the data root is one for
containers with and without a user namespace.
"""

from __future__ import annotations

import grp
import pwd
from typing import Final

from onggi.engine.config import HostConfig
from onggi.errors import InvalidArgument
from onggi.kernel.userns import IdMaps, IdRange
from onggi.rootless.ids import Person, ranges_for

DEFAULT_USER: Final = "dockremap"
"""Whose ids `default` means, as with dockerd."""
SUBUID: Final = "/etc/subuid"
SUBGID: Final = "/etc/subgid"


def maps_of(text: str) -> IdMaps | None:
    """`default`, or `USER[:GROUP]`, names or numbers. Raises InvalidArgument for who isn't there or has no ids of others."""
    if not text:
        return None
    user, _, group = (f"{DEFAULT_USER}:{DEFAULT_USER}" if text == "default" else text).partition(":")
    who = _user(user)
    whose = _group(group) if group else who
    if who.uid == 0:
        return None  # root as itself is no user namespace
    return IdMaps(_ranges(who, SUBUID), _ranges(whose, SUBGID))


def of_container(maps: IdMaps | None, host: HostConfig) -> IdMaps | None:
    """Those of one container: none with --userns=host."""
    return None if host.userns_mode == "host" else maps


def check(maps: IdMaps | None, host: HostConfig) -> None:
    """What root of a user namespace can't be given. Raises InvalidArgument in dockerd's words."""
    if of_container(maps, host) is None:
        return
    for is_given, text in (
        (host.privileged, "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode"),
        (host.network_mode == "host", "cannot share the host's network namespace when user namespaces are enabled"),
        (host.pid_mode == "host", "cannot share the host PID namespace when user namespaces are enabled"),
    ):  # fmt: skip
        if is_given:
            raise InvalidArgument(text)


def _user(text: str) -> Person:
    try:
        entry = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
    except (KeyError, OverflowError):
        raise InvalidArgument(f"userns-remap: no user {text} (sudo useradd --system {text or 'NAME'})") from None
    return Person(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _group(text: str) -> Person:
    """As the owner of lines in /etc/subgid."""
    try:
        entry = grp.getgrgid(int(text)) if text.isdecimal() else grp.getgrnam(text)
    except (KeyError, OverflowError):
        raise InvalidArgument(f"userns-remap: no group {text}") from None
    return Person(entry.gr_name, entry.gr_gid, entry.gr_gid)


def _ranges(who: Person, path: str) -> tuple[IdRange, ...]:
    try:
        with open(path, encoding="utf-8") as file:
            ranges = ranges_for(file.read(), who)
    except OSError:
        ranges = []
    if not ranges:
        raise InvalidArgument(
            f"userns-remap: {path} gives {who.name} no ids (add a line such as {who.name}:100000:65536, ids that nobody else has)"
        )
    found, inside = [], 0
    for first, size in ranges:
        found.append(IdRange(inside, first, size))
        inside += size
    return tuple(found)
