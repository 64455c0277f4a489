"""How registries are spoken to, and under which addresses."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final

from onggi.oci.reference import DEFAULT_DOMAIN

_HUB: Final = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """`insecure`: hosts (with port) and networks in CIDR form that may do without TLS; loopback always may. Times in seconds."""

    insecure: list[str] = field(default_factory=list)
    mirrors: list[str] = field(default_factory=list)
    """URLs that are asked for docker.io's images first."""
    downloads: int = 3
    uploads: int = 5
    tries: int = 5
    backoff_s: float = 1.0
    """Before the second try; doubled for each further one."""
    connect_s: float = 15.0
    stall_s: float = 60.0
    """Without a byte for so long, a connection counts as dead."""
    certificates: str = "/etc/docker/certs.d"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server for a repository. `scheme` is "" when both may be tried, https first."""

    host: str
    scheme: str = "https"
    insecure: bool = False
    is_mirror: bool = False

    @property
    def schemes(self) -> tuple[str, ...]:
        return (self.scheme,) if self.scheme else ("https", "http")


def endpoints(domain: str, options: RegistryOptions) -> list[Endpoint]:
    """Where a repository of `domain` is found: mirrors first, the origin last."""
    if domain != DEFAULT_DOMAIN:
        return [_endpoint(domain, options)]
    return [*(_mirror(url, options) for url in options.mirrors), Endpoint(_HUB)]


def _endpoint(host: str, options: RegistryOptions, *, is_mirror: bool = False) -> Endpoint:
    insecure = is_insecure(host, options.insecure)
    return Endpoint(host, "" if insecure else "https", insecure, is_mirror)


def _mirror(url: str, options: RegistryOptions) -> Endpoint:
    scheme, separator, rest = url.partition("://")
    host = (rest if separator else scheme).rstrip("/")
    if separator and scheme == "http":
        return Endpoint(host, "http", insecure=True, is_mirror=True)
    return _endpoint(host, options, is_mirror=True)


def is_insecure(host: str, listed: list[str]) -> bool:
    """By name, or by address: literal ones only, since a name's address is whatever DNS says today."""
    if host in listed:
        return True
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    name = name.strip("[]")
    if name == "localhost" or name in listed:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or any(address in network for network in _networks(listed))


def _networks(listed: list[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(entry, strict=False) for entry in listed if "/" in entry]
