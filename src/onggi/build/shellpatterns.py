"""`*` and `?` in `${x#p}`, `${x%p}` and `${x/p/r}`: no bracket classes, as in BuildKit.

Linear for patterns without `?`: a pattern is cut at its stars into fragments, and each is looked for once. A first fragment that
can't be followed by the others at its leftmost place can't be at any later one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from onggi.errors import InvalidArgument

PATTERN_LIMIT: Final = 1024
"""Characters of a pattern. A fragment with `?` costs its length for each place where it may stand (S-26)."""


@dataclass(frozen=True, slots=True)
class _Fragment:
    """What stands between two stars: a literal text, or with `?` a regular expression of fixed length."""

    text: str
    length: int
    expression: re.Pattern[str] | None

    def find(self, value: str, start: int) -> int:
        if self.expression is None:
            return value.find(self.text, start)
        found = self.expression.search(value, start)
        return found.start() if found else -1

    def rfind(self, value: str, start: int) -> int:
        """The last place at or after `start`."""
        if self.expression is None:
            return value.rfind(self.text, start)
        return next((at for at in range(len(value) - self.length, start - 1, -1) if self.at(value, at)), -1)

    def at(self, value: str, start: int) -> bool:
        if self.expression is None:
            return value.startswith(self.text, start)
        return self.expression.match(value, start) is not None


def _fragments(pattern: str) -> list[_Fragment]:
    """Raises InvalidArgument."""
    if len(pattern) > PATTERN_LIMIT:
        raise InvalidArgument(f"a pattern of {len(pattern)} characters in a substitution (at most {PATTERN_LIMIT})")
    fragments: list[_Fragment] = []
    parts: list[str | None] = []
    letters = iter(pattern)
    for letter in letters:
        if letter == "*":
            fragments.append(_fragment(parts))
            parts = []
        elif letter == "?":
            parts.append(None)
        elif letter == "\\":
            escaped = next(letters, "")
            if escaped not in ("*", "?", "\\", "}", "/"):
                raise InvalidArgument(f"invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")
            parts.append(escaped)
        else:
            parts.append(letter)
    fragments.append(_fragment(parts))
    return fragments


def _fragment(parts: list[str | None]) -> _Fragment:
    if None not in parts:
        text = "".join(part or "" for part in parts)
        return _Fragment(text, len(text), None)
    expression = "".join("." if part is None else re.escape(part) for part in parts)
    return _Fragment("", len(parts), re.compile(expression, re.DOTALL))


def _end(fragments: list[_Fragment], value: str, start: int, *, greedy: bool) -> int | None:
    """Where the match that begins at `start` ends, the nearest place or (greedy) the farthest; None when there is none."""
    if not fragments[0].at(value, start):
        return None
    position = start + fragments[0].length
    for number, fragment in enumerate(fragments[1:], 2):
        last = number == len(fragments)
        if last and not fragment.length:
            return len(value) if greedy else position
        found = fragment.rfind(value, position) if last and greedy else fragment.find(value, position)
        if found < 0:
            return None
        position = found + fragment.length
    return position


def trim_prefix(pattern: str, value: str, *, greedy: bool) -> str:
    """`${value#pattern}`, greedy: `##`. Raises InvalidArgument."""
    end = _end(_fragments(pattern), value, 0, greedy=greedy)
    return value if end is None else value[end:]


def trim_suffix(pattern: str, value: str, *, greedy: bool) -> str:
    """`${value%pattern}`, greedy: `%%`. Raises InvalidArgument."""
    fragments = _fragments(pattern)
    mirrored = [
        _Fragment(f.text[::-1], f.length, f.expression and re.compile(_mirrored(f.expression.pattern), re.DOTALL))
        for f in reversed(fragments)
    ]
    end = _end(mirrored, value[::-1], 0, greedy=greedy)
    return value if end is None else value[: len(value) - end]


def _mirrored(expression: str) -> str:
    return "".join(reversed(re.findall(r"\\.|[^\\]", expression, re.DOTALL)))


def replace(pattern: str, replacement: str, value: str, *, every: bool) -> str:
    """`${value/pattern/replacement}`, every: `//`. Longest match first. Raises InvalidArgument."""
    fragments = _fragments(pattern)
    done: list[str] = []
    position = 0
    while position <= len(value) and pattern:
        start = fragments[0].find(value, position)
        end = None if start < 0 else _end(fragments, value, start, greedy=True)
        if end is None:
            break
        done += [value[position:start], replacement]
        if end == start:
            # An empty match: the letter after it is passed over, so that the search goes on.
            done.append(value[start : start + 1])
            end += 1
        position = end
        if not every:
            break
    return "".join(done) + value[position:]
