"""Unpacked layers: one directory each, named by the digest of the layer's tar, shared by all images that have it.

    layers/<hex>/diff         what overlayfs takes as a lower directory
    layers/<hex>/layer.json   LayerInfo

A layer is unpacked under a name of its own in ingest/, synced, and renamed: under its digest it is whole and durable
(invariant 1), so a directory listing is the index and nothing can disagree with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from typing import Final

import msgspec

from onggi.errors import Corrupt, NotFound
from onggi.kernel.faults import point
from onggi.oci.digest import Digest, DigestField, from_hex, hex_of
from onggi.store import durable, jobs
from onggi.store.content import Content
from onggi.store.pipes import pumped
from onggi.store.unpack import Limits
from onggi.store.workers import Workers

log = logging.getLogger(__name__)

Progress = Callable[[int], None]

_AT_ONCE: Final = max(2, os.cpu_count() or 2)


class LayerInfo(msgspec.Struct, frozen=True):
    """`size` counts the files' bytes, `entries` the members of the tar; `checksum` is checksum.py's, if it is known."""

    diff_id: DigestField
    size: int
    entries: int
    checksum: int | None = None
    captured: bool = False
    """Made here from a tree: it packs to its own digest."""
    root_entry: bool = True
    """Whether its tar has the tree's own directory, with a time that changes with all that is made in it."""


class Layers:
    """All unpacked layers of a data root. Several tasks may ask for one layer at once: it is unpacked once."""

    def __init__(self, root: str | os.PathLike[str], content: Content, workers: Workers) -> None:
        self._layers = os.path.join(root, "layers")
        self._ingest = os.path.join(root, "ingest")
        for directory in (self._layers, self._ingest):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        self._content = content
        self.workers = workers
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._underway: dict[Digest, asyncio.Lock] = {}
        self._known: dict[Digest, LayerInfo] = {}

    def has(self, diff_id: Digest) -> bool:
        return diff_id in self._known or os.path.exists(self._info_path(diff_id))

    def path(self, diff_id: Digest) -> str:
        """The directory that overlayfs takes. It need not exist."""
        return os.path.join(self._layers, hex_of(diff_id), "diff")

    def info(self, diff_id: Digest) -> LayerInfo:
        """Raises NotFound."""
        known = self._known.get(diff_id)
        if known is None:
            try:
                with open(self._info_path(diff_id), "rb") as file:
                    known = msgspec.json.decode(file.read(), type=LayerInfo)
            except (FileNotFoundError, msgspec.DecodeError) as error:
                raise NotFound(f"layer {diff_id} is not here") from error
            self._known[diff_id] = known
        return known

    def size(self, diff_id: Digest) -> int:
        return self.info(diff_id).size

    def walk(self) -> Iterator[Digest]:
        for name in sorted(os.listdir(self._layers)):
            if len(name) == 64:
                yield from_hex(name)

    async def apply(
        self,
        source: int | Digest | AsyncIterable[bytes],
        *,
        diff_id: Digest | None = None,
        progress: Progress | None = None,
        limits: Limits | None = None,
    ) -> LayerInfo:
        """Unpacks a layer from a descriptor, a blob of the content store, or a stream; packed in any known way.

        With `diff_id` the tar must have that digest, and a layer that is here is not unpacked again (`source` isn't read).
        `progress` is told the packed bytes read so far. Raises Corrupt, NoSpace. Cancelled or failed: nothing is left.
        """
        if diff_id is None:
            return await self._unpack(source, None, progress, limits or Limits())
        lock = self._underway.setdefault(diff_id, asyncio.Lock())
        try:
            async with lock:
                if self.has(diff_id):
                    return self.info(diff_id)
                return await self._unpack(source, diff_id, progress, limits or Limits())
        finally:
            if not lock.locked():
                self._underway.pop(diff_id, None)

    async def capture(self, upper: str, *, keep: bool, root_entry: bool = True) -> LayerInfo:
        """An overlay's upper directory as a layer: what a container or a build step has changed.

        Without `root_entry` the layer says nothing of the root directory itself: one that changes nothing is then always the same.

        `keep=False` takes the directory itself (the caller has no use for it any more), `keep=True` leaves it and copies.
        Nobody may write to it meanwhile. Cancelled or failed: nothing is left, but a directory that was not to be kept may be.
        """
        upper_fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if keep:
                packing = jobs.PackTree(whiteouts=True)
                async with self._stream(packing, upper_fd) as read_end:
                    return await self._unpack(read_end, None, None, Limits(), captured=True)
            packing = jobs.PackTree(whiteouts=True, root_entry=root_entry)
            done = await self.workers.run("onggi.store.jobs:digest_tree", packing, [upper_fd])
            found = msgspec.msgpack.decode(done, type=jobs.Unpacked)
            info = LayerInfo(found.diff_id, found.size, found.entries, captured=True, root_entry=root_entry)
            with self._place() as place:
                os.rename(upper, os.path.join(place, "diff"))
                await self._settle(place, info)
            return info
        finally:
            os.close(upper_fd)

    async def pack(self, diff_id: Digest, out_fd: int, *, gzip: bool = False) -> None:
        """The layer's tar into a descriptor, packed with `gzip` if asked: the bytes whose digest is `diff_id`, if the layer was captured here.

        A layer that came from elsewhere packs to other bytes than it came in. Raises Corrupt when the digest differs.
        """
        layer_fd = os.open(self.path(diff_id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            answer = await self.workers.run(
                "onggi.store.jobs:pack_tree", self._packing(diff_id, gzip=gzip), [layer_fd, out_fd]
            )
        finally:
            os.close(layer_fd)
        packed = msgspec.msgpack.decode(answer, type=jobs.Unpacked).diff_id
        if packed != diff_id:
            raise Corrupt(f"layer {diff_id} packs to {packed}: it has been changed on disk, or came from a registry")

    async def rewritten(self, diff_id: Digest, latest_ns: int) -> LayerInfo:
        """The same layer with no time later than `latest_ns`: what builds of one source at two times have in common.

        Cancelled or failed: nothing is left.
        """
        packing = jobs.PackTree(whiteouts=True, root_entry=self.info(diff_id).root_entry, latest_ns=latest_ns)
        layer_fd = os.open(self.path(diff_id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            async with self._stream(packing, layer_fd) as read_end:
                return await self._unpack(read_end, None, None, Limits(), captured=True, root_entry=packing.root_entry)
        finally:
            os.close(layer_fd)

    async def verify(self, diff_id: Digest) -> bool:
        """Whether the files on disk still are what they were when the layer came; reads all of them.

        A damaged layer is to be removed and applied again. One of which nothing is known passes. Raises NotFound.
        """
        info = self.info(diff_id)
        layer_fd = os.open(self.path(diff_id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if info.checksum is not None:
                return (
                    msgspec.msgpack.decode(
                        await self.workers.run("onggi.store.jobs:checksum_tree", None, [layer_fd]), type=int
                    )
                    == info.checksum
                )
            if not info.captured:
                return True
            answer = await self.workers.run("onggi.store.jobs:digest_tree", self._packing(diff_id), [layer_fd])
            return msgspec.msgpack.decode(answer, type=jobs.Unpacked).diff_id == diff_id
        finally:
            os.close(layer_fd)

    async def remove(self, diff_id: Digest) -> None:
        """The layer is gone at once; its files are deleted before this returns. What isn't here is fine."""
        self._known.pop(diff_id, None)
        name = f"removed-{secrets.token_hex(8)}"
        try:
            os.rename(os.path.join(self._layers, hex_of(diff_id)), os.path.join(self._ingest, name))
        except FileNotFoundError:
            return
        await self._remove_ingest(name)

    async def clean(self) -> int:
        """Deletes what an ended engine has left half-made or half-removed; how many. For the start, before anything is unpacked."""
        names = [name for name in os.listdir(self._ingest) if name.startswith(("layer-", "removed-", "spool-"))]
        for name in names:
            await self._remove_ingest(name)
        return len(names)

    async def _unpack(
        self,
        source: int | Digest | AsyncIterable[bytes],
        expected: Digest | None,
        progress: Progress | None,
        limits: Limits,
        *,
        captured: bool = False,
        root_entry: bool = True,
    ) -> LayerInfo:
        async with self._slots:
            with self._place() as place:
                diff = os.path.join(place, "diff")
                os.mkdir(diff, 0o755)
                diff_fd = os.open(diff, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    async with self._descriptor(source) as source_fd:
                        answer = await self.workers.run(
                            "onggi.store.jobs:unpack_layer",
                            jobs.UnpackLayer(expected, limits),
                            [source_fd, diff_fd],
                            progress=progress,
                        )
                except BaseException:
                    await asyncio.shield(self._remove_ingest(os.path.basename(place)))
                    raise
                finally:
                    os.close(diff_fd)
                done = msgspec.msgpack.decode(answer, type=jobs.Unpacked)
                info = LayerInfo(done.diff_id, done.size, done.entries, done.checksum, captured, root_entry)
                await self._settle(place, info)
                return info

    @contextlib.contextmanager
    def _place(self) -> Iterator[str]:
        """A new directory in ingest/, which `_publish` may have taken away by the end."""
        place = os.path.join(self._ingest, f"layer-{secrets.token_hex(8)}")
        with durable.disk_errors("unpack a layer"):
            os.mkdir(place, 0o700)
            yield place

    async def _settle(self, place: str, info: LayerInfo) -> None:
        """The tree in `place` becomes the layer, or goes. Cancelled: one of the two has still happened before this raises."""

        async def settle() -> None:
            published = False
            try:
                published = await asyncio.to_thread(self._publish, place, info)
            finally:
                if not published:
                    await self._remove_ingest(os.path.basename(place))

        task = asyncio.get_running_loop().create_task(settle(), name="publish a layer")
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise

    def _publish(self, place: str, info: LayerInfo) -> bool:
        """The unpacked tree becomes the layer; False when the layer was there before. Blocks. Holds: the tree is on the disk."""
        path = os.path.join(place, "layer.json")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, msgspec.json.encode(info))
            durable.sync_file(fd, path)
        finally:
            os.close(fd)
        durable.sync_directory_path(place)
        final = os.path.join(self._layers, hex_of(info.diff_id))
        try:
            os.rename(place, final)
        except OSError:
            # Another task was first with the same content (two builds alike): theirs is as good.
            if not self.has(info.diff_id):
                raise
            return False
        point("store.layer.renamed")
        durable.sync_directory_path(self._layers)
        self._known[info.diff_id] = info
        return True

    async def _remove_ingest(self, name: str) -> None:
        fd = os.open(self._ingest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            await self.workers.run("onggi.store.jobs:remove_trees", jobs.RemoveTrees([name]), [fd])
        finally:
            os.close(fd)

    def _packing(self, diff_id: Digest, *, gzip: bool = False) -> jobs.PackTree:
        """As the layer's own tar was packed."""
        return jobs.PackTree(whiteouts=True, gzip=gzip, root_entry=self.info(diff_id).root_entry)

    def _info_path(self, diff_id: Digest) -> str:
        return os.path.join(self._layers, hex_of(diff_id), "layer.json")

    @contextlib.asynccontextmanager
    async def _descriptor(self, source: int | Digest | AsyncIterable[bytes]) -> AsyncIterator[int]:
        """`source` as something a worker can read."""
        if isinstance(source, int):
            yield source
        elif isinstance(source, str):
            with self._content.open(source) as file:
                yield file.fileno()
        else:
            async with pumped(source) as read_end:
                yield read_end

    @contextlib.asynccontextmanager
    async def _stream(self, args: jobs.PackTree, tree_fd: int) -> AsyncIterator[int]:
        """The tar of a tree, as a pipe to read from. Raises what the packing job raised, at the end of the block."""
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(
                    self.workers.run("onggi.store.jobs:pack_tree", args, [tree_fd, write_end]), name="pack a layer"
                )
                # The job has its own copy once it is sent, which happens before the task first waits.
                await asyncio.sleep(0)
                os.close(write_end)
                write_end = -1
                yield read_end
        finally:
            os.close(read_end)
            if write_end >= 0:
                os.close(write_end)
