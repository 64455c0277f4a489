"""At the engine's start: what the rows say is compared with what the machine holds, and made true (R-07).

Containers that live are adopted from their shims; ended ones get the exit that their shim has written; starts and removals that
were under way are ended; what has no row is taken away. One broken container doesn't stop the rest (R-08).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from onggi.engine import restart
from onggi.engine.container import TABLE, Container, State
from onggi.engine.tasks import logged
from onggi.errors import OnggiError
from onggi.kernel import cgroups
from onggi.network import EndpointRequest, Published
from onggi.runtime.client import CgroupInUse
from onggi.runtime.handles import Shim
from onggi.runtime.protocol import ExitRecord
from onggi.store.database import Put

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

log = logging.getLogger("onggi.engine")
_UNKNOWN = 255
"""Exit code of a container whose end nobody saw, as docker writes it (R-10)."""


async def reconcile(engine: Engine) -> None:
    """Holds: rows are loaded, networks and volumes are restored, no request is served yet."""
    rows = engine.database.load(TABLE)
    for row in rows.values():
        container = Container(row)
        engine.containers.add(container)
        for point in row.mounts:
            if point.type == "volume":
                with logged(f"taking up volume {point.name} of container {row.name}"):
                    engine.volumes.use(point.name, row.id)
    for container in list(engine.containers):
        try:
            await _settle(engine, container)
        except (OnggiError, OSError) as error:
            log.error("container %s can't be taken over: %s", container.name, error)
            container.change(state=State.DEAD, error=str(error), pid=0)
    # A row that can't be read is a container all the same: its files and its process are nobody's leftovers.
    unread = {broken.key for broken in engine.database.broken_rows if broken.table == TABLE.name}
    engine.warnings += [
        f"container {key[:12]} can't be read from the database: it is left alone" for key in sorted(unread)
    ]
    await _clean(engine, set(rows) | unread)
    await engine.networks.settle()


async def _settle(engine: Engine, container: Container) -> None:
    """The container's state becomes what is true now."""
    found = await engine.runtime.adopt(container.id)
    if engine.runtime.has_left(container.id):
        with contextlib.suppress(CgroupInUse):  # its next start takes the cgroup over
            await engine.runtime.forget(container.id)
    state = container.state
    if container.row.replaces and container.row.replaces in engine.containers:
        await _give_up(engine, container, found)
        return
    if isinstance(found, Shim):
        if state in (State.STARTING, State.RUNNING, State.PAUSED):
            await _adopt(engine, container, found)
            return
        # A start whose intent never became durable was not answered: it is undone.
        await _end(found)
        found = None
    if state in (State.CREATED, State.EXITED, State.DEAD, State.REMOVING) and found is None:
        if state == State.REMOVING:
            container.change(state=State.EXITED)
        return
    record = found or ExitRecord(
        _UNKNOWN,
        time.time_ns(),
        reason="" if state == State.RESTARTING else "the container ended with the machine or its shim",
    )
    if state == State.RESTARTING and found is None:
        record = ExitRecord(container.row.exit_code, container.row.finished_ns)
    started = state in (State.RUNNING, State.PAUSED, State.STARTING)
    container.change(
        state=State.EXITED, pid=0, exit_code=record.exit_code, finished_ns=record.finished_at_ns, oom_killed=record.oom_killed,
        error=record.reason, published=[], stop_at_ns=0, was_running=started or container.row.was_running, endpoints=engine.endpoints.detach_all(container),
    )  # fmt: skip
    await engine.database.commit(Put(TABLE, container.id, container.row))
    if found is not None:
        await engine.runtime.forget(container.id)
    if started:
        log.info("container %s ended while no engine was there: exit code %s", container.name, record.exit_code)
        engine.events.emit("container", "die", container.id, container.attributes | {"exitCode": str(record.exit_code)})


async def _give_up(engine: Engine, container: Container, found: Shim | ExitRecord | None) -> None:
    """A deploy was cut off before its container was judged: what it was to replace serves on, and it goes."""
    log.warning("container %s was to replace another one when the engine ended: it is removed", container.name)
    if isinstance(found, Shim):
        await _end(found)
    elif found is not None:
        await engine.runtime.forget(container.id)
    container.change(state=State.EXITED, pid=0, published=[], endpoints=engine.endpoints.detach_all(container))
    await engine.removal.remove(container, force=True, volumes=False)


async def _adopt(engine: Engine, container: Container, shim: Shim) -> None:
    """A container that has never stopped: its addresses, ports, names and health go on."""
    row = container.row
    container.shim = shim
    paused = await asyncio.to_thread(cgroups.open(engine.cgroup_path(container)).is_frozen)
    container.change(
        state=State.PAUSED if paused else State.RUNNING, pid=shim.pid, started_ns=shim.started_at_ns, was_running=True
    )
    container.exited.clear()
    address = ""
    for name, settings in row.endpoints.items():
        try:
            network = engine.networks.resolve(settings.network_id or name)
        except OnggiError:
            continue
        request = EndpointRequest(
            ipv4=settings.ip_address, ipv6=settings.global_ipv6_address, mac=settings.mac_address,
            names=engine.endpoints.names(container, settings) if network.is_user_defined else [],
        )  # fmt: skip
        with contextlib.suppress(OnggiError):
            endpoint = engine.networks.members.attach(container.id, network, request, endpoint_id=settings.endpoint_id)
            address = address or endpoint.address4
    published = [Published(p.protocol, p.port, p.host_ip, p.host_port) for p in engine.publishing.recorded(container)]
    if published and address:
        engine.networks.ports.adopt(container.id, address, published)
    if shim.dns_fds:
        fds, shim.dns_fds[:] = list(shim.dns_fds), []
        await engine.networks.serve_names(container.id, fds)
    with contextlib.suppress(OSError):  # it may be ending
        await engine.networks.ensure_names(container.id, shim.pid)
    engine.tasks.watch(engine.exits.watch(container, shim), f"exit of {container.name}")
    if row.stop_at_ns:
        engine.tasks.begin(engine.stops.finish_stop(container), f"stop of {container.name}")
    if not paused:
        engine.health.begin(container)
    log.info("container %s is adopted: pid %s", container.name, shim.pid)


async def _clean(engine: Engine, known: set[str]) -> None:
    """Shims, files and cgroups that no row explains."""
    for container_id in engine.runtime.known():
        if container_id in known:
            continue
        found = await engine.runtime.adopt(container_id)
        if isinstance(found, Shim):
            log.warning("container %s has no record: it is ended", container_id[:12])
            await _end(found)
        else:
            with contextlib.suppress(CgroupInUse):  # said in the log, and tried again by the next engine
                await engine.runtime.forget(container_id)
    for container_id in engine.snapshots.known():
        if container_id not in known:
            engine.snapshots.remove(container_id)
    await asyncio.to_thread(engine.cgroups.clean, known | set(engine.runtime.known()))


async def _end(shim: Shim) -> None:
    with contextlib.suppress(OnggiError):
        await shim.kill(9)
    await shim.wait()
    await shim.forget()


async def start_by_policy(engine: Engine) -> None:
    """After the engine is ready: those that a policy wants running (E-278); --rm ones that ended meanwhile go."""
    for container in list(engine.containers):
        if container.is_alive:
            continue
        if container.row.host_config.auto_remove and container.row.started_ns:
            engine.tasks.begin(engine.removal.by_policy(container), f"removal of {container.name}")
        elif container.state == State.EXITED and restart.at_engine_start(container):
            engine.tasks.begin(_start(engine, container), f"start of {container.name} by its policy")


async def _start(engine: Engine, container: Container) -> None:
    try:
        await engine.starts.start(container, by_policy=True)
    except OnggiError as error:
        log.error("container %s can't be started by its policy: %s", container.name, error)
