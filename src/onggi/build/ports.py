"""EXPOSE: `80`, `80/udp`, `8000-8010/tcp`. Pure; texts are BuildKit's (dockerfile2llb/convert_expose.go)."""

from __future__ import annotations

import ipaddress

from onggi.errors import InvalidArgument


def exposed(word: str) -> list[str]:
    """`port/protocol` of each port in a word. Raises InvalidArgument."""
    address, host, rest = _parts(word)
    port, _, protocol = rest.partition("/")
    if not port:
        raise InvalidArgument(f'invalid port: "{word}": no port specified')
    if protocol.lower() not in ("", "tcp", "udp", "sctp"):
        raise InvalidArgument(f'invalid port: "{word}": invalid proto: {protocol}')
    if address and not _is_address(address.strip("[]")):
        raise InvalidArgument(f"invalid IP address: {address}")
    first, last = _range(port, "containerPort")
    if host:
        host_first, host_last = _range(host, "hostPort")
        if last - first != host_last - host_first and last != first:
            raise InvalidArgument(f"invalid ranges specified for container and host Ports: {port} and {host}")
    return [f"{number}/{protocol.lower() or 'tcp'}" for number in range(first, last + 1)]


def protocol_of(word: str) -> str:
    """As it was written."""
    return word.rpartition("/")[2] if "/" in word else ""


def is_mapping(word: str) -> bool:
    """Whether the word names an address or a port of the host, which EXPOSE has no use for."""
    return ":" in word


def _parts(word: str) -> tuple[str, str, str]:
    """Address, port of the host, and the rest."""
    head, colon, rest = word.rpartition(":")
    if not colon:
        return "", "", word
    address, _, host = head.rpartition(":")
    return address, host, rest


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _range(text: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = [first, last if dash else first]
    if not all(number.isascii() and number.isdigit() and len(number) < 6 for number in numbers):
        raise InvalidArgument(f"invalid {what}: {text}")
    begin, end = int(numbers[0]), int(numbers[1])
    if not begin <= end <= 65535:
        raise InvalidArgument(f"invalid {what}: {text}")
    return begin, end
