"""Options of the bridge driver, under docker's names. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from onggi.errors import InvalidArgument

_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
_BRIDGE = "com.docker.network.bridge."
BRIDGE_NAME = _BRIDGE + "name"
MTU = "com.docker.network.driver.mtu"
"""Option: bytes in a packet; 0 is the engine's choice."""


def option(options: Mapping[str, str], name: str, default: bool) -> bool:
    """A driver option such as com.docker.network.bridge.enable_icc."""
    text = options.get(name)
    return default if text is None else text in _TRUE


def check_options(options: Mapping[str, str]) -> None:
    """Raises InvalidArgument, in docker's words (which are Go's)."""
    for name in ("enable_icc", "enable_ip_masquerade", "default_bridge", "inhibit_ipv4"):
        text = options.get(_BRIDGE + name)
        if text is not None and text not in (*_TRUE, *_FALSE):
            problem = f'strconv.ParseBool: parsing "{text}": invalid syntax'
            raise InvalidArgument(f"failed to parse {_BRIDGE}{name} value: {text} ({problem})")
    text = options.get(MTU, "0")
    if not text.isascii() or not text.isdigit():
        raise InvalidArgument(f'failed to parse {MTU} value: {text} (strconv.Atoi: parsing "{text}": invalid syntax)')
    if int(text) > 65535:
        raise InvalidArgument(f"invalid MTU number: {text}")
