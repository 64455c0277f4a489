"""Credentials for registries in headers: X-Registry-Auth and X-Registry-Config. Pure.

Nothing here prints them: the struct's repr hides what is secret (D-06).
"""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

import msgspec

from onggi.errors import InvalidArgument

T = TypeVar("T")


class RegistryAuth(msgspec.Struct, frozen=True):
    """What a client knows of one registry (moby api/types/registry.AuthConfig)."""

    username: str = ""
    password: str = ""
    auth: str = ""
    email: str = ""
    serveraddress: str = ""
    identitytoken: str = ""
    registrytoken: str = ""

    def __repr__(self) -> str:
        return f"RegistryAuth(username={self.username!r}, serveraddress={self.serveraddress!r}, ***)"


def decode_auth(header: str) -> RegistryAuth | None:
    """X-Registry-Auth: base64 of JSON in either alphabet, padded or not; None when it says nothing. Raises InvalidArgument."""
    if not header or header in ("null", "bnVsbA=="):
        return None
    found = _decode(header, RegistryAuth)
    return found if found != RegistryAuth() else None


def decode_auths(header: str) -> dict[str, RegistryAuth]:
    """X-Registry-Config: one of the same for each registry. What can't be read says nothing, as in dockerd: the build may need none."""
    try:
        return _decode(header, dict[str, RegistryAuth]) if header else {}
    except InvalidArgument:
        return {}


def decode_secrets(header: str) -> dict[str, bytes]:
    """X-Build-Secrets: base64 of a JSON object, the name of each build secret with the base64 of its bytes. Raises InvalidArgument."""
    if not header:
        return {}
    try:
        return {name: base64.b64decode(value, validate=True) for name, value in _decode(header, dict[str, str]).items()}
    except binascii.Error:
        # No `from`: the text of the error would quote the secret.
        raise InvalidArgument("invalid X-Build-Secrets header: each secret must be base64") from None


def _decode(header: str, wanted: type[T]) -> T:
    text = header.strip().replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        return msgspec.convert(_without_nulls(msgspec.json.decode(data or b"{}")), wanted)
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        # No `from`: the text of the error would quote the secret.
        raise InvalidArgument("invalid X-Registry-Auth header: want base64 of a JSON object") from None


def _without_nulls(value: object) -> object:
    """Go takes null for nothing, and docker-py sends it for an e-mail address."""
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return value
