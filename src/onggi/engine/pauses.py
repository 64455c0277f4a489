"""A container that is frozen and thawed: the cgroup's freezer. Under the container's lock."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from typing import TYPE_CHECKING

from onggi.engine.container import TABLE, Container, State
from onggi.errors import Conflict, NotImplementedHere
from onggi.kernel import cgroups
from onggi.store.database import Put

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


async def pause(engine: Engine, container: Container) -> None:
    async with container.lock:
        if container.state == State.PAUSED:
            raise Conflict(f"Container {container.id} is already paused")
        if container.state == State.RESTARTING:
            raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
        container.must_be_alive()
        if container.is_dying:
            raise Conflict(f"container {container.id} is not running")
        try:
            await asyncio.to_thread(cgroups.open(engine.cgroup_path(container)).freeze)
        except FileNotFoundError:
            raise Conflict(f"container {container.id} is not running") from None
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
            raise NotImplementedHere(error.strerror or "") from None
        container.move(State.PAUSED)
        engine.health.stop(container, keep=True)
        await engine.database.commit(Put(TABLE, container.id, container.row))
        engine.events.emit("container", "pause", container.id, container.attributes)


async def unpause(engine: Engine, container: Container) -> None:
    async with container.lock:
        if container.state != State.PAUSED:
            raise Conflict(f"Container {container.id} is not paused")
        await thaw(engine, container)
        await engine.database.commit(Put(TABLE, container.id, container.row))
        engine.events.emit("container", "unpause", container.id, container.attributes)
        engine.health.begin(container, keep=True)


async def thaw(engine: Engine, container: Container) -> None:
    # Without its cgroup it has ended just now: that it has is on its way here.
    with contextlib.suppress(FileNotFoundError):
        await asyncio.to_thread(cgroups.open(engine.cgroup_path(container)).thaw)
    container.move(State.RUNNING)
