"""Patterns for paths: Go's filepath.Match (COPY) and moby's patternmatcher (.dockerignore, --exclude), in linear time.

Patterns come from strangers, so nothing here backtracks (S-26): a pattern is a row of elements, the places in it that a path may have
reached are bits of one integer, and each letter of the path moves all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from onggi.errors import InvalidArgument

PATTERN_LIMIT: Final = 4096
PATH_LIMIT: Final = 16 * 1024

_WILD: Final = frozenset("*?[\\")


def has_wildcard(pattern: str) -> bool:
    """As docker's COPY decides it: a backslash makes the letter after it plain."""
    letters = iter(pattern)
    for letter in letters:
        if letter == "\\":
            next(letters, "")
        elif letter in "*?[":
            return True
    return False


def split_pivot(pattern: str) -> tuple[str, str]:
    """A source of COPY --parents: what stands before its first `/./`, which the destination doesn't get, and what after it."""
    before, found, after = pattern.partition("/./")
    return (before, after) if found else ("", pattern)


def steps_of(pattern: str) -> list[str]:
    """The elements of a path or pattern, without those that lead nowhere."""
    return [part for part in pattern.split("/") if part not in ("", ".")]


@dataclass(frozen=True, slots=True)
class _Element:
    """One letter of a path that fits: `letters` or `ranges`, or with `negated` any other; never a slash unless said so."""

    letter: str = ""
    ranges: tuple[tuple[str, str], ...] = ()
    negated: bool = False
    many: bool = False
    deep: bool = False
    """With `many`: slashes too."""

    def accepts(self, letter: str) -> bool:
        if self.letter:
            return letter == self.letter
        if letter == "/" and not self.deep:
            return False
        if not self.ranges:
            return True
        return any(low <= letter <= high for low, high in self.ranges) != self.negated


class Glob:
    """A compiled pattern. `deep`: `**` is any number of directories. Raises InvalidArgument on a bad pattern."""

    def __init__(self, pattern: str, *, deep: bool) -> None:
        if len(pattern) > PATTERN_LIMIT:
            raise InvalidArgument(f"a pattern of {len(pattern)} characters (at most {PATTERN_LIMIT})")
        self.pattern = pattern
        self.literal = None if _WILD & set(pattern) else pattern
        self._elements: list[_Element] = []
        self._skips = 0
        """Bits of `**` that, with the slash after it, may be nothing at all."""
        self._compile(deep=deep)
        self._many = sum(1 << at for at, element in enumerate(self._elements) if element.many)
        self._accepts: dict[str, int] = {}

    def matches(self, path: str) -> bool:
        """Whether all of `path` fits."""
        if self.literal is not None:
            return path == self.literal
        if len(path) > PATH_LIMIT:
            return False
        places = self._closed(1, 0)
        for letter in path:
            fitting = places & self._accepting(letter)
            stay = fitting & self._many
            places = self._closed((fitting & ~stay) << 1, stay)
            if not places:
                return False
        return bool(places >> len(self._elements) & 1)

    def _closed(self, reached: int, stayed: int) -> int:
        """With the places that are reached without a letter: past a star, past a `**/` in which no letter was taken yet."""
        places = reached | stayed | (reached & self._skips) << 2
        return places | (places & self._many) << 1

    def _accepting(self, letter: str) -> int:
        found = self._accepts.get(letter)
        if found is None:
            found = sum(1 << at for at, element in enumerate(self._elements) if element.accepts(letter))
            if len(self._accepts) < 512:
                self._accepts[letter] = found
        return found

    def _compile(self, *, deep: bool) -> None:
        pattern = self.pattern
        at = 0
        while at < len(pattern):
            letter = pattern[at]
            at += 1
            if letter == "*":
                start = at - 1
                while pattern[at : at + 1] == "*":
                    at += 1
                at = self._star(deep=deep and at - start > 1, at=at)
            elif letter == "?":
                self._elements.append(_Element())
            elif letter == "[":
                at = self._class(at)
            elif letter == "\\":
                if at == len(pattern):
                    raise self._bad()
                self._elements.append(_Element(pattern[at]))
                at += 1
            else:
                self._elements.append(_Element(letter))

    def _star(self, *, deep: bool, at: int) -> int:
        elements = self._elements
        if not deep:
            if not (elements and elements[-1].many):
                elements.append(_Element(many=True))
            return at
        if self.pattern[at : at + 1] != "/":
            if elements and elements[-1].many:
                elements.pop()
            elements.append(_Element(many=True, deep=True))
            return at
        # `**/` twice says no more than once.
        if len(elements) < 2 or not self._skips >> (len(elements) - 2) & 1:
            self._skips |= 1 << len(elements)
            elements += (_Element(many=True, deep=True), _Element("/"))
        return at + 1

    def _class(self, at: int) -> int:
        pattern = self.pattern
        negated = pattern[at : at + 1] == "^"
        at += negated
        ranges: list[tuple[str, str]] = []
        while True:
            if pattern[at : at + 1] == "]" and ranges:
                break
            low, at = self._class_letter(at)
            high = low
            if pattern[at : at + 1] == "-":
                high, at = self._class_letter(at + 1)
            ranges.append((low, high))
        self._elements.append(_Element(ranges=tuple(ranges), negated=negated))
        return at + 1

    def _class_letter(self, at: int) -> tuple[str, int]:
        letter = self.pattern[at : at + 1]
        if not letter or letter in "-]":
            raise self._bad()
        if letter == "\\":
            at += 1
            letter = self.pattern[at : at + 1]
            if not letter:
                raise self._bad()
        return letter, at + 1

    def _bad(self) -> InvalidArgument:
        return InvalidArgument(f'syntax error in pattern "{self.pattern}"')
