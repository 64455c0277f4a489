"""Annotations of an exporter's attributes: `annotation[-manifest|-index|-manifest-descriptor|-index-descriptor][os/arch].key`. Pure.

Source: moby buildkit exporter/containerimage/exptypes/annotations.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from onggi.errors import InvalidArgument
from onggi.oci.platform import Platform, parse_platform

_KEY: Final = re.compile(r"annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)")
_TYPES: Final = ("manifest", "manifest-descriptor", "index", "index-descriptor")

_Where = tuple[str, str]
"""What it is on, and the platform in words."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """By what they are on, and for which platform; an empty one means all."""

    found: dict[_Where, dict[str, str]] = field(default_factory=dict)

    def of(self, kind: str, platform: Platform | None = None) -> dict[str, str]:
        """Those on `kind`; for a manifest or its descriptor also those of its platform alone, which win."""
        return {**self.found.get((kind, ""), {}), **(self.found.get((kind, str(platform)), {}) if platform else {})}

    @property
    def need_index(self) -> bool:
        return any(kind.startswith("index") or kind == "manifest-descriptor" for kind, _ in self.found)

    def __bool__(self) -> bool:
        return bool(self.found)


def annotations_of(attrs: Mapping[str, str]) -> Annotations:
    """Raises InvalidArgument for a type that isn't known."""
    made = Annotations()
    for name, value in attrs.items():
        match = _KEY.fullmatch(name)
        if match is None:
            continue
        kind = match[1] or "manifest"
        if kind not in _TYPES:
            raise InvalidArgument(f"unrecognized annotation type {kind}")
        platform = str(parse_platform(match[2])) if match[2] else ""
        made.found.setdefault((kind, platform), {})[match[3]] = value
    return made
