"""The moves of a container: start, exit, restart, stop, kill, pause, removal. Each is made under the container's lock.

A start commits its intent beside the act (R-06): a shim that is there with an intent that is durable is a container that runs,
a shim without one is undone by the next engine. An exit is told once by the shim; the row is committed before anybody hears
of it and before the shim may forget it (R-03).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

from onggi.engine import exitreason, restart
from onggi.engine.container import TABLE, Container, ContainerRow, State
from onggi.engine.extensions import ExitReason
from onggi.engine.preparing import Preparation
from onggi.engine.signals import signal_number
from onggi.errors import Conflict, InvalidArgument, NotImplementedHere, NotModified, OnggiError, RuntimeStepError
from onggi.kernel import cgroups
from onggi.runtime.protocol import ExitRecord, StartContainer
from onggi.store.database import Put

if TYPE_CHECKING:
    from onggi.engine.engine import Engine
    from onggi.runtime.client import AttachSocket
    from onggi.runtime.handles import Shim

log = logging.getLogger("onggi.engine")
DEFAULT_STOP_S = 10
_AFTER_KILL_S = 10.0


def _note_failure(done: asyncio.Future[None]) -> None:
    """A commit that nobody waits for has failed: the row lags behind until the next one (R-39)."""
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("a container's state could not be written: %s", error)


class Lifecycle:
    """Makes the moves; `engine` lends it the rooms."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.preparation = Preparation(engine)

    # Start

    async def start(self, container: Container, *, by_policy: bool = False) -> None:
        """`by_policy` counts as one of the policy's restarts, otherwise counting begins anew. Raises NotModified when it runs, Conflict, RuntimeStepError; the container is as before then, with its error kept."""
        async with container.writing, container.lock:
            match container.state:
                case State.RUNNING:
                    raise NotModified(f"container {container.id} is already running")
                case State.PAUSED:
                    raise Conflict("cannot start a paused container, try unpause instead")
                case State.REMOVING | State.DEAD:
                    raise Conflict("container is marked for removal and cannot be started")
                case _:
                    self._engine.waiting.cancel(container)
            count = container.row.restart_count + 1 if by_policy else 0
            container.change(stopped_by_hand=False, restart_count=count)
            container.restart_delay_s = 0.0
            await (self._engine.waiting.start(container) if by_policy else self.start_locked(container))

    async def start_locked(self, container: Container) -> None:
        """Holds: the container's lock, and `writing`. Raises as `start`."""
        engine = self._engine
        if container.burial is not None:
            # The last run's shim ends whatever is in the cgroup of this id: only then may there be a new one.
            burial, container.burial = container.burial, None
            await asyncio.wait({burial})
        attached, container.attaching = container.attaching, []
        container.restart_wanted, container.is_dying, container.act = False, False, ""
        former = container.row
        container.move(
            State.STARTING, error="", oom_killed=False, started_ns=time.time_ns(), was_running=True, pending=[]
        )
        try:
            request, held, connection = await self.preparation.prepare(container)
            try:
                shim = await self._run(container, request, attached, held, connection)
            finally:
                for sock in (*held, *(() if connection is None else (connection,))):
                    sock.close()
        except BaseException as error:
            await self._start_failed(container, error, former)
            raise
        finally:
            for client in attached:
                os.close(client.fd)
        container.exited.clear()
        container.shim = shim
        container.began_s = asyncio.get_running_loop().time()
        container.move(State.RUNNING, pid=shim.pid, started_ns=shim.started_at_ns, was_running=True)
        if shim.dns_fds:
            fds, shim.dns_fds[:] = list(shim.dns_fds), []
            await engine.networks.serve_names(container.id, fds)
        # No second commit: intent and shim together say all of it, and a later engine adopts the shim as running.
        engine.tasks.watch(self.watch(container, shim), f"exit of {container.name}")
        self._announce_volumes(container, "mount")
        self._announce_networks(container, "connect")
        engine.events.emit("container", "start", container.id, container.attributes)
        engine.health.begin(container)

    async def _run(
        self,
        container: Container,
        request: StartContainer,
        attached: list[AttachSocket],
        held: list[socket.socket],
        connection: socket.socket | None,
    ) -> Shim:
        """The intent is committed while the shim acts; either both are there or nothing is (R-06)."""
        engine = self._engine
        intent = engine.database.submit(Put(TABLE, container.id, container.row))
        intent.add_done_callback(_note_failure)
        shim = await engine.runtime.start(
            request,
            attach=attached,
            hold=[sock.fileno() for sock in held],
            log=None if connection is None else connection.fileno(),
        )
        try:
            await intent
        except OnggiError:
            with contextlib.suppress(OnggiError):
                await shim.kill(signal.SIGKILL)
            await shim.wait()
            await shim.forget()
            raise
        return shim

    async def _start_failed(self, container: Container, error: BaseException, former: ContainerRow) -> None:
        """Nothing of the start is left; the container is what it was, and keeps the reason (E-275)."""
        code = error.exit_code if isinstance(error, RuntimeStepError) else 128
        await self._release_network(container)
        after = State.CREATED if former.state == State.CREATED else State.EXITED
        container.move(
            after, error=str(error), exit_code=code, exit_reason=ExitReason("not-started", str(error)), pid=0, was_running=False, started_ns=former.started_ns, published=[]
        )  # fmt: skip
        if after != State.CREATED:
            container.change(finished_ns=time.time_ns())
        await self._write_end(container)
        self.tell_exit(container, code)
        container.exited.set()
        if container.row.host_config.auto_remove and not container.restarting_by_hand:
            self._engine.tasks.begin(self._engine.removal.by_policy(container), f"removal of {container.name}")

    # Exit

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
            await self._release_network(container)
            delay = restart.next_delay(container, record, asyncio.get_running_loop().time())
            reason = await self._reason(container, record)
            state = State.EXITED if delay is None else State.RESTARTING
            container.move(
                state, pid=0, exit_code=record.exit_code, finished_ns=record.finished_at_ns, oom_killed=record.oom_killed,
                error=record.reason, published=[], stop_at_ns=0, restart_count=container.row.restart_count + (delay is not None), was_running=delay is not None, exit_reason=reason,
            )  # fmt: skip
            container.shim = None
            container.oom_seen = False
            durable = await self._write_end(container)
            if shim is not None:
                container.burial = engine.tasks.begin(
                    self._bury(container, shim, durable=durable), f"shim of {container.name} goes"
                )
            self._announce_networks(container, "disconnect")
            self._announce_volumes(container, "unmount")
            ran_s = max(0, (record.finished_at_ns - container.row.started_ns) // 10**9)
            engine.events.emit(
                "container", "die", container.id,
                container.attributes | {"exitCode": str(record.exit_code), "execDuration": str(ran_s)},
            )  # fmt: skip
            self.tell_exit(container, record.exit_code)
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

    async def _write_end(self, container: Container) -> bool:
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
            durable = await self._write_end(container)
        await shim.forget()

    def tell_exit(self, container: Container, code: int) -> None:
        """Whoever waits for its next exit knows."""
        container.exits += 1
        waiting, container.next_exit = container.next_exit, None
        if waiting is not None and not waiting.done():
            waiting.set_result(code)

    async def _release_network(self, container: Container) -> None:
        engine = self._engine
        await engine.publishing.unpublish(container)
        engine.networks.forget_names(container.id)
        container.change(endpoints=engine.endpoints.detach_all(container))

    def _announce_networks(self, container: Container, action: str) -> None:
        for name, network in self._engine.endpoints.networks_of(container):
            self._engine.events.emit(
                "network", action, network.id, {"container": container.id, "name": name, "type": network.driver}
            )

    def _announce_volumes(self, container: Container, action: str) -> None:
        for point in container.row.mounts:
            if point.type == "volume":
                said = {"container": container.id, "driver": point.driver}
                if action == "mount":
                    said |= {
                        "destination": point.destination,
                        "propagation": point.propagation,
                        "read/write": str(point.rw).lower(),
                    }
                self._engine.events.emit("volume", action, point.name, said)

    # Stop, kill, restart, pause

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
            self._engine.database.submit(Put(TABLE, container.id, container.row)).add_done_callback(_note_failure)
            exits = container.exits
            if patience != 0:
                await self._signal(container, shim, number)
                if container.state == State.PAUSED:
                    await self._thaw(container)
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
                    await self._thaw(container)
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
                await self._thaw(container)
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
                await self.start(container)
        finally:
            container.restarting_by_hand = False
        self._engine.events.emit("container", "restart", container.id, container.attributes)

    async def pause(self, container: Container) -> None:
        async with container.lock:
            if container.state == State.PAUSED:
                raise Conflict(f"Container {container.id} is already paused")
            if container.state == State.RESTARTING:
                raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
            container.must_be_alive()
            if container.is_dying:
                raise Conflict(f"container {container.id} is not running")
            try:
                await asyncio.to_thread(cgroups.open(self._engine.cgroup_path(container)).freeze)
            except FileNotFoundError:
                raise Conflict(f"container {container.id} is not running") from None
            except OSError as error:
                if error.errno != errno.ENOTSUP:
                    raise
                raise NotImplementedHere(error.strerror or "") from None
            container.move(State.PAUSED)
            self._engine.health.stop(container, keep=True)
            await self._engine.database.commit(Put(TABLE, container.id, container.row))
            self._engine.events.emit("container", "pause", container.id, container.attributes)

    async def unpause(self, container: Container) -> None:
        async with container.lock:
            if container.state != State.PAUSED:
                raise Conflict(f"Container {container.id} is not paused")
            await self._thaw(container)
            await self._engine.database.commit(Put(TABLE, container.id, container.row))
            self._engine.events.emit("container", "unpause", container.id, container.attributes)
            self._engine.health.begin(container, keep=True)

    async def _thaw(self, container: Container) -> None:
        # Without its cgroup it has ended just now: that it has is on its way here.
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(cgroups.open(self._engine.cgroup_path(container)).thaw)
        container.move(State.RUNNING)
