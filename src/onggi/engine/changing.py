"""What docker can't change of a container that exists: environment, labels, published ports, mounts (B-01 to B-03).

Ports, labels and mounts change at once where it runs; the environment belongs to a process, so it waits for the next start and
is told as pending until then.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from onggi.engine import mountspecs, portwords
from onggi.engine.binds import Collector
from onggi.engine.config import Changes, ContainerConfig, HostConfig, MountPoint
from onggi.engine.container import TABLE, Container, PublishedPort
from onggi.engine.endpoints import port_requests
from onggi.engine.tasks import logged
from onggi.errors import Conflict, InvalidArgument
from onggi.network import Published
from onggi.runtime import livemounts
from onggi.store.database import Put

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


async def change(engine: Engine, container: Container, wanted: Changes) -> list[str]:
    """What waits for the next start. Raises InvalidArgument, Conflict; of ports and mounts what was changed before stays.

    Holds: the container's lock.
    """
    _check(container, wanted)
    _change_words(container, wanted)
    await _change_ports(engine, container, wanted)
    await _change_mounts(engine, container, wanted)
    await engine.database.commit(Put(TABLE, container.id, container.row))
    return container.row.pending


def _check(container: Container, wanted: Changes) -> None:
    for word in wanted.env:
        if not word.partition("=")[0] or "=" not in word or "\0" in word:
            raise InvalidArgument(f"invalid environment variable: {word}")
    portwords.check(wanted.publish)
    mode = container.row.host_config.network_mode
    if wanted.publish and (mode == "host" or mode.startswith("container:")):
        raise InvalidArgument("conflicting options: port publishing and the container type network mode")
    kept = {point.destination for point in container.row.mounts} - {_clean(path) for path in wanted.mounts_remove}
    for mount in wanted.mounts:
        mountspecs.check(mount)
        if mountspecs.target(mount.target) in kept:
            raise InvalidArgument(f"Duplicate mount point: {mount.target}")


def _clean(path: str) -> str:
    return mountspecs.target(path)


def _change_words(container: Container, wanted: Changes) -> None:
    """Environment and labels."""
    row = container.row
    gone = {*wanted.env_remove, *(word.partition("=")[0] for word in wanted.env)}
    env = [word for word in row.config.env or () if word.partition("=")[0] not in gone] + wanted.env
    labels = {name: value for name, value in (row.config.labels or {}).items() if name not in wanted.labels_remove}
    config = msgspec.structs.replace(row.config, env=env, labels=labels | wanted.labels)
    changes_env = container.is_alive and env != (row.config.env or [])
    pending = sorted({*row.pending, "Env"}) if changes_env else row.pending
    container.change(config=config, pending=pending)


def _bindings(host: HostConfig, config: ContainerConfig, wanted: Changes) -> tuple[HostConfig, ContainerConfig]:
    gone = {port if "/" in port else f"{port}/tcp" for port in wanted.publish_remove}
    bindings = {key: value for key, value in (host.port_bindings or {}).items() if _full(key) not in gone}
    for key, value in wanted.publish.items():
        bindings[key] = [*(bindings.get(key) or ()), *(value or ())]
    exposed = dict(config.exposed_ports or {}) | {key: {} for key in wanted.publish}
    return (
        msgspec.structs.replace(host, port_bindings=bindings or None),
        msgspec.structs.replace(config, exposed_ports=exposed or None),
    )


def _full(key: str) -> str:
    return key if "/" in key else f"{key}/tcp"


async def _change_ports(engine: Engine, container: Container, wanted: Changes) -> None:
    if not wanted.publish and not wanted.publish_remove:
        return
    ports, shim = engine.networks.ports, container.shim
    host, config = _bindings(container.row.host_config, container.row.config, wanted)
    if container.is_alive and shim is not None:
        gone = {_full(key) for key in wanted.publish_remove}
        old = [one for one in ports.of(container.id) if f"{one.port}/{one.protocol}" in gone]
        if old:
            await shim.hold([], [(one.protocol, one.host_ip, one.host_port) for one in old])
            await ports.withdraw(container.id, old)
        await _publish(engine, container, wanted)
    published = [PublishedPort(one.protocol, one.port, one.host_ip, one.host_port) for one in ports.of(container.id)]
    container.change(host_config=host, config=config, published=published)


async def _publish(engine: Engine, container: Container, wanted: Changes) -> None:
    """More ports of a running container: their sockets go to its shim, as at a start. Raises Conflict in docker's words."""
    if container.shim is None or not wanted.publish:
        return
    requests = port_requests(wanted.publish)
    endpoints = engine.networks.members.of(container.id).values()
    address = next((one.address4 for one in endpoints if one.ipv4 and not one.internal), "")
    if not address:
        raise Conflict(f"container {container.name} has no address that a port could be led to")
    found: list[Published] = []
    taken, sockets = await engine.networks.ports.publish(container.id, address, requests)
    found += taken
    try:
        await container.shim.hold([sock.fileno() for sock in sockets], [])
    except BaseException:
        await engine.networks.ports.withdraw(container.id, found)
        raise
    finally:
        for sock in sockets:
            sock.close()


async def _change_mounts(engine: Engine, container: Container, wanted: Changes) -> None:
    for path in wanted.mounts_remove:
        await _remove_mount(engine, container, _clean(path))
    for mount in wanted.mounts:
        row = container.row
        asked = HostConfig(mounts=[mount])
        collected = await Collector(
            ContainerConfig(),
            asked,
            engine.volumes,
            lambda _name: [],
            row.id,
            lambda text: str(engine.images.resolve(text).id),
        ).collect()
        point = collected.points[0]
        if container.is_alive:
            await _mount_now(engine, container, point, mountspecs.tmpfs_words(mount) if mount.type == "tmpfs" else [])
        host = msgspec.structs.replace(row.host_config, mounts=[*(row.host_config.mounts or ()), mount])
        container.change(host_config=host, mounts=sorted([*row.mounts, point], key=lambda one: one.destination))


async def _mount_now(engine: Engine, container: Container, point: MountPoint, words: list[str]) -> None:
    """In the running container; where that can't be, at its next start."""
    pid = container.row.pid
    try:
        match point.type:
            case "tmpfs":
                options = {name: value for name, _, value in (word.partition("=") for word in words) if value}
                await asyncio.to_thread(livemounts.attach_tmpfs, pid, point.destination, dict(options))
            case "bind" | "volume" if not point.subpath:
                if point.type == "volume":
                    await engine.volumes.mount(point.name)
                recursive = "nonrecursive" not in point.recursion
                await asyncio.to_thread(
                    livemounts.attach, pid, point.source, point.destination, read_only=not point.rw, recursive=recursive
                )  # fmt: skip
            case _:
                _wait(container)
    except (Conflict, OSError):
        _wait(container)


def _wait(container: Container) -> None:
    container.change(pending=sorted({*container.row.pending, "Mounts"}))


async def _remove_mount(engine: Engine, container: Container, destination: str) -> None:
    row = container.row
    point = next((one for one in row.mounts if one.destination == destination), None)
    if point is None:
        return
    if container.is_alive:
        try:
            await asyncio.to_thread(livemounts.detach, row.pid, destination)
        except (Conflict, OSError):
            _wait(container)
    host = row.host_config
    binds = [text for text in host.binds or () if mountspecs.parse_bind(text).target != destination]
    mounts = [one for one in host.mounts or () if _clean(one.target) != destination]
    volumes = {
        path: value
        for path, value in (row.config.volumes or {}).items()
        if _clean("/" + path.lstrip("/")) != destination
    }
    container.change(
        mounts=[one for one in row.mounts if one.destination != destination],
        host_config=msgspec.structs.replace(host, binds=binds or None, mounts=mounts or None),
        config=msgspec.structs.replace(row.config, volumes=volumes or None),
    )
    if point.type == "volume" and not any(one.name == point.name for one in container.row.mounts):
        with logged(f"letting go of volume {point.name}"):
            await engine.volumes.let_go(point.name, row.id)
