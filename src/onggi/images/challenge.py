"""What a registry asks for with 401, and credentials to answer it. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

_SCHEME: Final = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)(?:\s+[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$))|\s+|(?=,)|$)")
"""A scheme, with its token68 if it has one (`Negotiate oYG…==`)."""
_PARAMETER: Final = re.compile(r'\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))')
_LIMIT: Final = 8192


@dataclass(frozen=True, slots=True)
class Challenge:
    """`scheme` in lower case; of a bearer challenge `realm`, `service`, `scope` count."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse_challenges(header: str) -> list[Challenge]:
    """WWW-Authenticate (RFC 9110, 11.6.1). What can't be read ends the list."""
    header = header[:_LIMIT]
    found: list[Challenge] = []
    at = 0
    while at < len(header):
        parameter = _PARAMETER.match(header, at)
        if parameter and found:
            quoted, plain = parameter[2], parameter[3]
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            found[-1].parameters.setdefault(parameter[1].lower(), value)
            at = parameter.end()
            continue
        scheme = _SCHEME.match(header, at)
        if scheme is None:
            break
        found.append(Challenge(scheme[1].lower()))
        at = scheme.end()
    return found


class RegistryAuth(Protocol):
    """What a client sends as X-Registry-Auth (moby's AuthConfig)."""

    @property
    def username(self) -> str: ...
    @property
    def password(self) -> str: ...
    @property
    def auth(self) -> str: ...
    @property
    def identitytoken(self) -> str: ...
    @property
    def registrytoken(self) -> str: ...


@runtime_checkable
class Keeper(Protocol):
    """Who has the logins, and answers for them: they stay there where tokens are enough."""

    async def log_in(self) -> tuple[str, str]:
        """User and password, for a registry that takes nothing else; empty without a login."""

    async def token(self, realm: str, service: str, scopes: Sequence[str]) -> tuple[str, int]:
        """A bearer token, and for how many seconds it is good. Raises Unauthorized."""


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """For one registry. Without any, everything is empty; never printed. With a `keeper` all else is asked of that."""

    user: str = ""
    password: str = ""
    refresh_token: str = ""
    bearer: str = ""
    keeper: Keeper | None = None

    def basic(self) -> str:
        """The header, "" when there is no user."""
        if not self.user:
            return ""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r}, ***)"


def credentials_of(auth: RegistryAuth | Keeper | None) -> Credentials:
    """`auth`, the base64 of user:password as config.json has it, stands in for the two fields."""
    if auth is None:
        return Credentials()
    if isinstance(auth, Keeper):
        return Credentials(keeper=auth)
    user, password = auth.username, auth.password
    if not user and auth.auth:
        try:
            user, _, password = base64.b64decode(auth.auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user = password = ""
    return Credentials(user, password.rstrip("\0"), auth.identitytoken, auth.registrytoken)
