"""A real registry behind a token server, as Hub, GitLab and the clouds have theirs: distribution's token and OAuth protocols."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.fronts import forwarded
from tests.imaging import serving


@dataclass
class TokenFront:
    """Each request needs a token that grants its repository; what was asked for is kept for the test to look at."""

    users: dict[str, str] = field(default_factory=dict)
    refresh_tokens: set[str] = field(default_factory=set)
    """Those that are good; with `rotates`, each is good once."""
    rotates: bool = False
    speaks_oauth: bool = True
    spelled: str = "token"
    """Or "access_token"."""
    uses: int = 10**6
    """How many requests a token is good for."""
    asked: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    """Method and parameters of each request for a token."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    host: str = ""
    target: str = ""
    _tokens: dict[str, tuple[set[str], list[int]]] = field(default_factory=dict)
    session: aiohttp.ClientSession | None = None

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            return await self._token(request)
        needed = _needed(request)
        granted, uses = self._tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "), (set(), [0]))
        if not needed <= granted or uses[0] < 1 or "Authorization" not in request.headers:
            return self._challenge(needed)
        uses[0] -= 1
        self.requests.append((request.method, request.path_qs))
        return await forwarded(self.target, request)

    def _challenge(self, needed: set[str]) -> web.Response:
        scope = f',scope="{" ".join(sorted(needed))}"' if needed else ""
        challenge = f'Bearer realm="http://{self.host}/token",service="front, and back"{scope}'
        body = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
        return web.json_response(body, status=401, headers={"WWW-Authenticate": challenge})

    async def _token(self, request: web.BaseRequest) -> web.Response:
        given = await request.post() if request.method == "POST" else request.query
        parameters = {name: [str(value) for value in given.getall(name)] for name in given}
        self.asked.append((request.method, parameters))
        if request.method == "POST":
            if not self.speaks_oauth:
                return web.json_response({}, status=405)
            token = parameters["refresh_token"][0]
            if token not in self.refresh_tokens:
                return web.json_response({"errors": [{"code": "UNAUTHORIZED", "message": "token is void"}]}, status=401)
            answer = self._granted(" ".join(parameters.get("scope", [])).split())
            if self.rotates:
                self.refresh_tokens = {f"{token}+"}
                answer["refresh_token"] = f"{token}+"
            return web.json_response(answer)
        if (basic := request.headers.get("Authorization")) and not self._knows(basic):
            return web.json_response(
                {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]}, status=401
            )
        if self.users and not basic:
            return web.json_response(self._granted([]))
        answer = self._granted(parameters.get("scope", []))
        if "offline_token" in parameters:
            answer["refresh_token"] = "kept-for-long"
        return web.json_response(answer)

    def _knows(self, header: str) -> bool:
        user, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        return self.users.get(user) == password or password in self.refresh_tokens

    def _granted(self, scopes: list[str]) -> dict[str, object]:
        token = secrets.token_hex(8)
        granted = {
            f"{kind}:{name}:{action}"
            for kind, name, actions in (s.split(":") for s in scopes)
            for action in actions.split(",")
        }
        self._tokens[token] = (granted, [self.uses])
        return {self.spelled: token, "expires_in": 300, "issued_at": "2026-01-01T00:00:00Z"}


def _needed(request: web.BaseRequest) -> set[str]:
    parts = request.path.removeprefix("/v2/").split("/")
    kind = next((part for part in ("blobs", "manifests", "tags") if part in parts), "")
    if not kind:
        return set()
    name = "/".join(parts[: parts.index(kind)])
    needed = {f"repository:{name}:pull"} | (
        {f"repository:{name}:push"} if request.method not in ("GET", "HEAD") else set()
    )
    return needed | ({f"repository:{request.query['from']}:pull"} if "from" in request.query else set())


@asynccontextmanager
async def token_front(root: Path, front: TokenFront) -> AsyncIterator[TokenFront]:
    async with serving(root) as (target, session):
        front.target, front.session = target, session
        runner = web.ServerRunner(web.Server(front.answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        front.host = f"127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield front
        finally:
            await runner.cleanup()


def auth_text(**words: str) -> str:
    """What clients send as X-Registry-Auth."""
    return base64.urlsafe_b64encode(json.dumps(words).encode()).decode()
