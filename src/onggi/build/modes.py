"""`--chmod`: octal, or chmod(1)'s words (`u=rwX,go=rX`, `+x`, `g=u`). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from onggi.errors import InvalidArgument

_OCTAL: Final = re.compile(r"[0-7]{1,5}")
_CLAUSE: Final = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION: Final = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFT: Final = {"u": 6, "g": 3, "o": 0}
_TEXT_LIMIT: Final = 256


@dataclass(frozen=True, slots=True)
class Mode:
    """`octal`, or clauses of (who, [(operator, permissions)])."""

    octal: int | None
    clauses: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()

    def apply(self, mode: int, *, directory: bool) -> int:
        if self.octal is not None:
            return self.octal
        for who, actions in self.clauses:
            for operator, permissions in actions:
                mode = _act(mode, who or "ugo", operator, permissions, directory=directory)
        return mode


def check_mode(text: str) -> None:
    """Raises InvalidArgument for what `parse` doesn't take."""
    parse(text)


def parse(text: str) -> Mode:
    """Raises InvalidArgument."""
    if _OCTAL.fullmatch(text) and int(text, 8) <= 0o7777:
        return Mode(int(text, 8))
    clauses = []
    if len(text) > _TEXT_LIMIT:
        raise InvalidArgument("invalid chmod parameter: too long")
    for part in text.split(","):
        match = _CLAUSE.fullmatch(part)
        if match is None:
            raise InvalidArgument(
                f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
            )
        who = match[1].replace("a", "ugo")
        clauses.append((who, tuple((m[1], m[2]) for m in _ACTION.finditer(match[2]))))
    return Mode(None, tuple(clauses))


def _act(mode: int, who: str, operator: str, permissions: str, *, directory: bool) -> int:
    for each in dict.fromkeys(who):
        shift = _SHIFT[each]
        bits = _bits(mode, permissions, directory=directory) << shift
        special = 0
        if "s" in permissions:
            special |= {"u": 0o4000, "g": 0o2000, "o": 0}[each]
        if "t" in permissions:
            special |= 0o1000
        if operator == "=":
            mode &= ~(0o7 << shift)
            if not directory:
                mode &= ~{"u": 0o4000, "g": 0o2000, "o": 0o1000}[each]
        if operator == "-":
            mode &= ~(bits | special)
        else:
            mode |= bits | special
    return mode


def _bits(mode: int, permissions: str, *, directory: bool) -> int:
    if permissions in _SHIFT:
        return mode >> _SHIFT[permissions] & 0o7
    bits = 0
    for letter in permissions:
        match letter:
            case "r":
                bits |= 4
            case "w":
                bits |= 2
            case "x":
                bits |= 1
            case "X" if directory or mode & 0o111:
                bits |= 1
            case _:
                pass
    return bits
