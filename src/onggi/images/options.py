"""How registries are spoken to."""

from __future__ import annotations

from dataclasses import dataclass, field


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
    """`<host>/ca.crt`, `client.cert`, `client.key` and `hosts.toml`."""
