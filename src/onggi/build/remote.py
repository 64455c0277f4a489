"""Contexts that don't come from the client: an archive or a Dockerfile behind a URL, a git repository. Each once in a build."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

import msgspec

from onggi.build.context import Context
from onggi.build.definition import told
from onggi.build.entries import Received
from onggi.build.fetching import is_remote, opened
from onggi.build.gitwords import is_git_context
from onggi.build.plan import Kind, Origin
from onggi.build.receivejob import Receive
from onggi.errors import InvalidArgument
from onggi.store.pipes import pumped

if TYPE_CHECKING:
    from onggi.build.builder import Builder
    from onggi.build.git import GitSources
    from onggi.build.vertices import Progress


class Remotes:
    """Of one build; contexts are closed with `stack`."""

    def __init__(self, builder: Builder, git: GitSources, progress: Progress, stack: contextlib.AsyncExitStack) -> None:
        self._builder, self._git, self._progress, self._stack = builder, git, progress, stack
        self._contexts: dict[Origin, asyncio.Future[Context]] = {}
        self._plain: set[Origin] = set()

    @staticmethod
    def origin(text: str) -> Origin:
        """Raises InvalidArgument for what is neither."""
        if is_git_context(text):
            return Origin(Kind.GIT, text)
        if is_remote(text):
            return Origin(Kind.HTTP, text)
        raise InvalidArgument(
            f"remote context {text!r} is not supported: it must be an http or https URL, or a git one"
        )

    def is_plain(self, origin: Origin) -> bool:
        """Whether what came was one file: the Dockerfile itself. Holds: `context` has been awaited."""
        return origin in self._plain

    async def context(self, origin: Origin, *, keep_git_dir: bool | None = None) -> Context:
        """Raises BuildFailed, Corrupt, InvalidArgument."""
        known = self._contexts.get(origin)
        if known is None:
            task = asyncio.ensure_future(self._load(origin, keep_git_dir=keep_git_dir))
            known = self._contexts[origin] = task
            self._stack.push_async_callback(_ended, task)
        return await asyncio.shield(known)

    async def _load(self, origin: Origin, *, keep_git_dir: bool | None) -> Context:
        if origin.kind is Kind.GIT:
            vertex = self._progress.vertex(f"[internal] load git source {origin.name}")
            with told(vertex):
                return await self._git.context(origin.name, vertex, keep_git_dir=keep_git_dir)
        vertex = self._progress.vertex("[internal] load remote build context", key=origin.name)
        with told(vertex):
            spool = os.open(self._builder.ingest, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                async with opened(origin.name) as response, pumped(response.content.iter_any()) as source:
                    answer = await self._builder.workers.run(
                        "onggi.build.receivejob:receive", Receive("Dockerfile"), [source, spool]
                    )
                context = await asyncio.to_thread(indexed, answer, spool)
            except BaseException:
                os.close(spool)
                raise
        if set(context.root.children or ()) == {"Dockerfile"}:
            self._plain.add(origin)
        return context


def indexed(answer: bytes, spool: int) -> Context:
    """A hundred thousand names take a while: for a thread."""
    return Context(msgspec.msgpack.decode(answer, type=Received).entries, spool)


async def _ended(task: asyncio.Future[Context]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is None:
        task.result().close()
