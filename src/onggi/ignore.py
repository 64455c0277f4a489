"""`.dockerignore` and COPY --exclude: which paths are left out. Pure; moby/patternmatcher's rules.

The last pattern that fits a path, or a directory above it, decides; `!` takes it in again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from onggi.errors import InvalidArgument
from onggi.globs import Glob

_PATTERNS_LIMIT: Final = 10_000


def clean(path: str) -> str:
    """Go's path.Clean: no empty parts, no `.`, and `..` only at the beginning of a relative path."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part == ".." and path.startswith("/"):
            continue
        elif part not in ("", "."):
            parts.append(part)
    joined = "/".join(parts)
    return f"/{joined}" if path.startswith("/") else joined or "."


def read_ignore_file(data: bytes) -> list[str]:
    """The patterns of a .dockerignore, cleaned. Source: moby/patternmatcher/ignorefile."""
    patterns: list[str] = []
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n")):
        text = line.removeprefix("\ufeff") if number == 0 else line
        if text.startswith("#"):
            continue
        text = text.strip()
        if not text:
            continue
        negated = text.startswith("!")
        text = text[1:].strip() if negated else text
        if text:
            text = clean(text)
            if len(text) > 1:
                text = text.removeprefix("/")
        patterns.append(f"!{text}" if negated else text)
    return patterns


@dataclass(frozen=True, slots=True)
class _Pattern:
    glob: Glob
    negated: bool


class IgnoreRules:
    """Patterns in their order. Raises InvalidArgument for one that can't be read."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns: list[_Pattern] = []
        for pattern in patterns:
            text = pattern.strip()
            if not text:
                continue
            negated = text.startswith("!")
            if negated and len(text) == 1:
                raise InvalidArgument('illegal exclusion pattern: "!"')
            text = clean(text[1:] if negated else text)
            self._patterns.append(_Pattern(Glob(text.removeprefix("/") or ".", deep=True), negated))
        if len(self._patterns) > _PATTERNS_LIMIT:
            raise InvalidArgument(f"{len(self._patterns)} ignore patterns (at most {_PATTERNS_LIMIT})")

    def __bool__(self) -> bool:
        return bool(self._patterns)

    @property
    def has_exceptions(self) -> bool:
        """Whether a pattern lets something in again."""
        return any(pattern.negated for pattern in self._patterns)

    @property
    def ignores_everything(self) -> bool:
        """Whether a pattern by itself leaves out all that the root holds."""
        return any(pattern.glob.matches("any") and pattern.glob.matches("other") for pattern in self._patterns)

    def ignores(self, path: str) -> bool:
        """Whether `path`, relative to the root and clean, is left out."""
        above = [path[:at] for at, letter in enumerate(path) if letter == "/"]
        ignored = False
        for pattern in self._patterns:
            # A pattern that can't change the answer needn't be looked at.
            if pattern.negated == ignored and any(pattern.glob.matches(each) for each in (path, *above)):
                ignored = not pattern.negated
        return ignored

    def may_keep_below(self, path: str) -> bool:
        """Whether something in the ignored directory `path` could be let through: without `!` nothing can."""
        return any(pattern.negated for pattern in self._patterns) and bool(path)
