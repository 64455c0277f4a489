"""API versions: which ones are served, and what a path asks for.

A version is the number after `1.`: 43 stands for 1.43. There never was a version outside 1.x.
"""

from __future__ import annotations

import re
from typing import Final

from onggi.errors import InvalidArgument

OLDEST: Final = 24
NEWEST: Final = 55
ENGINE_VERSION: Final = "28.5.2"
"""The dockerd whose behaviour is offered: clients compare it with what they need. onggi's own stands in /version too."""

_versioned = re.compile(r"/v([0-9]+)(?:\.([0-9]+))?[0-9.]*(/.*)").fullmatch


def text_of(version: int) -> str:
    return f"1.{version}"


def split_version(path: str) -> tuple[int, str]:
    """Version asked for and the path without it; no prefix asks for the newest.

    Raises InvalidArgument in dockerd's words, which docker's CLI and docker-py show to people.
    """
    if not path.startswith("/v"):
        return NEWEST, path
    match = _versioned(path)
    if match is None:
        return NEWEST, path
    major, minor = int(match[1]), int(match[2] or 0)
    if (major, minor) < (1, OLDEST):
        raise InvalidArgument(
            f"client version {major}.{minor} is too old. Minimum supported API version is {text_of(OLDEST)}, "
            "please upgrade your client to a newer version"
        )
    if (major, minor) > (1, NEWEST):
        raise InvalidArgument(
            f"client version {major}.{minor} is too new. Maximum supported API version is {text_of(NEWEST)}"
        )
    return minor, match[3]
