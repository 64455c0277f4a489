"""Blobs on their way in from a registry: several at once, each one once, resumed where they stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable
from typing import Final

from onggi.errors import Corrupt
from onggi.images.connection import BROKEN, RegistryClient
from onggi.images.options import RegistryOptions
from onggi.images.refusals import refusal
from onggi.images.tries import TryAgain, pause_s
from onggi.oci.digest import Digest
from onggi.oci.manifest import Descriptor
from onggi.store.blocking import blocking
from onggi.store.content import Content, Writer

_BATCH: Final = 1024 * 1024
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

Watcher = Callable[[int], None]
"""Is told how many bytes are here."""


class Download:
    """One blob under way. Its bytes can be read while they come; they are true only once `wait` has returned."""

    def __init__(self, content: Content, client: RegistryClient, repository: str, blob: Descriptor) -> None:
        self.blob = blob
        self.offset = 0
        self.restarts = 0
        """How often bytes that were given out had to be taken back."""
        self.watchers: list[Watcher] = []
        self.users = 0
        self.begun = asyncio.Event()
        self._content, self._client, self._repository = content, client, repository
        self._news = asyncio.Event()
        self._fd = -1
        self._task: asyncio.Task[None] | None = None

    def start(self, slots: asyncio.Semaphore) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(slots), name=f"download of {self.blob.digest}")
        # Whoever waits sees the error; when nobody is left to wait, it is nobody's.
        self._task.add_done_callback(lambda task: None if task.cancelled() else task.exception())

    async def wait(self) -> None:
        """Returns when the blob is in the store. Cancelled: the download goes on if others wait."""
        if self._task:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        if self._task and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def stream(self) -> AsyncIterator[bytes]:
        """The bytes as they come; the end only after digest and size were found right. Raises Corrupt, whatever failed.

        A reader that is slower than the line reads from the file: nothing is kept in memory for it.
        """
        if self._task is None:
            raise ValueError("the download has not been started")
        position, restarts, fd = 0, self.restarts, -1
        try:
            while True:
                news = self._news
                if fd < 0 and self._fd >= 0:
                    fd = os.dup(self._fd)
                if self.restarts != restarts:
                    raise Corrupt(f"{self.blob.digest} came damaged and is fetched again")
                if fd >= 0 and position < self.offset:
                    piece = os.pread(fd, min(_BATCH, self.offset - position), position)
                    if piece:
                        position += len(piece)
                        yield piece
                        continue
                if not self._task.done():
                    await news.wait()
                    continue
                await self.wait()
                if position == self.blob.size:
                    return
                if fd >= 0:
                    os.close(fd)
                fd = os.open(self._content.path(self.blob.digest), os.O_RDONLY | os.O_CLOEXEC)
        finally:
            if fd >= 0:
                os.close(fd)

    async def _run(self, slots: asyncio.Semaphore) -> None:
        """Cancelled or failed: the bytes so far stay for the next download (R-13)."""
        options = self._client.options
        try:
            async with self._client, slots:
                self.begun.set()
                for attempt in range(1, options.tries + 1):
                    try:
                        await self._attempt()
                        return
                    except (TryAgain, Corrupt) as error:
                        if attempt == options.tries:
                            raise
                        await asyncio.sleep(pause_s(options, attempt, getattr(error, "wait_s", 0.0)))
        finally:
            self.begun.set()
            self._tell()

    async def _attempt(self) -> None:
        blob = self.blob
        with await blocking(self._content.resume, blob.digest) as writer:
            self._fd = writer.share()
            try:
                if writer.offset > blob.size:
                    writer.restart()
                self._moved(writer.offset)
                if writer.offset < blob.size:
                    await self._receive(writer)
                await blocking(writer.commit, blob.digest, blob.size)
            except Corrupt:
                self.restarts += 1
                self.offset = 0
                raise
            finally:
                # Readers have their own copies.
                os.close(self._fd)
                self._fd = -1

    async def _receive(self, writer: Writer) -> None:
        """The rest of the blob, from where the writer is. Raises TryAgain when the line breaks, Corrupt when there's too much."""
        blob = self.blob
        headers = {"Range": f"bytes={writer.offset}-{blob.size - 1}"} if writer.offset else None
        path = f"/v2/{self._repository}/blobs/{blob.digest}"
        async with self._client.request("GET", path, pull_scope(self._repository), headers=headers) as answer:
            if answer.status == 416:
                writer.restart()
                raise TryAgain(f"the registry has no bytes from {writer.offset} on")
            if answer.status not in (200, 206):
                raise await refusal(answer)
            if answer.status == 206 and not _continues(answer.headers.get("Content-Range", ""), writer.offset):
                writer.restart()
                raise TryAgain("the registry answered with another range than was asked for")
            if answer.status == 200 and writer.offset:
                writer.restart()
            batch = bytearray()
            try:
                async for piece in answer.content.iter_any():
                    batch += piece
                    if writer.offset + len(batch) > blob.size:
                        writer.restart()
                        raise Corrupt(f"{blob.digest} is longer than the {blob.size} bytes that the manifest says")
                    if len(batch) >= _BATCH:
                        batch = await self._store(writer, batch)
            except BROKEN:
                await self._store(writer, batch)
                raise
            await self._store(writer, batch)
        if writer.offset < blob.size:
            raise TryAgain(f"{blob.digest}: unexpected EOF after {writer.offset} of {blob.size} bytes")

    async def _store(self, writer: Writer, batch: bytearray) -> bytearray:
        await blocking(writer.write, batch)
        self._moved(writer.offset)
        return bytearray()

    def _moved(self, offset: int) -> None:
        self.offset = offset
        for watcher in self.watchers:
            watcher(offset)
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class Downloads:
    """All blobs under way in this engine. Closed with it."""

    def __init__(self, content: Content, options: RegistryOptions) -> None:
        self._content = content
        self._underway: dict[Digest, Download] = {}
        self.limit(options.downloads)

    def limit(self, downloads: int) -> None:
        """How many may transfer at once, of those that begin from now on."""
        self._slots = asyncio.Semaphore(downloads)

    @contextlib.asynccontextmanager
    async def get(
        self, client: RegistryClient, repository: str, blob: Descriptor, watcher: Watcher | None = None
    ) -> AsyncIterator[Download]:
        """The download of `blob`: another pull's, or a new one. The last one to leave ends it."""
        download = self._underway.get(blob.digest)
        if download is None or download.blob.size != blob.size:
            download = Download(self._content, client, repository, blob)
            self._underway[blob.digest] = download
            download.start(self._slots)
        download.users += 1
        if watcher:
            download.watchers.append(watcher)
        try:
            yield download
        finally:
            if watcher:
                download.watchers.remove(watcher)
            download.users -= 1
            if not download.users:
                if self._underway.get(blob.digest) is download:
                    del self._underway[blob.digest]
                await download.stop()

    async def close(self) -> None:
        for download in list(self._underway.values()):
            await download.stop()


def pull_scope(repository: str) -> str:
    return f"repository:{repository}:pull"


def _continues(header: str, offset: int) -> bool:
    found = _CONTENT_RANGE.fullmatch(header.strip())
    return found is not None and int(found[1]) == offset
