"""`docker cp` and `export`: a container's files as tar, and tar as its files.

The work is done in worker processes (archivejobs.py), which are given descriptors and nothing else. Texts and codes are
dockerd's (daemon/archive_unix.go).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterable, AsyncIterator
from typing import Final

import msgspec

from onggi.engine.archivejobs import HEAD, Look, PathStat, Put, ViewSpec, stat_path
from onggi.engine.rootview import OpenView, RootView, open_view
from onggi.errors import InvalidArgument
from onggi.store.pipes import PIPE_BYTES, pumped, readable, widen
from onggi.store.snapshots import Snapshots
from onggi.store.workers import Workers

_PATH_LIMIT: Final = 4096


class Archive:
    """Copies in and out. Views are made by the engine, under the container's lock; what follows doesn't need it."""

    def __init__(self, snapshots: Snapshots, workers: Workers) -> None:
        self._snapshots = snapshots
        self._workers = workers

    async def stat(self, view: RootView, path: str) -> PathStat:
        """Raises NotFound, InvalidArgument."""
        _check_path(path)
        with open_view(view, self._snapshots, ids=False) as opened:
            # A few calls that open nothing (O_PATH): a thread does, as a volume's file system may hang.
            return await asyncio.to_thread(stat_path, Look(_spec(view, opened), path), opened.fds)

    @contextlib.asynccontextmanager
    async def get(
        self, view: RootView, path: str, *, gzip: bool = False
    ) -> AsyncIterator[tuple[PathStat, AsyncIterator[bytes]]]:
        """The file or directory at `path` and its tar, gzipped if asked, to be read inside the block.

        Raises NotFound, InvalidArgument, before anything is read. Left early or cancelled: the job is ended.
        """
        _check_path(path)
        async with self._job("get", view, path, gzip=gzip) as pieces:
            head = b""
            async for piece in pieces:
                head += piece
                if len(head) >= HEAD.size and len(head) >= HEAD.size + HEAD.unpack_from(head)[0]:
                    break
            end = HEAD.size + HEAD.unpack_from(head)[0]
            yield msgspec.json.decode(head[HEAD.size : end], type=PathStat), _chain(head[end:], pieces)

    @contextlib.asynccontextmanager
    async def export(self, view: RootView) -> AsyncIterator[AsyncIterator[bytes]]:
        """The tar of the container's root without what is mounted in it, to be read inside the block."""
        async with self._job("export", view, "/", volumes=False) as pieces:
            yield pieces

    async def put(
        self,
        view: RootView,
        path: str,
        body: AsyncIterable[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        user: str = "",
    ) -> None:
        """Unpacks `body`, compressed or not, into the directory `path`. With `user` (copyUIDGID) all belong to it.

        Raises NotFound, InvalidArgument (no directory, read-only), Corrupt. Cancelled or failed: what is unpacked stays, as with
        docker.
        """
        _check_path(path)
        with open_view(view, self._snapshots, writable=True) as opened:
            request = Put(_spec(view, opened), path, no_overwrite_dir_non_dir, user)
            async with pumped(body) as source:
                await self._workers.run("onggi.engine.archivejobs:put", request, [*opened.fds, source], ours=False)

    @contextlib.asynccontextmanager
    async def _job(
        self, name: str, view: RootView, path: str, *, volumes: bool = True, gzip: bool = False
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """What a job writes to its pipe. The job's error is raised where the stream ends."""
        with open_view(view, self._snapshots, volumes=volumes) as opened:
            read_end, write_end = os.pipe2(os.O_CLOEXEC)
            widen(write_end)
            try:
                work = self._workers.run(
                    f"onggi.engine.archivejobs:{name}",
                    Look(_spec(view, opened), path, gzip),
                    [*opened.fds, write_end],
                    ours=False,
                )
                job = asyncio.get_running_loop().create_task(work, name=f"{name} of {view.container_id[:12]}")
                # The job has its own copies once it is sent, which happens before the task first waits.
                await asyncio.sleep(0)
            finally:
                os.close(write_end)
            try:
                yield _stream(read_end, job)
            finally:
                os.close(read_end)
                job.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await job


async def _stream(fd: int, job: asyncio.Task[bytes]) -> AsyncIterator[bytes]:
    os.set_blocking(fd, False)
    while True:
        try:
            piece = os.read(fd, PIPE_BYTES)
        except BlockingIOError:
            await readable(fd)
            continue
        if not piece:
            break
        yield piece
    await job


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for piece in rest:
        yield piece


def _spec(view: RootView, opened: OpenView) -> ViewSpec:
    return ViewSpec(
        view.container_id,
        [(mount.destination, mount.read_only) for mount, _ in opened.joined],
        [(mount.destination, mount.read_only) for mount in opened.seen],
        view.read_only_root,
        opened.user_namespace is not None,
    )


def _check_path(path: str) -> None:
    if not path:
        raise InvalidArgument("bad parameter: path cannot be empty")
    if "\0" in path or len(path) > _PATH_LIMIT:
        raise InvalidArgument("bad parameter: path is too long or has a zero byte")
