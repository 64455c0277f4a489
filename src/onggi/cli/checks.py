"""Closer looks at one value of a flag while flags are read: the text to keep, or ValueError with docker's reason.

Source: docker/cli opts/ (which values are refused, and in which words); what only the engine can judge passes.
"""

from __future__ import annotations

import ipaddress
import re

from onggi.cli import mountwords
from onggi.cli.units import parse_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[str], str | int]


def _parsed_by(read: Callable[[str], object]) -> Check:
    """The text itself, once `read` can make something of it."""

    def check(text: str) -> str:
        read(text)
        return text

    return check


def _env(text: str) -> str:
    if not text.partition("=")[0]:
        raise ValueError(f"invalid environment variable: {text}")
    return text


def _label(text: str) -> str:
    key = text.partition("=")[0].lstrip(" \t")
    if not key:
        raise ValueError(f"invalid label '{text}': empty name")
    if set(" \t") & set(key):
        raise ValueError(f"label '{key}' contains whitespaces")
    return text


def _filter(text: str) -> str:
    if text and "=" not in text:
        raise ValueError("bad format of filter (expected name=value)")
    return text


def _stream(text: str) -> str:
    if text.lower() not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


def _extra_host(text: str) -> str:
    """`name:ip` and `name=ip`; an IPv6 address may stand in brackets. Kept as name:ip, the API's form."""
    name, separator, address = text.partition("=")
    if not separator:
        name, separator, address = text.partition(":")
    if not separator or not name:
        raise ValueError(f'bad format for add-host: "{text}"')
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address != "host-gateway":
        _address(address, f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def _address(text: str, refusal: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise ValueError(refusal) from None


def _dns(text: str) -> str:
    return _address(text, f"IP address is not correctly formatted: {text}")


_DOMAIN = re.compile(r"(:?(:?[a-zA-Z0-9]|(:?[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9]))(:?\.(:?[a-zA-Z0-9]|(:?[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])))*)\.?\s*$")  # fmt: skip
"""Names of RFC 1123 with dots between them, as docker takes them for a search list."""


def _domain(text: str) -> str:
    found = _DOMAIN.match(text.strip(" "))
    if text.strip(" ") == ".":
        return "."
    if not found or not re.search("[a-zA-Z]", text) or len(found[1]) >= 255:
        raise ValueError(f"{text} is not a valid domain")
    return found[1]


def _link(text: str) -> str:
    if not text:
        raise ValueError("empty string specified for links")
    if text.count(":") > 1:
        raise ValueError(f"bad format for links: {text}")
    return text


_SYSCTLS = {f"kernel.{name}" for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")}  # fmt: skip


def _sysctl(text: str) -> str:
    name, separator, _ = text.partition("=")
    if not separator or not (name in _SYSCTLS or name.startswith(("net.", "fs.mqueue."))):
        raise ValueError(f"sysctl '{text}' is not allowed")
    return text


def _cgroup_rule(text: str) -> str:
    if not re.fullmatch(r"[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}", text):
        raise ValueError(f"invalid device cgroup format '{text}'")
    return text


def _device_value(text: str) -> str:
    path, separator, value = text.partition(":")
    if not separator or not path:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return value


def _swap(text: str) -> int:
    """-1 is no limit."""
    return -1 if text == "-1" else parse_bytes(text)


def _bytes_rate(text: str) -> str:
    try:
        good = parse_bytes(_device_value(text)) >= 0
    except ValueError as error:
        if str(error).startswith("bad format"):
            raise
        good = False
    if not good:
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. "
            "Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )
    return text


def _count_rate(text: str) -> str:
    if not _device_value(text).isdigit():
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer"
        )
    return text


def _weight(text: str) -> str:
    value = _device_value(text)
    if not value.isdigit() or not (value == "0" or 10 <= int(value) <= 1000):
        raise ValueError(f"invalid weight for device: {text}")
    return text


def _ip(text: str) -> str:
    return _address(text, f'failed to parse IP: "{text}"')


def _network_address(text: str) -> str:
    try:
        ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"invalid string being converted to CIDR: {text}") from None
    return text


CHECKS: dict[str, Check] = {
    "attach": _stream, "bps": _bytes_rate, "cgroup-rule": _cgroup_rule, "cidr": _network_address, "dns": _dns, "domain": _domain,
    "env": _env, "filter": _filter, "gpu-request": _parsed_by(mountwords.gpus), "host": _extra_host, "iops": _count_rate,
    "ip": _ip, "label": _label, "link": _link, "mount": _parsed_by(mountwords.mount), "network": _parsed_by(mountwords.network),
    "swap": _swap, "sysctl": _sysctl, "ulimit": _parsed_by(mountwords.ulimit), "weight": _weight,
}  # fmt: skip
