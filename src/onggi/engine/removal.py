"""Removing a container: ended first when that is forced, then row, name, files, volumes and layers that nobody else needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onggi.engine.container import ALIVE, TABLE, Container, State
from onggi.errors import Conflict, NotFound
from onggi.store.database import Delete

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_TRIES = 5
"""Its restart policy, or another client, may start it again between its end and its removal."""


def _still_used(container: Container) -> Conflict:
    """Why it can't be removed without force, in docker's words."""
    what = f'cannot remove container "{container.name}": container is '
    if container.state == State.PAUSED:
        return Conflict(what + "paused and must be unpaused first")
    return Conflict(what + f"{container.state}: stop the container before removing or force remove")


class Removal:
    """Makes the last move of a container; `engine` lends it the rooms."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def by_policy(self, container: Container) -> None:
        """--rm: after its end, with its anonymous volumes."""
        try:
            await self.remove(container, force=True, volumes=True)
        except (Conflict, NotFound):
            return

    async def remove(self, container: Container, *, force: bool, volumes: bool) -> None:
        """Raises Conflict in docker's words; what could not be taken away is taken away by the next reconcile."""
        if container.state == State.REMOVING:
            raise Conflict(f"removal of container {container.id} is already in progress")
        for _ in range(_TRIES):
            if container.is_alive or container.state == State.RESTARTING:
                if not force:
                    raise _still_used(container)
                await self._end(container)
            async with container.lock:
                # Its policy or another client may have started it again meanwhile.
                if not (force and (container.is_alive or container.state == State.RESTARTING)):
                    await self._remove(container, volumes=volumes)
                    return
        raise _still_used(container)

    async def _end(self, container: Container) -> None:
        container.restarting_by_hand = True  # --rm must not remove it a second time
        try:
            async with container.lock:
                if container.state == State.RESTARTING:
                    self._engine.waiting.give_up(container)
            await self._engine.stops.end(container)
        finally:
            container.restarting_by_hand = False

    async def _remove(self, container: Container, *, volumes: bool) -> None:
        engine = self._engine
        if container.state == State.REMOVING or container.id not in engine.containers:
            raise Conflict(f"removal of container {container.id} is already in progress")
        if container.state in ALIVE:
            raise _still_used(container)
        container.move(State.REMOVING)
        gone = engine.database.submit(Delete(TABLE, container.id))
        engine.containers.forget(container)
        engine.snapshots.remove(container.id)
        for exec_id in container.execs:
            engine.execs.forget(exec_id)
        await engine.volumes.release(container.id, remove_anonymous=volumes)
        await gone
        engine.events.emit("container", "destroy", container.id, container.attributes)
        engine.exits.tell(container, container.row.exit_code)
        container.removed.set()
        container.exited.set()
        if (
            engine.images.find(container.row.image_id) is None
        ):  # its image was removed by force while it needed the layers
            work = engine.images.drop_layers(engine.layers_of(container))
            engine.tasks.begin(work, f"layers of {container.name}")
