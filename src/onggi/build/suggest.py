"""`did you mean …`: the nearest of some words, when it is near enough. Pure; BuildKit's measure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_NEAR: Final = 2
_LENGTH_LIMIT: Final = 40
"""Longer words have no near one: the distance costs the product of the lengths."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """` (did you mean x?)`, or nothing."""
    best = nearest(word, known)
    return f" (did you mean {best}?)" if best else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The word itself, or nothing."""
    if len(word) > _LENGTH_LIMIT:
        return ""
    # Of two that are as near, the one that begins alike.
    ranked = [(_distance(word, each), each[:1] != word[:1], each) for each in known if len(each) <= _LENGTH_LIMIT]
    distance, _, best = min(ranked, default=(0, False, ""))
    return best if 0 < distance <= _NEAR else ""


def _distance(one: str, other: str) -> int:
    """Levenshtein's: letters to put in, to take out or to change."""
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        before, row[0] = row[0], number
        for at, each in enumerate(other, 1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (letter != each))
    return row[-1]
