"""Containers that wait for their policy's next start: begun after a delay, tried again when it fails, given up by hand."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from onggi.engine import restart
from onggi.engine.container import Container, State
from onggi.errors import OnggiError

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

log = logging.getLogger("onggi.engine")


class Waiting:
    """Timers of restart policies; what they are is in restart.py."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, container: Container, delay_s: float) -> None:
        """Holds: the container's lock; it is RESTARTING."""
        container.restart_delay_s = delay_s
        container.restart_timer = asyncio.get_running_loop().call_later(
            delay_s,
            lambda: self._engine.tasks.begin(self._start_again(container), f"restart of {container.name}"),
        )

    async def _start_again(self, container: Container) -> None:
        async with container.writing, container.lock:
            if container.state != State.RESTARTING:
                return
            with contextlib.suppress(OnggiError, OSError):
                await self.start(container)

    async def start(self, container: Container) -> None:
        """A start that fails is tried again by the same policy, later: what stood in the way may go (B-12). Raises as `start`.

        Holds: the container's lock.
        """
        try:
            await self._engine.starts.start_locked(container)
        except (OnggiError, OSError) as error:
            if State(container.row.state) == State.EXITED and restart.wants_another(container):
                log.warning("container %s can't be started by its policy yet: %s", container.name, error)
                container.change(state=State.RESTARTING, was_running=True)
                container.exited.clear()
                first_s, longest_s, _ = restart.timing(container)
                self.begin(container, min(max(container.restart_delay_s * 2, first_s), longest_s))
            raise

    def give_up(self, container: Container) -> None:
        """It waits for its next start no more. Holds: the container's lock; it is RESTARTING. The row is the caller's to commit."""
        self.cancel(container)
        container.move(State.EXITED, was_running=False)
        container.exited.set()

    @staticmethod
    def cancel(container: Container) -> None:
        if container.restart_timer is not None:
            container.restart_timer.cancel()
            container.restart_timer = None
