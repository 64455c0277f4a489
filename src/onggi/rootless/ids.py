"""Which ids a user may map: its own as root, those of /etc/subuid and /etc/subgid as all others.

Source: subuid(5), newuidmap(1).
"""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from typing import Final

from onggi.errors import OnggiError
from onggi.kernel.userns import IdMaps, IdRange

WANTED: Final = 65536
"""Ids that images use: 0 to 65535."""


@dataclass(frozen=True, slots=True)
class Person:
    """An ordinary user."""

    name: str
    uid: int
    gid: int


def this_person() -> Person:
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Person(name, uid, os.getegid())


def maps_of(person: Person) -> IdMaps:
    """Raises OnggiError, with the command that mends it."""
    missing = [program for program in ("newuidmap", "newgidmap") if shutil.which(program) is None]
    if missing:
        raise OnggiError(f"rootless: {' and '.join(missing)} not found (Debian: sudo apt install uidmap)")
    return IdMaps(
        _map(person, person.uid, "/etc/subuid", "--add-subuids"),
        _map(person, person.gid, "/etc/subgid", "--add-subgids"),
    )


def _map(person: Person, own: int, path: str, flag: str) -> tuple[IdRange, ...]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError:
        text = ""
    ranges = ranges_for(text, person)
    if sum(size for _, size in ranges) < WANTED - 1:
        raise OnggiError(
            f"rootless: {path} gives {person.name} fewer than {WANTED} ids, which images need "
            f"(sudo usermod {flag} {free_from(text)}-{free_from(text) + WANTED - 1} {person.name})"
        )
    found, inside = [IdRange(0, own, 1)], 1
    for first, size in ranges:
        found.append(IdRange(inside, first, size))
        inside += size
    return tuple(found)


def ranges_for(text: str, person: Person) -> list[tuple[int, int]]:
    """(first, size) of the lines that are this user's, by name or by number."""
    found = []
    for line in text.splitlines():
        owner, *numbers = line.strip().split(":")
        if owner in (person.name, str(person.uid)) and len(numbers) == 2 and all(map(str.isdecimal, numbers)):
            found.append((int(numbers[0]), int(numbers[1])))
    return found


def free_from(text: str) -> int:
    """First id from 100000 on that no line gives to anybody."""
    ends = [100000]
    for line in text.splitlines():
        numbers = line.split(":")[1:]
        if len(numbers) == 2 and all(map(str.isdecimal, numbers)):
            ends.append(int(numbers[0]) + int(numbers[1]))
    return max(ends)
