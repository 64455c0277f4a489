"""The files of a result, without its being an image: as a tar, or one by one."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence

import msgspec

from onggi.build.entries import Entry, Received
from onggi.build.exporters.packagejob import Found
from onggi.build.receivejob import Receive
from onggi.kernel import mounts
from onggi.kernel.fds import Fd
from onggi.oci.digest import Digest
from onggi.store import jobs
from onggi.store.blocking import blocking
from onggi.store.layers import Layers
from onggi.store.pipes import widen
from onggi.store.snapshots import OVERLAY_OPTIONS
from onggi.store.workers import Workers

_PIECE = 256 * 1024


@contextlib.contextmanager
def merged(layers: Layers, diff_ids: Sequence[Digest]) -> Iterator[Fd]:
    """A directory's descriptor: the layers laid over each other, in no mount table."""
    # A layer that is there twice hides itself: overlayfs refuses one directory twice.
    paths = [layers.path(diff_id) for diff_id in dict.fromkeys(reversed(diff_ids))]
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    with contextlib.ExitStack() as stack:
        if len(paths) == 1:
            yield stack.enter_context(Fd(os.open(paths[0], flags)))
        else:
            mount = stack.enter_context(
                mounts.overlay(paths, None, None, options=OVERLAY_OPTIONS) if paths else mounts.new_mount("tmpfs")
            )
            # A mount's own descriptor is a path only.
            yield stack.enter_context(Fd(os.open(".", flags, dir_fd=mount.fileno())))


@contextlib.asynccontextmanager
async def tar_of(layers: Layers, workers: Workers, diff_ids: Sequence[Digest]) -> AsyncIterator[int]:
    """The tar of all files, as a pipe to read from. Raises what the packing job raised, at the end of the block."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    widen(write_end)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, read_end)
        tree = stack.enter_context(merged(layers, diff_ids))
        job = workers.run("onggi.store.jobs:send_tree", jobs.PackTree(), [tree.fileno(), write_end])
        packing = asyncio.get_running_loop().create_task(job, name="pack a result")
        try:
            # The job has its own copy once it is sent, which happens before the task first waits.
            await asyncio.sleep(0)
            os.close(write_end)
            yield read_end
            await packing
        finally:
            packing.cancel()
            await asyncio.wait([packing])


async def tar_pieces(layers: Layers, workers: Workers, diff_ids: Sequence[Digest]) -> AsyncGenerator[bytes, None]:
    """The same, as bytes."""
    async with tar_of(layers, workers, diff_ids) as read_end:
        while piece := await blocking(os.read, read_end, _PIECE):
            yield piece


async def entries_of(layers: Layers, workers: Workers, diff_ids: Sequence[Digest], spool: int) -> list[Entry]:
    """All files, their bodies in `spool`."""
    async with tar_of(layers, workers, diff_ids) as read_end:
        answer = await workers.run("onggi.build.receivejob:receive", Receive(), [read_end, spool])
    return msgspec.msgpack.decode(answer, type=Received).entries


async def packages_of(layers: Layers, workers: Workers, diff_ids: Sequence[Digest]) -> Found:
    """What packages the files say are there."""
    with merged(layers, diff_ids) as tree:
        answer = await workers.run("onggi.build.exporters.packagejob:scan", None, [tree.fileno()])
    return msgspec.msgpack.decode(answer, type=Found)
