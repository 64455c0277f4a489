"""Where a registry may send us: redirects, token realms, layers' URLs (S-48).

An answer of a stranger's server must not make the engine, which stands in the inner network, ask a metadata service or an
admin page. Addresses are judged after DNS, at connect, as a name may mean anything by then.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Final
from urllib.request import getproxies

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from onggi.errors import Forbidden

_SCHEMES: Final = frozenset({"http", "https"})


class LedAstray(Forbidden):
    """The registry has named a place that is not to be asked. Not the registry's own refusal."""


class Guard:
    """Of one registry: its own host may be anywhere, others only where they are public.

    A registry on a private address may lead to private addresses too (its storage stands beside it), never to link-local ones.
    """

    def __init__(self, host: str, *, insecure: bool) -> None:
        self._insecure = insecure
        self._own = URL(f"//{host}").host or host
        self._trusted = {self._own, *(URL(proxy).host or "" for proxy in getproxies().values())}
        self.inside = self._own == "localhost" or (_is_address(self._own) and not _is_public(self._own))

    def check(self, url: URL) -> None:
        """Raises LedAstray when `url`, which the registry has named, must not be asked."""
        if url.scheme not in _SCHEMES or not url.host:
            raise LedAstray(f"the registry leads to {url.scheme}:, which is no web address")
        if url.scheme != "https" and not self._insecure:
            raise LedAstray(f"the registry leads to {url.origin()}, which is not https")
        if _is_address(url.host) and not self._allows(url.host):
            raise LedAstray(f"the registry leads to {url.host}, which is not a public address")

    def trusts(self, host: str) -> bool:
        return host in self._trusted

    def resolved(self, host: str, addresses: list[str]) -> None:
        """What the registry's own name has turned out to be."""
        if host == self._own and any(not _is_public(address) for address in addresses):
            self.inside = True

    def allows(self, host: str, address: str) -> bool:
        return host in self._trusted or self._allows(address)

    def _allows(self, address: str) -> bool:
        if address == self._own:
            return True
        return _is_public(address) or (self.inside and not _is_link_local(address))


class GuardedResolver(AbstractResolver):
    """DNS whose answers the guard has seen."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        self._guard.resolved(host, [entry["host"] for entry in found])
        allowed = [entry for entry in found if self._guard.allows(host, entry["host"])]
        if found and not allowed:
            raise OSError(errno.EPERM, f"the registry leads to {host}, which is not a public address")
        return allowed

    async def close(self) -> None:
        await self._inner.close()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_global and not address.is_multicast


def _is_link_local(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    # fd00:ec2::254 is how EC2 gives out a machine's credentials over IPv6.
    return address.is_link_local or address.is_unspecified or str(address) == "fd00:ec2::254"
