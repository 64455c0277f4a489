"""--log-driver and --log-opt: which there are, and what they say."""

from __future__ import annotations

import re

from onggi.engine.config import LogConfig
from onggi.errors import InvalidArgument

_SIZE = re.compile(r"(-1|\d+(?:\.\d+)?)\s*([kmgtKMGT]?)[iI]?[bB]?")
_OPTIONS = frozenset(
    {"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"}
)
DRIVERS = ("json-file", "none")


def parse_size(text: str) -> int:
    """Bytes; -1 without limit. Raises InvalidArgument."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise InvalidArgument(f"invalid size: '{text}'")
    return int(float(found[1]) * 1024 ** " kmgt".index(found[2].lower() or " "))


def check(log: LogConfig) -> None:
    """Raises InvalidArgument for a driver or an option that isn't there."""
    if log.type not in DRIVERS:
        raise InvalidArgument(f"logger: no log driver named '{log.type}' is registered")
    if log.type == "none":
        return
    for name in log.config:
        if name not in _OPTIONS:
            raise InvalidArgument(f"unknown log opt '{name}' for json-file log driver")
    parse_size(log.config.get("max-size", "-1"))
    count = log.config.get("max-file", "1")
    if not count.isdigit() or int(count) < 1:
        raise InvalidArgument("max-file must be a positive number")
    if int(count) > 1 and "max-size" not in log.config:
        raise InvalidArgument("max-file: need max-size as well, without it nothing is rotated")
