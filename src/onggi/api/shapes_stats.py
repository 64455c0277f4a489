"""Stats as older versions had them. Pure."""

from __future__ import annotations

from typing import Any


def stats_at(sample: dict[str, Any], version: int) -> dict[str, Any]:
    """1.52 tells the system that the sample is from."""
    if version < 52:
        sample.pop("os_type", None)
    return sample
