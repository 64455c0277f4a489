"""A container made anew with other words: same name, volumes and networks, the old one kept until the new one is well (B-04).

Unlike a deploy the two never run at once: they share volumes, and a database that runs twice on one directory is lost. So the old
one is stopped first, and started again when the new one fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from onggi.engine.config import ContainerConfig, CreateBody, HostConfig, config_part
from onggi.engine.deploy import body_of
from onggi.engine.tasks import logged
from onggi.errors import NotFound, OnggiError

if TYPE_CHECKING:
    from onggi.engine.container import Container
    from onggi.engine.engine import Engine

Output = Callable[[Any], None]


class Recreation:
    """Shares with Deploy who may work on a name, and when a container counts as well."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def recreate(self, name: str, changes: CreateBody, *, health_timeout: float, output: Output) -> None:
        """What `changes` says is added, or takes the place of what was said. Raises NotFound, Conflict, InvalidArgument,
        OnggiError when the new one isn't well in time: the old one is back then.
        """
        old = self._engine.containers.get(name)
        work = self._recreate(old, changes, health_timeout, output)
        await self._engine.tasks.finish(self._engine.deploy.claimed(old.name, work), f"recreation of {old.name}")

    async def undo(self, name: str, *, health_timeout: float, output: Output) -> None:
        """The container that was there before the last recreation or deploy takes its place again; this one is kept as it was."""
        current = self._engine.containers.get(name)
        before = self._engine.containers.find(current.row.previous) if current.row.previous else None
        if before is None:
            raise NotFound(f"container {current.name} has nothing to go back to")
        work = self._take_place(current, before, health_timeout, output, remove_when_ill=False)
        await self._engine.tasks.finish(self._engine.deploy.claimed(current.name, work), f"undo of {current.name}")

    async def _recreate(self, old: Container, changes: CreateBody, health_timeout: float, output: Output) -> None:
        engine = self._engine
        body = merged(_with_volumes(body_of(old, changes.image or old.row.config.image), old), changes)
        created = await engine.containers.create(f"{old.name}-next-{old.exits}{len(engine.containers)}", body)
        new = engine.containers.get(created.id)
        output({"status": f"Created {new.id[:12]} from {body.image}"})
        new.change(replaces=old.id)
        await self._take_place(old, new, health_timeout, output, remove_when_ill=True)

    async def _take_place(
        self, old: Container, new: Container, health_timeout: float, output: Output, *, remove_when_ill: bool
    ) -> None:
        engine, runs = self._engine, old.is_alive
        try:
            if runs:
                output({"status": f"Stopping {old.id[:12]}"})
                await engine.stops.stop(old, timeout_s=None, signal_text=None)
                await engine.starts.start(new)
                output({"status": f"Started {new.id[:12]}; waiting until it is healthy"})
                await engine.deploy.until_well(new, health_timeout)
        except BaseException as error:
            await self._bring_back(old, new, runs=runs, remove=remove_when_ill)
            if isinstance(error, OnggiError):
                raise OnggiError(f"{old.name} is as it was: {error}") from error
            raise
        await engine.deploy.swap_names(old, new)
        output({"status": f"Recreated {new.name}; {old.name} is kept for --undo", "aux": {"Id": new.id}})

    async def _bring_back(self, old: Container, new: Container, *, runs: bool, remove: bool) -> None:
        engine = self._engine
        with logged(f"end of {new.name}, in whose place {old.name} comes back"):
            if remove:
                await engine.removal.remove(new, force=True, volumes=False)
            elif new.is_alive:
                await engine.stops.stop(new, timeout_s=None, signal_text=None)
        if runs and not old.is_alive:
            with logged(f"start of {old.name}, which comes back"):
                await engine.starts.start(old)


def _with_volumes(body: CreateBody, old: Container) -> CreateBody:
    """Volumes without a name of the user's are named now, so that the new container has the old one's data."""
    host = body.host_config or HostConfig()
    named = {mount.target for mount in host.mounts or ()}
    named |= {text.split(":")[1] for text in host.binds or () if text.count(":")}
    more = [
        f"{point.name}:{point.destination}" + ("" if point.rw else ":ro")
        for point in old.row.mounts
        if point.type == "volume" and point.destination not in named and not host.volumes_from
    ]
    body.host_config = msgspec.structs.replace(host, binds=[*(host.binds or ()), *more] or None)
    return body


def merged(body: CreateBody, changes: CreateBody) -> CreateBody:
    """Maps and lists are added to, by name where their entries have one; single values take the place of the old ones. Pure."""
    config = _merge(config_part(body), config_part(changes), ContainerConfig())
    host = _merge(body.host_config or HostConfig(), changes.host_config or HostConfig(), HostConfig())
    fields = {name: getattr(config, name) for name in ContainerConfig.__struct_fields__ if name != "image"}
    endpoints = body.networking_config
    if changes.networking_config is not None and changes.networking_config.endpoints_config:
        endpoints = changes.networking_config
    return CreateBody(
        **fields,
        image=changes.image or body.image,
        host_config=host,
        networking_config=endpoints,
        onggi=changes.onggi or body.onggi,
    )


def _merge(base: Any, over: Any, empty: Any) -> Any:
    found = {}
    for name in base.__struct_fields__:
        old, new = getattr(base, name), getattr(over, name)
        if new == getattr(empty, name):
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            new = old | new
        elif name == "env":
            own = {word.partition("=")[0] for word in new}
            new = [*(word for word in old or () if word.partition("=")[0] not in own), *new]
        elif name in _ADDED and old:
            new = [*old, *(one for one in new if one not in old)]
        found[name] = new
    return msgspec.structs.replace(base, **found)


_ADDED = frozenset(
    {"binds", "mounts", "cap_add", "cap_drop", "extra_hosts", "dns", "devices", "group_add", "security_opt", "ulimits"}
)
