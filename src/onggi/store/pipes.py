"""Streams of the event loop as descriptors that a worker reads."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterable, AsyncIterator
from typing import Final

PIPE_BYTES: Final = 1024 * 1024


@contextlib.asynccontextmanager
async def pumped(stream: AsyncIterable[bytes]) -> AsyncIterator[int]:
    """A pipe that `stream` is written into while the block runs.

    A reader that stops early ends the pump; an error of the stream is raised at the end of the block, or in its place.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(read_end, True)
    widen(write_end)

    async def pump() -> None:
        nonlocal write_end
        try:
            async for piece in stream:
                await _write_all(write_end, piece)
        except BrokenPipeError:
            pass
        finally:
            os.close(write_end)
            write_end = -1

    task = asyncio.get_running_loop().create_task(pump(), name="pump into a pipe")
    try:
        yield read_end
    except BaseException:
        # The stream's own error is the cause of whatever the reader made of half an archive.
        if task.done() and not task.cancelled() and (error := task.exception()):
            raise error from None
        task.cancel()
        raise
    finally:
        os.close(read_end)
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _write_all(fd: int, data: bytes) -> None:
    """Writes to a non-blocking pipe, waiting where it is full."""
    loop = asyncio.get_running_loop()
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            writable: asyncio.Future[None] = loop.create_future()
            loop.add_writer(fd, _wake, writable)
            try:
                await writable
            finally:
                loop.remove_writer(fd)


def widen(fd: int) -> None:
    """A pipe that holds 1 MiB instead of 64 KiB: fewer turns of the loop. A limit on users' pipes may refuse it."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


async def readable(fd: int) -> None:
    """Returns when a non-blocking descriptor has something, or its end."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
