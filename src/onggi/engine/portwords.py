"""Ports as create bodies write them: `80/tcp`, host ports and ranges of them. Pure."""

from __future__ import annotations

import ipaddress
import re

from onggi.engine.config import PortBinding
from onggi.errors import InvalidArgument

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
_PROTOCOLS = frozenset({"tcp", "udp", "sctp"})


def check(bindings: dict[str, list[PortBinding] | None] | None) -> None:
    """Raises InvalidArgument in dockerd's words."""
    for key, wanted in (bindings or {}).items():
        port, _, protocol = key.partition("/")
        if (protocol or "tcp").lower() not in _PROTOCOLS:
            raise InvalidArgument(f'invalid port specification: "{key}"')
        if not 0 < _first(port) <= 65535 or "-" in port:
            raise InvalidArgument(f'invalid port specification: "{port}"')
        for binding in wanted or ():
            if binding.host_port and _first(binding.host_port) < 0:
                raise InvalidArgument(f'invalid port specification: "{binding.host_port}"')
            if binding.host_ip and not _is_address(binding.host_ip):
                raise InvalidArgument(f"invalid IP address: {binding.host_ip}")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _first(text: str) -> int:
    """The port, or the first of a range; -1 for what is neither."""
    found = _RANGE.fullmatch(text)
    if not found:
        return -1
    first, last = int(found[1]), int(found[2] or found[1])
    return first if first <= last <= 65535 else -1
