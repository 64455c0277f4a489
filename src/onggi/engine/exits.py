"""How a container's end becomes known: row, network, events, and what the restart policy says. Under the container's lock.

An exit is told once by the shim; the row is committed before anybody hears of it and before the shim may forget it (R-03).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from onggi.engine import exitreason, restart, uses
from onggi.engine.container import TABLE, Container, State
from onggi.engine.extensions import ExitReason
from onggi.errors import OnggiError
from onggi.runtime.client import CgroupInUse
from onggi.runtime.protocol import ExitRecord
from onggi.store.database import Put

if TYPE_CHECKING:
    from onggi.engine.engine import Engine
    from onggi.runtime.handles import Shim

log = logging.getLogger("onggi.engine")


class Exits:
    """Waits for the ends of containers; `engine` lends it the rooms."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def watch(self, container: Container, shim: Shim) -> None:
        shim.on_oom(lambda _kills: self._oom(container))
        record = await shim.wait()
        await self.ended(container, shim, record)

    def _oom(self, container: Container) -> None:
        if not container.oom_seen:
            container.oom_seen = True
            self._engine.events.emit("container", "oom", container.id, container.attributes)

    async def ended(self, container: Container, shim: Shim | None, record: ExitRecord) -> None:
        """The process is gone: row, network, events, then what the restart policy says."""
        engine = self._engine
        async with container.lock:
            engine.health.stop(container)
            if record.oom_killed:
                self._oom(container)
            await uses.release(self._engine, container)
            delay = restart.next_delay(container, record, asyncio.get_running_loop().time())
            reason = await self._reason(container, record)
            state = State.EXITED if delay is None else State.RESTARTING
            container.move(
                state, pid=0, exit_code=record.exit_code, finished_ns=record.finished_at_ns, oom_killed=record.oom_killed,
                error=record.reason, published=[], stop_at_ns=0, restart_count=container.row.restart_count + (delay is not None), was_running=delay is not None, exit_reason=reason,
            )  # fmt: skip
            container.shim = None
            container.oom_seen = False
            durable = await self.write_end(container)
            if shim is not None:
                container.burial = engine.tasks.begin(
                    self._bury(container, shim, durable=durable), f"shim of {container.name} goes"
                )
            uses.ended(engine, container)
            ran_s = max(0, (record.finished_at_ns - container.row.started_ns) // 10**9)
            engine.events.emit(
                "container", "die", container.id,
                container.attributes | {"exitCode": str(record.exit_code), "execDuration": str(ran_s)},
            )  # fmt: skip
            self.tell(container, record.exit_code)
            if delay is None:
                container.exited.set()
            else:
                engine.waiting.begin(container, delay)
        if container.row.host_config.auto_remove and not container.restarting_by_hand:
            await self._engine.removal.by_policy(container)

    @staticmethod
    async def _reason(container: Container, record: ExitRecord) -> ExitReason:
        victim = None
        if record.oom_killed:
            victim = await asyncio.to_thread(exitreason.find_victim, container.id)
        limit = container.row.host_config.memory
        return exitreason.explain(record, container.act, memory_limit=limit, victim=victim)

    async def write_end(self, container: Container) -> bool:
        """Whether the row is durable. A full disk keeps no container from ending: it is told, and tried again by `_bury`."""
        try:
            await self._engine.database.commit(Put(TABLE, container.id, container.row))
        except OnggiError as error:
            log.error("the end of container %s is not written yet: %s", container.name, error)
            return False
        return True

    async def _bury(self, container: Container, shim: Shim, *, durable: bool) -> None:
        """The shim may forget how the container ended once the row says it (R-03)."""
        delay = 0.5
        while not durable and not container.removed.is_set():
            await asyncio.sleep(delay)
            delay = min(delay * 2, 60.0)
            durable = await self.write_end(container)
        await self._forget(container, shim.forget)

    def forget_later(self, container: Container) -> None:
        """A start has failed, and could not remove the cgroup that it had made."""
        work = self._forget(container, partial(self._engine.runtime.forget, container.id))
        container.burial = self._engine.tasks.begin(work, f"cgroup of {container.name} goes")

    async def _forget(self, container: Container, forget: Callable[[], Awaitable[None]]) -> None:
        """A cgroup that the kernel doesn't let go of is tried again, until the container starts anew in it (K-11)."""
        delay = 0.5
        while True:
            try:
                await forget()
            except CgroupInUse as error:
                log.warning("container %s has ended: %s; tried again in %s s", container.name, error, delay)
            else:
                return
            try:
                async with asyncio.timeout(delay):
                    await container.wanted_again.wait()
                    return
            except TimeoutError:
                delay = min(delay * 2, 60.0)

    def tell(self, container: Container, code: int) -> None:
        """Whoever waits for its next exit knows."""
        container.exits += 1
        waiting, container.next_exit = container.next_exit, None
        if waiting is not None and not waiting.done():
            waiting.set_result(code)
