"""What a request over TCP must show before it's looked at (S-65). Pure.

A web page in a browser on this machine can reach a loopback port: through its own origin (CSRF) or through a name of
its own that answers 127.0.0.1 (DNS rebinding). Browsers always say `Origin` on such posts, and can't forge `Host`.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping

from onggi.errors import Forbidden


class HostGuard:
    """Accepts requests whose Host is an address, localhost, this machine's name, or one of `names`.

    `any_host`: TLS has checked the client, and names of the engine are its certificate's matter; pages are refused still.
    """

    def __init__(self, names: frozenset[str] = frozenset(), *, any_host: bool = False) -> None:
        self._names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}
        self._any_host = any_host

    def check(self, headers: Mapping[str, str]) -> None:
        """Raises Forbidden."""
        if "Origin" in headers or headers.get("Sec-Fetch-Site", "none") not in ("none", ""):
            raise Forbidden("requests from web pages are refused")
        host = _host_of(headers.get("Host", ""))
        if self._any_host or host in self._names:
            return
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise Forbidden("the request's Host is no name of this engine") from None


def _host_of(header: str) -> str:
    """The host of a Host header, without port and brackets."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")
