"""How a container is ended because somebody asks for it: stop, kill, restart. Each signal is sent under the container's lock."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING

from onggi.engine import pauses
from onggi.engine.container import TABLE, Container, State
from onggi.engine.signals import signal_number
from onggi.engine.tasks import note_failure
from onggi.errors import Conflict, InvalidArgument, NotModified, OnggiError
from onggi.store.database import Put

if TYPE_CHECKING:
    from onggi.engine.engine import Engine
    from onggi.runtime.handles import Shim

DEFAULT_STOP_S = 10
_AFTER_KILL_S = 10.0


class Stops:
    """Ends containers; `engine` lends it the rooms."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def stop(self, container: Container, *, timeout_s: int | None, signal_text: str | None) -> None:
        """Raises NotModified when it isn't running. Goes on to its end whatever the caller does."""
        if container.state == State.RESTARTING:
            async with container.lock:
                if container.state == State.RESTARTING:
                    self._engine.waiting.give_up(container)
                    container.change(stopped_by_hand=True)
                    await self._engine.database.commit(Put(TABLE, container.id, container.row))
                    return
        if not container.is_alive:
            raise NotModified(f"container {container.id} is already stopped")
        await self._stop(container, timeout_s=timeout_s, signal_text=signal_text)
        self._engine.events.emit("container", "stop", container.id, container.attributes)

    async def end_unhealthy(self, container: Container, action: str) -> None:
        """What HealthOnFailure says (B-09): a restart follows the policy's delays, a kill its rules, a stop stays."""
        container.restart_wanted = action == "restart"
        timeout_s = 0 if action == "kill" else None
        await self._stop(container, timeout_s=timeout_s, signal_text=None, act="unhealthy", by_hand=action == "stop")

    async def end(self, container: Container) -> None:
        """Killed at once, without an event of its own but the kill's."""
        await self._stop(container, timeout_s=0, signal_text=None)

    async def _stop(
        self,
        container: Container,
        *,
        timeout_s: int | None,
        signal_text: str | None,
        act: str = "stopped",
        by_hand: bool = True,
    ) -> None:
        config = container.row.config
        number = signal_number(signal_text or config.stop_signal or "SIGTERM")
        patience = (
            timeout_s
            if timeout_s is not None
            else config.stop_timeout
            if config.stop_timeout is not None
            else DEFAULT_STOP_S
        )
        async with container.lock:
            shim = container.shim
            if shim is None or not container.is_alive:
                return
            deadline = time.time_ns() + patience * 10**9 if patience >= 0 else 0
            container.change(stopped_by_hand=by_hand, stop_at_ns=deadline)
            container.act = act
            self._engine.database.submit(Put(TABLE, container.id, container.row)).add_done_callback(note_failure)
            exits = container.exits
            if patience != 0:
                await self._signal(container, shim, number)
                if container.state == State.PAUSED:
                    await pauses.thaw(self._engine, container)
        if patience != 0 and await self._wait_exit(container, exits, None if patience < 0 else float(patience)):
            return
        await self._kill_for_good(container, shim, exits)

    async def finish_stop(self, container: Container) -> None:
        """A stop that an earlier engine began: its deadline holds."""
        exits, shim = container.exits, container.shim
        left_s = (container.row.stop_at_ns - time.time_ns()) / 1e9
        if shim is not None and not await self._wait_exit(container, exits, max(0.0, left_s)):
            await self._kill_for_good(container, shim, exits)

    async def _kill_for_good(self, container: Container, shim: Shim, exits: int) -> None:
        """Raises OnggiError when it doesn't end even so."""
        async with container.lock:
            if container.shim is shim and container.is_alive:
                await self._signal(container, shim, signal.SIGKILL)
                if container.state == State.PAUSED:
                    await pauses.thaw(self._engine, container)
        if not await self._wait_exit(container, exits, _AFTER_KILL_S):
            raise OnggiError(f"container {container.id}: tried to kill container, but did not receive an exit event")

    async def _signal(self, container: Container, shim: Shim, number: int) -> None:
        container.is_dying = container.is_dying or number == signal.SIGKILL
        with contextlib.suppress(Conflict):
            await shim.kill(number)
        self._engine.events.emit("container", "kill", container.id, container.attributes | {"signal": str(number)})

    @staticmethod
    async def _wait_exit(container: Container, exits: int, patience_s: float | None) -> bool:
        if container.exits > exits:
            return True
        if container.next_exit is None:
            container.next_exit = asyncio.get_running_loop().create_future()
        future = container.next_exit
        done, _ = await asyncio.wait({future}, timeout=patience_s)
        return bool(done)

    async def kill(self, container: Container, signal_text: str) -> None:
        """Raises Conflict when it isn't running, InvalidArgument for a signal that nobody knows.

        One that waits for its next start is ended by whatever would end it if it ran (E-279).
        """
        try:
            number = signal_number(signal_text)
        except InvalidArgument as error:
            raise InvalidArgument(f"cannot kill container: {container.name}: {error}") from None
        async with container.lock:
            if container.state == State.RESTARTING:
                self._engine.waiting.give_up(container)
                container.change(stopped_by_hand=True)
                await self._engine.database.commit(Put(TABLE, container.id, container.row))
                return
            if not container.is_alive or container.shim is None:
                raise Conflict(f"cannot kill container: {container.name}: container {container.id} is not running")
            stop_number = signal_number(container.row.config.stop_signal or "SIGTERM")
            if number in (signal.SIGKILL, stop_number):
                container.change(stopped_by_hand=True)
                container.act = "killed"
            exits = container.exits
            await self._signal(container, container.shim, number)
            if number == signal.SIGKILL and container.state == State.PAUSED:
                await pauses.thaw(self._engine, container)
        if number == signal.SIGKILL:
            await self._wait_exit(container, exits, _AFTER_KILL_S)

    async def restart(self, container: Container, *, timeout_s: int | None, signal_text: str | None) -> None:
        """Stops it if it runs, starts it in any case; --rm doesn't remove it between."""
        container.restarting_by_hand = True
        try:
            if container.is_alive or container.state == State.RESTARTING:
                with contextlib.suppress(NotModified):
                    await self.stop(container, timeout_s=timeout_s, signal_text=signal_text)
                await container.exited.wait()
            with contextlib.suppress(NotModified):
                await self._engine.starts.start(container)
        finally:
            container.restarting_by_hand = False
        self._engine.events.emit("container", "restart", container.id, container.attributes)
