"""Under which addresses a registry's images are found, and how each of them is spoken to. Read anew for each request of a client."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, replace
from typing import Final

from onggi.images.hosts import Host, read_hosts
from onggi.images.options import RegistryOptions
from onggi.oci.reference import DEFAULT_DOMAIN

_HUB: Final = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server for a repository. `scheme` is "" when both may be tried, https first; `root` is the path of its API."""

    host: str
    scheme: str = "https"
    insecure: bool = False
    is_mirror: bool = False
    """Of somebody else than the registry: it gets no credentials, and what fails there is asked of the next one."""
    root: str = "/v2"
    namespace: str = ""
    """Whose images a mirror is asked for (`ns`, dist-spec "Registry Proxying")."""
    pulls: bool = True
    pushes: bool = True
    authorities: tuple[str, ...] = ()
    clients: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    connect_s: float = 0.0
    """How long a connection may take; 0: as for all."""

    @property
    def schemes(self) -> tuple[str, ...]:
        return (self.scheme,) if self.scheme else ("https", "http")


def endpoints(domain: str, options: RegistryOptions) -> list[Endpoint]:
    """Where a repository of `domain` is found: mirrors first, the origin last. Raises InvalidArgument for a hosts.toml that is none.

    A hosts.toml takes the place of all else that is known of the registry (moby's mergeLegacyConfig).
    """
    if hosts := read_hosts(options.certificates, domain):
        return [_told(host, domain) for host in hosts[:-1]] + [_told(hosts[-1], "")]
    if domain != DEFAULT_DOMAIN:
        return [_endpoint(domain, options)]
    return [*(_mirror(url, options) for url in options.mirrors), _endpoint(_HUB, options, DEFAULT_DOMAIN)]


def _told(host: Host, mirrored: str) -> Endpoint:
    return Endpoint(
        host.address, host.scheme, host.skip_verify or host.scheme == "http", bool(mirrored), host.root, mirrored, host.pulls, host.pushes,
        host.authorities, host.clients, host.headers, host.dial_timeout_s,
    )  # fmt: skip


def _endpoint(host: str, options: RegistryOptions, folder: str = "") -> Endpoint:
    insecure = is_insecure(host, options.insecure)
    authorities, clients = _certificates(os.path.join(options.certificates, folder or host))
    return Endpoint(host, "" if insecure else "https", insecure, authorities=authorities, clients=clients)


def _mirror(url: str, options: RegistryOptions) -> Endpoint:
    scheme, separator, rest = url.partition("://")
    host, slash, path = (rest if separator else scheme).rstrip("/").partition("/")
    root = slash + path.removesuffix("/v2") + "/v2"
    if separator and scheme == "http":
        return Endpoint(host, "http", insecure=True, is_mirror=True, root=root, pushes=False)
    return replace(_endpoint(host, options), is_mirror=True, root=root, pushes=False)


def _certificates(directory: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Docker's layout: *.crt are authorities, *.cert what we show, each with its *.key, or with the key inside."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return (), ()
    paths = [os.path.join(directory, name) for name in names]
    keys = {path.removesuffix(".cert"): path.removesuffix(".cert") + ".key" for path in paths if path.endswith(".cert")}
    shown = tuple((f"{stem}.cert", key if key in paths else "") for stem, key in keys.items())
    return tuple(path for path in paths if path.endswith(".crt")), shown


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
