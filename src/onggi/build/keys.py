"""What makes a step the step that it is: labelled parts, whose digest is its key. Pure.

The labels are for who asks why a step was made anew: the part that differs is named.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepKey:
    """`parts` are (label, value); values are text, numbers, bytes and tuples of them."""

    parts: tuple[tuple[str, object], ...]

    @property
    def digest(self) -> str:
        return _digest(self.parts)

    def digests(self) -> dict[str, str]:
        """Of each part, short: two keys are compared by them."""
        return {label: _digest(value)[:16] for label, value in self.parts}

    def with_parts(self, *parts: tuple[str, object]) -> StepKey:
        return StepKey((*self.parts, *parts))


def step_key(*parts: tuple[str, object]) -> StepKey:
    return StepKey(parts)


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode("utf-8", "surrogatepass")).hexdigest()
