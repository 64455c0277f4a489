"""Replacing a named container safely: the old one serves until the new one is healthy.

The new container is made from the old one's config with another image, and started beside it on the same networks. It takes
new connections in one transaction of the firewall once it is healthy; the old one keeps those it has and is drained. When the
new one fails it is removed, and the old one was never touched. The replaced one is kept, stopped, for `rollback`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from onggi.engine import backlog
from onggi.engine.config import ContainerConfig, CreateBody, NetworkingConfig, PortBinding, config_part
from onggi.engine.container import TABLE, Container
from onggi.engine.tasks import logged
from onggi.errors import Conflict, NotFound, OnggiError
from onggi.network import Published
from onggi.store.database import Put

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

Output = Callable[[Any], None]
STEADY_S = 3.0
"""How long a container without a health check must run to count as well."""


class Deploy:
    """Deploys and rollbacks; one at a time for a name."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._under_way: set[str] = set()

    async def replace(
        self, name: str, *, image: str, changes: CreateBody | None, health_timeout: float, drain: float, output: Output
    ) -> None:
        """Raises Conflict, NotFound, OnggiError when the new one isn't well in time: the old one serves on."""
        old = self._engine.containers.get(name)
        work = self.claimed(old.name, self._replace(old, image, changes, health_timeout, drain, output))
        await self._engine.tasks.finish(work, f"deploy of {old.name}")

    async def rollback(self, name: str, *, output: Output, health_timeout: float = 60.0, drain: float = 10.0) -> None:
        """Back to what ran before the last deploy: its image and its config, by the same steps."""
        current = self._engine.containers.get(name)
        before = self._engine.containers.find(current.row.previous) if current.row.previous else None
        if before is None:
            raise NotFound(f"container {current.name} has nothing to roll back to")
        body = body_of(before, before.row.config.image or before.row.image_name)
        work = self.claimed(current.name, self._put_in_place(current, body, health_timeout, drain, output))
        await self._engine.tasks.finish(work, f"rollback of {current.name}")

    async def claimed(self, name: str, work: Any) -> None:
        """Raises Conflict while something else is made of the name."""
        if name in self._under_way:
            work.close()
            raise Conflict(f"a deploy of {name} is already under way")
        self._under_way.add(name)
        try:
            await work
        finally:
            self._under_way.discard(name)

    async def _replace(
        self,
        old: Container,
        image: str,
        changes: CreateBody | None,
        health_timeout: float,
        drain: float,
        output: Output,
    ) -> None:
        body = body_of(old, image or old.row.config.image)
        if changes is not None:
            body = _changed(body, changes)
        try:
            self._engine.images.resolve(body.image)
        except NotFound:
            output({"status": f"Pulling {body.image}"})
            await self._engine.pull_named(body.image, output)
        await self._put_in_place(old, body, health_timeout, drain, output)

    async def _put_in_place(
        self, old: Container, body: CreateBody, health_timeout: float, drain: float, output: Output
    ) -> None:
        engine = self._engine
        name = old.name
        _keep_ports(body, engine.publishing.of(old))
        created = await engine.containers.create(f"{name}-next-{old.exits}{len(engine.containers)}", body)
        new = engine.containers.get(created.id)
        output({"status": f"Created {new.id[:12]} from {body.image}"})
        # In the row before anything is started: an engine that comes after a crash knows that nobody has judged it.
        new.change(replaces=old.id)
        try:
            await engine.starts.start(new)
            output({"status": f"Started {new.id[:12]} beside {old.id[:12]}; waiting until it is healthy"})
            await self.until_well(new, health_timeout)
        except BaseException as error:
            with logged(f"removal of {new.name}, which is not to be"):
                await engine.removal.remove(new, force=True, volumes=False)
            if isinstance(error, OnggiError):
                raise OnggiError(f"deploy of {name} refused: {error}. {old.id[:12]} serves on, unchanged") from error
            raise
        await engine.networks.ports.move(old.id, new.id)
        output({"status": "New connections go to the new container"})
        await self.swap_names(old, new)
        await self._drain(old, drain, output)
        output({"status": f"Deployed {name}: {body.image}", "aux": {"Id": new.id}})

    async def until_well(self, container: Container, timeout_s: float) -> None:
        """Raises OnggiError when it becomes unhealthy, ends, or isn't well in time."""
        exits = container.exits
        if container.health is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(STEADY_S, timeout_s)):
                    await container.exited.wait()
            if container.exits > exits or not container.is_alive:
                raise OnggiError(f"it ended with code {container.row.exit_code}")
            return
        try:
            async with asyncio.timeout(timeout_s):
                while container.health is not None and container.health.status == "starting":
                    await self._next(container)
                    if container.exits > exits or not container.is_alive:
                        raise OnggiError(f"it ended with code {container.row.exit_code}")
        except TimeoutError:
            raise OnggiError(f"it was not healthy within {timeout_s:g} s") from None
        if container.health is None or container.health.status != "healthy":
            last = container.health.log[-1]["Output"].strip() if container.health and container.health.log else ""
            raise OnggiError(f"it is unhealthy: {last}" if last else "it is unhealthy")

    @staticmethod
    async def _next(container: Container) -> None:
        """A change of health, or the container's end."""
        if container.next_exit is None:
            container.next_exit = asyncio.get_running_loop().create_future()
        changed: asyncio.Future[Any] = asyncio.ensure_future(container.next_health())
        ended: asyncio.Future[Any] = container.next_exit
        try:
            await asyncio.wait({changed, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()

    async def swap_names(self, old: Container, new: Container) -> None:
        """The new one gets the name; the old one one that says what it is. One commit, so that no crash leaves two or none."""
        engine = self._engine
        name, former = old.name, f"{old.name}-previous"
        stale = engine.containers.find(former)
        if stale is not None and stale is not new:
            with logged(f"removal of {stale.name}"):
                await engine.removal.remove(stale, force=True, volumes=False)
        async with old.lock, new.lock:
            engine.containers.swap_names(old, former, new, name)
            new.change(name=name, previous=old.id, replaces="")
            old.change(name=former, stopped_by_hand=True, published=[])
            await engine.database.commit(Put(TABLE, old.id, old.row), Put(TABLE, new.id, new.row))
            engine.endpoints.renamed(new)
            engine.endpoints.renamed(old)
        engine.events.emit("container", "rename", old.id, old.attributes | {"oldName": f"/{name}"})
        engine.events.emit("container", "rename", new.id, new.attributes | {"oldName": f"/{name}-next"})

    async def _drain(self, old: Container, drain: float, output: Output) -> None:
        """The old one gets its stop signal once it has accepted what came before the switch: a server finishes what it has begun.

        Connections keep their translation until they end.
        """
        output({"status": f"Draining {old.id[:12]}, {drain:g} s at most"})
        await backlog.accepted(old.row.pid, drain)
        with logged(f"stop of {old.name}, which is replaced"):
            await self._engine.stops.stop(old, timeout_s=max(1, int(drain)), signal_text=None)


def body_of(container: Container, image: str) -> CreateBody:
    """What made the container, for another image. What came from the old image's config gives way to the new one's."""
    row = container.row
    config = msgspec.structs.replace(row.asked or row.config, image=image)
    fields = {name: getattr(config, name) for name in ContainerConfig.__struct_fields__}
    from onggi.engine.endpoints import asked

    endpoints = {name: asked(settings) for name, settings in row.endpoints.items()}
    return CreateBody(
        **fields,
        host_config=msgspec.structs.replace(row.host_config),
        networking_config=NetworkingConfig(dict(endpoints)),
        onggi=row.extensions,
    )


def _keep_ports(body: CreateBody, published: Sequence[Published]) -> None:
    """Ports that were taken at random stay what clients know them as."""
    host = body.host_config
    if host is None or not host.port_bindings:
        return
    known: dict[str, list[PortBinding]] = {}
    for one in published:
        known.setdefault(f"{one.port}/{one.protocol}", []).append(PortBinding(one.host_ip, str(one.host_port)))
    kept = {key: known.get(key if "/" in key else f"{key}/tcp", wanted) for key, wanted in host.port_bindings.items()}
    body.host_config = msgspec.structs.replace(host, port_bindings=kept)


def _changed(body: CreateBody, changes: CreateBody) -> CreateBody:
    """Fields that `changes` has take the place of the body's."""
    empty, fields = ContainerConfig(), {}
    for name in ContainerConfig.__struct_fields__:
        value = getattr(config_part(changes), name)
        if value != getattr(empty, name) and name != "image":
            fields[name] = value
    changed = msgspec.structs.replace(body, **fields)
    if changes.host_config is not None:
        changed.host_config = changes.host_config
    return changed
