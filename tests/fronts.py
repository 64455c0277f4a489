"""A front before a real registry: passes everything on, keeps what was asked for, and may send uploads elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import aiohttp
from aiohttp import web

STATE = "a%2Fb%3D%3D+c~"
"""What a relocated upload's query must still say, as it was spelled."""


async def forwarded(target: str, request: web.BaseRequest, path: str = "") -> web.Response:
    """The answer of `target` (host:port) to the same request, or to one for another path; our credentials are none of its business."""
    headers = {name: value for name, value in request.headers.items() if name not in ("Host", "Authorization")}
    body = await request.read()
    async with (
        aiohttp.ClientSession(f"http://{target}", auto_decompress=False) as session,
        session.request(request.method, path or request.path_qs, headers=headers, data=body) as got,
    ):
        kept = {
            name: value for name, value in got.headers.items() if name not in ("Date", "Server", "Transfer-Encoding")
        }
        return web.Response(status=got.status, headers=kept, body=await got.read())


@dataclass
class Front:
    """`relocate` says where uploads go on, with {host} and {place}; `delay_s` is how long each chunk takes."""

    target: str
    relocate: str = ""
    delay_s: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    host: str = ""
    places: dict[str, str] = field(default_factory=dict)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append((request.method, request.path_qs))
        path = request.path_qs
        if request.path.startswith("/elsewhere/"):
            assert f"state={STATE}" in request.raw_path, request.raw_path
            path = self.places[request.path]
            if "digest=" in request.query_string:
                path += "?digest=" + request.query["digest"]
        if request.method != "PATCH":
            return self._relocated(await forwarded(self.target, request, path))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.delay_s)
            return self._relocated(await forwarded(self.target, request, path))
        finally:
            self.at_once -= 1

    def _relocated(self, answer: web.Response) -> web.Response:
        location = answer.headers.get("Location", "")
        if self.relocate and "/uploads/" in location:
            place = f"/elsewhere/{location.rpartition('/')[2]}"
            self.places[place] = location
            answer.headers["Location"] = self.relocate.format(host=self.host, place=place)
        return answer


F = TypeVar("F", bound=Front)


@asynccontextmanager
async def fronting(front: F) -> AsyncIterator[F]:
    """It answers at `front.host`."""
    runner = web.ServerRunner(web.Server(front.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    front.host = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield front
    finally:
        await runner.cleanup()
