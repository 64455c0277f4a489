"""Which proxy leads to a URL: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, read as Go's programs read them, so that one setting serves all.

Source: golang.org/x/net/http/httpproxy. Python's own reading of NO_PROXY knows no networks, and takes a name's end for the name.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import Final

from yarl import URL

from onggi.errors import InvalidArgument

_PORTS: Final = {"http": 80, "https": 443}


def proxy_for(url: URL, environment: Mapping[str, str] = os.environ) -> URL | None:
    """Its address with user and password, if it has them. Raises InvalidArgument for a variable that names no proxy."""
    wanted = _value(environment, f"{url.scheme}_proxy")
    host = (url.host or "").rstrip(".").lower()
    address = _address(host)
    if not wanted or host == "localhost" or (address and address.is_loopback):
        return None
    port = url.port or _PORTS[url.scheme]
    if any(_matches(entry, host, port) for entry in _value(environment, "no_proxy").lower().split(",")):
        return None
    try:
        proxy = URL(wanted if "://" in wanted else f"http://{wanted}")
        named = proxy.host and proxy.scheme in _PORTS
    except ValueError:
        named = None
    if not named:
        raise InvalidArgument(f"{url.scheme.upper()}_PROXY names no http or https proxy")
    return proxy


def _value(environment: Mapping[str, str], name: str) -> str:
    """Upper case counts before lower case, as in Go."""
    return (environment.get(name.upper()) or environment.get(name) or "").strip()


def _matches(entry: str, host: str, port: int) -> bool:
    """`entry` of NO_PROXY: *, a network, an address or a name, each but the first two with a port of its own if it likes.

    example.com stands for itself and what is below it, .example.com and *.example.com for what is below it alone.
    """
    entry = entry.strip()
    if entry == "*":
        return True
    if "/" in entry:
        address = _address(host)
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, _, its_port = entry.rpartition(":") if _has_port(entry) else (entry, "", "")
    if not name or (its_port and its_port != str(port)):
        return False
    name = name.strip("[]").removeprefix("*")
    if name == host:
        return True
    return _address(host) is None and host.endswith(name if name.startswith(".") else f".{name}")


def _has_port(entry: str) -> bool:
    return entry.count(":") == 1 or "]:" in entry


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
