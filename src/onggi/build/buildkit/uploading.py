"""A context that the client has as an archive (`docker build - < context.tar`): it gives it once, over its session."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from onggi.build.buildkit.mirrors import Mirrors
from onggi.build.buildkit.pb import session_pb2
from onggi.build.buildkit.session import Session
from onggi.build.context import Context
from onggi.build.entries import Entry, Received
from onggi.build.receivejob import Receive
from onggi.build.vertices import Vertex
from onggi.errors import NotFound
from onggi.store.pipes import pumped
from onggi.store.workers import Workers

METHOD: Final = "/moby.upload.v1.Upload/Pull"
_HOST: Final = "buildkit-session"


def is_upload(url: str) -> bool:
    """Whether the main context is an archive that the session has."""
    return urlsplit(url).netloc == _HOST


class UploadContexts:
    """The archive stands for the context and for where the Dockerfile is. What .dockerignore names was the client's affair."""

    def __init__(self, session: Session, url: str, mirrors: Mirrors, workers: Workers) -> None:
        self._session, self._url, self._mirrors, self._workers = session, urlsplit(url), mirrors, workers
        self._lock = asyncio.Lock()
        self._entries: list[Entry] | None = None
        self._spool = -1

    async def local(
        self,
        name: str,
        *,
        follow: Sequence[str] = (),
        exclude: Sequence[str] = (),
        include: Sequence[str] = (),
        vertex: Vertex | None = None,
    ) -> Context:
        """See request.Contexts."""
        del follow, exclude, include
        if name not in ("context", "dockerfile"):
            raise NotFound(f"no access allowed to dir {name!r}")
        async with self._lock:
            if self._entries is None:
                await self._receive(vertex)
        return await asyncio.to_thread(Context, self._entries or [], os.dup(self._spool))

    async def _receive(self, vertex: Vertex | None) -> None:
        spool = self._mirrors.scratch()
        try:
            async with pumped(self._pieces(vertex)) as source:
                answer = await self._workers.run(
                    "onggi.build.receivejob:receive", Receive("Dockerfile"), [source, spool]
                )
        except BaseException:
            os.close(spool)
            raise
        self._spool = spool
        self._entries = msgspec.msgpack.decode(answer, type=Received).entries

    async def _pieces(self, vertex: Vertex | None) -> AsyncIterator[bytes]:
        told, size = "transferring context:", 0
        metadata = [("urlpath", self._url.path), ("urlhost", self._url.netloc)]
        async with self._session.channel.call(METHOD, metadata) as call:
            while (message := await call.receive(session_pb2.BytesMessage)) is not None:
                size += len(message.data)
                yield message.data
        if vertex is not None:
            vertex.status(told, current=size, done=True)

    def close(self) -> None:
        """The build is over."""
        if self._spool >= 0:
            os.close(self._spool)
            self._spool = -1
