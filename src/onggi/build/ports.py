"""EXPOSE: `80`, `80/udp`, `8000-8010/tcp`. Pure."""

from __future__ import annotations

import re
from typing import Final

from onggi.errors import InvalidArgument

_PORT: Final = re.compile(
    r"(?:(?P<ip>[^:]*):)?(?:(?P<host>[0-9-]*):)?(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?(?:/(?P<proto>[A-Za-z]+))?"
)


def exposed(word: str) -> list[str]:
    """`port/protocol` of each port in a word. Raises InvalidArgument in docker's words."""
    match = _PORT.fullmatch(word)
    if match is None:
        raise InvalidArgument(f"Invalid containerPort: {word}")
    first = int(match["first"])
    last = int(match["last"] or first)
    protocol = (match["proto"] or "tcp").lower()
    if protocol not in ("tcp", "udp", "sctp"):
        raise InvalidArgument(f"Invalid proto: {match['proto']}")
    if not first <= last <= 65535:
        raise InvalidArgument(f"Invalid containerPort: {word}")
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def protocol_of(word: str) -> str:
    """As it was written."""
    return word.rpartition("/")[2] if "/" in word else ""


def is_mapping(word: str) -> bool:
    """Whether the word names an address or a port of the host, which EXPOSE has no use for."""
    return ":" in word
