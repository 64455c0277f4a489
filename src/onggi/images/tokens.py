"""Bearer tokens: asked for once for each scope, kept while they are good.

Source: distribution's token authentication (spec/auth/token.md, oauth.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import msgspec
from yarl import URL

from onggi.errors import InvalidArgument, Unauthorized
from onggi.images.challenge import Challenge, Credentials

_CLIENT: Final = "onggi"
_SHORTEST_S: Final = 60
_TRUSTED: Final = 0.9
"""Of a token's life: it must not end on its way."""


class NoSuchWay(Unauthorized):
    """The token server doesn't know this kind of request (404, 405)."""


AskRealm = Callable[[str, URL, dict[str, str], dict[str, str] | None], Awaitable[bytes]]


class _Answer(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires_in: int = _SHORTEST_S


class Tokens:
    def __init__(self, credentials: Credentials, ask: AskRealm) -> None:
        self._credentials, self._ask = credentials, ask
        self._kept: dict[tuple[str, str, str], tuple[str, float]] = {}
        self._lock = asyncio.Lock()

    async def header(self, challenge: Challenge, scope: str) -> str:
        """`Bearer …` for the scope. Raises Unauthorized, TryAgain."""
        if self._credentials.bearer:
            return f"Bearer {self._credentials.bearer}"
        key = _key(challenge, scope)
        async with self._lock:  # layers begin at once: one asks
            token, until = self._kept.get(key, ("", 0.0))
            if not token or time.monotonic() > until:
                answer = await self._get(challenge, scope, offline=False)
                token = answer.token or answer.access_token
                lifetime = max(answer.expires_in, _SHORTEST_S)
                self._kept[key] = (token, time.monotonic() + lifetime * _TRUSTED)
        return f"Bearer {token}"

    def forget(self, challenge: Challenge, scope: str, refused: str) -> None:
        """The registry didn't take the header `refused`. Somebody else's request may have brought another one meanwhile."""
        key = _key(challenge, scope)
        if f"Bearer {self._kept.get(key, ('', 0.0))[0]}" == refused:
            del self._kept[key]

    async def log_in(self, challenge: Challenge) -> str:
        """A refresh token, "" when the server gives none."""
        return (await self._get(challenge, "", offline=True)).refresh_token

    async def _get(self, challenge: Challenge, scope: str, *, offline: bool) -> _Answer:
        realm = challenge.parameters.get("realm", "")
        service = challenge.parameters.get("service", "")
        if self._credentials.keeper is not None:
            token, expires_in = await self._credentials.keeper.token(realm, service, scope.split())
            return _Answer(token=token, expires_in=expires_in)
        try:
            url = URL(realm)
        except ValueError:
            raise Unauthorized(f"the registry's token realm can't be read: {realm[:200]!r}") from None
        data = None
        if self._credentials.refresh_token:
            data = await self._refreshed(url, service, scope)
        if data is None:
            query = [("service", service)] if service else []
            query += [("scope", part) for part in scope.split()]
            if offline:
                query += [("offline_token", "true"), ("client_id", _CLIENT)]
            if self._credentials.user:
                query.append(("account", self._credentials.user))
            basic = self._credentials.basic()
            data = await self._ask("GET", url.extend_query(query), {"Authorization": basic} if basic else {}, None)
        try:
            answer = msgspec.json.decode(data, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InvalidArgument(f"{url.host} gave no token, but something else") from None
        if not (answer.token or answer.access_token):
            raise Unauthorized(f"authorization server {url.host} did not include a token in the response")
        if self._credentials.refresh_token and answer.refresh_token:
            # The one before may be void from now on (oauth.md, "refresh_token").
            self._credentials = replace(self._credentials, refresh_token=answer.refresh_token)
        return answer

    async def _refreshed(self, url: URL, service: str, scope: str) -> bytes | None:
        """OAuth's way; None where the server has only the older one, which takes a user with the token as the password."""
        credentials = self._credentials
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credentials.refresh_token,
            "service": service,
            "scope": scope,
            "client_id": _CLIENT,
        }
        try:
            return await self._ask("POST", url, {}, form)
        except NoSuchWay:
            if not credentials.user:
                raise
            self._credentials = replace(
                credentials, password=credentials.password or credentials.refresh_token, refresh_token=""
            )
            return None


def _key(challenge: Challenge, scope: str) -> tuple[str, str, str]:
    return challenge.parameters.get("realm", ""), challenge.parameters.get("service", ""), scope
