"""How a container begins to run: from the request, or by its restart policy. Under the container's lock.

A start commits its intent beside the act (R-06): a shim that is there with an intent that is durable is a container that runs,
a shim without one is undone by the next engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

from onggi.engine import uses
from onggi.engine.container import TABLE, Container, ContainerRow, State
from onggi.engine.extensions import ExitReason
from onggi.engine.preparing import Preparation
from onggi.engine.tasks import note_failure
from onggi.errors import Conflict, NotModified, OnggiError, RuntimeStepError
from onggi.runtime.protocol import StartContainer
from onggi.store.database import Put

if TYPE_CHECKING:
    from onggi.engine.engine import Engine
    from onggi.runtime.client import AttachSocket
    from onggi.runtime.handles import Shim


class Starts:
    """Makes containers run; `engine` lends it the rooms."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.preparation = Preparation(engine)

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
            # The last run's shim ends whatever is in the cgroup of this id: only then may there be a new one. One that
            # can't be removed is nobody's any more, and the start takes it over.
            burial, container.burial = container.burial, None
            container.wanted_again.set()
            await asyncio.wait({burial})
            container.wanted_again.clear()
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
        engine.tasks.watch(engine.exits.watch(container, shim), f"exit of {container.name}")
        uses.begun(engine, container)
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
        intent.add_done_callback(note_failure)
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
        if self._engine.runtime.has_left(container.id):
            self._engine.exits.forget_later(container)
        code = error.exit_code if isinstance(error, RuntimeStepError) else 128
        await uses.release(self._engine, container)
        after = State.CREATED if former.state == State.CREATED else State.EXITED
        container.move(
            after, error=str(error), exit_code=code, exit_reason=ExitReason("not-started", str(error)), pid=0, was_running=False, started_ns=former.started_ns, published=[]
        )  # fmt: skip
        if after != State.CREATED:
            container.change(finished_ns=time.time_ns())
        await self._engine.exits.write_end(container)
        self._engine.exits.tell(container, code)
        container.exited.set()
        if container.row.host_config.auto_remove and not container.restarting_by_hand:
            self._engine.tasks.begin(self._engine.removal.by_policy(container), f"removal of {container.name}")
