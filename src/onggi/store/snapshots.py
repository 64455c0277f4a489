"""A container's own files over its image's layers.

    containers/<id>/upper    what the container has written
    containers/<id>/work     overlayfs' own
    layers/stubs/diff        the lowest layer of all: where mounts and generated files go

The stubs (/dev, /proc, /etc/hosts …) lie under the image, so an image's own are taken where it has them, and nothing has to
be made in a container's upper directory before its mounts: `diff` and `commit` show what the container did, no more.

Overlays here are mounted with redirect_dir, metacopy and index off: then an upper directory is complete by itself and can
become a layer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from onggi.kernel import mounts
from onggi.kernel.faults import point
from onggi.kernel.fds import Fd
from onggi.oci.digest import Digest
from onggi.store import durable, jobs
from onggi.store.diff import Change
from onggi.store.disklimits import DiskLimits
from onggi.store.layers import Layers
from onggi.store.workers import Workers

OVERLAY_OPTIONS: Final = {"redirect_dir": "off", "metacopy": "off", "index": "off"}

_STUB_DIRECTORIES: Final = ("dev", "dev/pts", "dev/shm", "proc", "sys", "etc")
_STUB_FILES: Final = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")
"""docker's list (daemon/initlayer); programs look for /.dockerenv."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What an overlay is made of. `lower` has the topmost layer first, and the stubs last."""

    container_id: str
    lower: list[str]
    upper: str
    work: str


class Snapshots:
    """Snapshots below `containers/`; the directory of a container belongs to the engine too (log, hosts, …)."""

    def __init__(self, root: str | os.PathLike[str], layers: Layers, workers: Workers) -> None:
        self._containers = os.path.join(root, "containers")
        self._ingest = os.path.join(root, "ingest")
        self._stubs = os.path.join(root, "layers", "stubs", "diff")
        self._layers = layers
        self._workers = workers
        os.makedirs(self._containers, mode=0o700, exist_ok=True)
        os.makedirs(self._ingest, mode=0o700, exist_ok=True)
        _make_stubs(self._stubs)
        self.limits = DiskLimits(self._containers)
        self._removals: set[str] = set()
        self._remover: asyncio.Task[None] | None = None

    def directory(self, container_id: str) -> str:
        return os.path.join(self._containers, container_id)

    def prepare(self, container_id: str, diff_ids: Sequence[Digest], *, limit_bytes: int = 0) -> Snapshot:
        """Makes the directories of a container, those that are missing. `diff_ids` as in the image's config: lowest first.

        `limit_bytes` is what the container may write, 0 whatever there is room for; Holds: `limits.are_possible` then.

        The upper root gets the mode and owner of the image's root, which overlayfs shows as the container's `/`.
        """
        snapshot = self.get(container_id, diff_ids)
        with durable.disk_errors(f"create container {container_id[:12]}"):
            os.makedirs(self.directory(container_id), mode=0o700, exist_ok=True)
            os.makedirs(snapshot.work, mode=0o700, exist_ok=True)
            os.makedirs(snapshot.upper, mode=0o755, exist_ok=True)
            root = os.stat(snapshot.lower[0])
            if root.st_uid or root.st_gid:
                os.chown(snapshot.upper, root.st_uid, root.st_gid)
            os.chmod(snapshot.upper, stat.S_IMODE(root.st_mode))
            if limit_bytes:
                self.limits.set([snapshot.upper, snapshot.work], limit_bytes)
        return snapshot

    def get(self, container_id: str, diff_ids: Sequence[Digest]) -> Snapshot:
        """The snapshot of a container that was prepared; nothing is looked at."""
        directory = self.directory(container_id)
        # A layer that is there twice hides itself: overlayfs refuses one directory twice (ELOOP), and the upper one is enough.
        lower = [self._layers.path(diff_id) for diff_id in dict.fromkeys(reversed(diff_ids))]
        return Snapshot(
            container_id, [*lower, self._stubs], os.path.join(directory, "upper"), os.path.join(directory, "work")
        )

    def mounted(self, snapshot: Snapshot, *, writable: bool = False) -> Fd:
        """The merged tree of a container that isn't running, as a detached mount: it goes with the descriptor.

        Holds: nothing else has the snapshot mounted if `writable`; overlayfs leaves two uppers of one name undefined.
        Read-only ones don't care: there the upper directory is one more lower one.
        """
        if writable:
            return mounts.overlay(snapshot.lower, snapshot.upper, snapshot.work, options=OVERLAY_OPTIONS)
        return mounts.overlay([snapshot.upper, *snapshot.lower], None, None, options=OVERLAY_OPTIONS)

    def remove(self, container_id: str) -> None:
        """The container's whole directory has gone when this returns; its files are deleted later. What isn't there is fine.

        Renaming needs no space, so this works on a full disk (R-14).
        """
        name = f"container-{container_id[:12]}-{secrets.token_hex(4)}"
        directory = self.directory(container_id)
        self.limits.lift(f"{directory}/upper")
        if _remove_small(directory):
            return
        try:
            os.rename(directory, os.path.join(self._ingest, name))
        except FileNotFoundError:
            return
        point("store.snapshot.renamed")
        self._removals.add(name)
        if self._remover is None:
            self._remover = asyncio.get_running_loop().create_task(
                self._remove_all(), name="removal of containers' files"
            )

    def clean(self) -> None:
        """Takes up removals that an ended engine has left. For the start, inside the loop."""
        self._removals.update(name for name in os.listdir(self._ingest) if name.startswith("container-"))
        if self._removals and self._remover is None:
            self._remover = asyncio.get_running_loop().create_task(
                self._remove_all(), name="removal of containers' files"
            )

    def known(self) -> list[str]:
        """Ids of containers that have a directory: what the database doesn't know is left over."""
        return sorted(os.listdir(self._containers))

    async def usage(self, snapshot: Snapshot) -> int:
        """Bytes that the container has written (SizeRw)."""
        return msgspec.msgpack.decode(await self._on_upper("usage", snapshot), type=int)

    async def changes(self, snapshot: Snapshot) -> list[Change]:
        """What the container has added, changed and deleted, in docker's order: parents first, by name."""
        return msgspec.msgpack.decode(await self._on_upper("changes", snapshot), type=list[Change])

    async def close(self) -> None:
        """Waits for removals; what isn't done in 5 s is done by the next engine."""
        remover = self._remover
        if remover is None:
            return
        await asyncio.wait([remover], timeout=5)
        remover.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await remover

    async def _on_upper(self, job: str, snapshot: Snapshot) -> bytes:
        upper = os.open(snapshot.upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return await self._workers.run(f"onggi.store.jobs:{job}", jobs.Upper(snapshot.lower), [upper])
        finally:
            os.close(upper)

    async def _remove_all(self) -> None:
        """Deletes renamed directories, many in one job."""
        fd = os.open(self._ingest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            while self._removals:
                names = sorted(self._removals)[:200]
                await self._workers.run("onggi.store.jobs:remove_trees", jobs.RemoveTrees(names), [fd])
                self._removals.difference_update(names)
        finally:
            os.close(fd)
            self._remover = None


def _remove_small(directory: str) -> bool:
    """Removes the directory at once if the container has hardly written anything: most never do.

    A crash in between leaves a part, which has no row and is removed as left over.
    """
    try:
        upper = os.listdir(os.path.join(directory, "upper"))
        work = os.listdir(os.path.join(directory, "work"))
        inner = os.listdir(os.path.join(directory, "work", "work")) if work == ["work"] else []
        if upper or inner or work not in ([], ["work"]):
            return False
        names = os.listdir(directory)
        for name in names:
            if name not in {"upper", "work"}:
                os.unlink(os.path.join(directory, name))
        if work:
            os.rmdir(os.path.join(directory, "work", "work"))
        os.rmdir(os.path.join(directory, "work"))
        os.rmdir(os.path.join(directory, "upper"))
        os.rmdir(directory)
    except OSError:
        return False
    return True


def _make_stubs(stubs: str) -> None:
    """Made anew only when something is missing: running containers have it mounted."""
    for name in _STUB_DIRECTORIES:
        os.makedirs(os.path.join(stubs, name), mode=0o755, exist_ok=True)
    for name in _STUB_FILES:
        path = os.path.join(stubs, name)
        if not os.path.exists(path):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o755))
    with contextlib.suppress(FileExistsError):
        os.symlink("/proc/mounts", os.path.join(stubs, "etc", "mtab"))
    for directory in (stubs, os.path.dirname(stubs)):
        os.chmod(directory, 0o755)  # noqa: S103 - the root of every container, and readable as such
