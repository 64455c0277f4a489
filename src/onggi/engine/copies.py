"""A container's files for its clients: cp, export, commit. Running or not, volumes included.

What may be written while, and what a client is told of it; archive.py does the work.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import TYPE_CHECKING

from onggi.engine.committing import commit
from onggi.engine.config import ContainerConfig
from onggi.engine.container import Container, State
from onggi.engine.rootview import Mounted, RootView
from onggi.errors import Conflict
from onggi.oci.reference import Reference

if TYPE_CHECKING:
    from onggi.engine.archivejobs import PathStat
    from onggi.engine.engine import Engine


class Copies:
    """See the module."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def view(self, container: Container, asked: str = "") -> RootView:
        """The container's tree as copies see it: its root, and what is mounted there. `asked` is what a client calls it."""
        row, engine = container.row, self._engine
        directory = engine.snapshots.directory(row.id)
        mounted = [Mounted(point.destination, point.source or None, not point.rw) for point in row.mounts]
        mounted += [Mounted(f"/etc/{name}", f"{directory}/{name}") for name in ("hostname", "hosts", "resolv.conf")]
        mounted += [Mounted(path, None) for path in row.host_config.tmpfs or {}]
        alive = container.is_alive and container.shim is not None
        return RootView(
            asked or row.id, engine.snapshot(container), mounted, row.host_config.readonly_rootfs, row.pid if alive else None,
            container.shim.process.pidfd if alive and container.shim else None,
        )  # fmt: skip

    async def stat(self, text: str, path: str) -> PathStat:
        container = self._engine.containers.get(text)
        return await self._engine.archive.stat(self.view(container, text), path)

    @contextlib.asynccontextmanager
    async def get(
        self, text: str, path: str, *, gzip: bool = False
    ) -> AsyncIterator[tuple[PathStat, AsyncIterator[bytes]]]:
        container = self._engine.containers.get(text)
        async with self._engine.archive.get(self.view(container, text), path, gzip=gzip) as found:
            self._engine.events.emit("container", "archive-path", container.id, container.attributes)
            yield found

    async def put(
        self, text: str, path: str, body: AsyncIterable[bytes], *, no_overwrite_dir_non_dir: bool, copy_uid_gid: bool
    ) -> None:
        container = self._engine.containers.get(text)
        async with contextlib.AsyncExitStack() as held:
            if not container.is_alive:
                await held.enter_async_context(container.writing)
            await self._engine.archive.put(
                self.view(container, text), path, body, no_overwrite_dir_non_dir=no_overwrite_dir_non_dir,
                user=container.row.config.user if copy_uid_gid else "",
            )  # fmt: skip
        self._engine.events.emit("container", "extract-to-dir", container.id, container.attributes)

    @contextlib.asynccontextmanager
    async def export(self, text: str) -> AsyncIterator[AsyncIterator[bytes]]:
        container = self._engine.containers.get(text)
        if container.state in (State.DEAD, State.REMOVING):
            raise Conflict(f"You cannot export container {container.id} which is {container.state}")
        async with self._engine.archive.export(self.view(container)) as pieces:
            self._engine.events.emit("container", "export", container.id, container.attributes)
            yield pieces

    async def commit(
        self,
        text: str,
        *,
        name: Reference | None,
        config: ContainerConfig | None,
        changes: Sequence[str],
        author: str,
        comment: str,
        pause: bool,
    ) -> str:
        """An image of what the container has changed; its id."""
        container = self._engine.containers.get(text)
        work = commit(
            self._engine,
            container,
            name=name,
            config=config,
            changes=changes,
            author=author,
            comment=comment,
            pause=pause,
        )
        return await self._engine.tasks.finish(work, f"commit of {container.name}")
