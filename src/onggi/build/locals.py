"""Directories of the client: each is asked for once in a build, with all paths that any step of any platform names."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence

from onggi.build.context import Context
from onggi.build.definition import patterns_of, told
from onggi.build.plan import MAIN
from onggi.build.request import Request
from onggi.build.vertices import Progress, Vertex


class LocalFiles:
    """`patterns` are those of the main context's ignore file; contexts are closed with `stack`."""

    def __init__(
        self, request: Request, progress: Progress, patterns: Sequence[str], stack: contextlib.AsyncExitStack
    ) -> None:
        self._request, self._progress, self._patterns, self._stack = request, progress, patterns, stack
        self._follow: dict[str, list[str]] = {}
        self._contexts: dict[str, asyncio.Task[Context]] = {}

    def follow(self, plans: Iterable[Mapping[str, Sequence[str]]]) -> None:
        """What steps read, per directory; an empty list means all of it."""
        for plan in plans:
            for name, paths in plan.items():
                known = self._follow.get(name)
                whole = not paths or known == []
                self._follow[name] = [] if whole else sorted({*(known or ()), *paths})

    async def context(self, name: str) -> Context:
        """Raises NotFound when the client has no such directory."""
        task = self._contexts.get(name)
        if task is None:
            task = self._contexts[name] = asyncio.create_task(self._load(name), name=f"build context {name}")
            self._stack.push_async_callback(_ended, task)
        return await asyncio.shield(task)

    def vertex(self, name: str) -> Vertex:
        if name == MAIN.name:
            return self._progress.vertex("[internal] load build context")
        return self._progress.vertex(f"[context {name}] load from client")

    async def _load(self, name: str) -> Context:
        patterns: Sequence[str] = self._patterns
        if name != MAIN.name:
            vertex = self._progress.vertex(f"[context {name}] load .dockerignore")
            with told(vertex):
                patterns = await patterns_of(self._request, name, self._stack, vertex)
        vertex = self.vertex(name)
        with told(vertex):
            follow = self._follow.get(name, [])
            return await self._request.contexts.local(name, follow=follow, exclude=patterns, vertex=vertex)


async def _ended(task: asyncio.Task[Context]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is None:
        task.result().close()
