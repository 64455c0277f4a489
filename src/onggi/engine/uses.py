"""What a run has of networks and volumes: told when it begins, given back and told when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onggi.engine.container import Container
    from onggi.engine.engine import Engine


def begun(engine: Engine, container: Container) -> None:
    """Events in docker's order: volumes, then networks."""
    _tell_volumes(engine, container, "mount")
    _tell_networks(engine, container, "connect")


def ended(engine: Engine, container: Container) -> None:
    _tell_networks(engine, container, "disconnect")
    _tell_volumes(engine, container, "unmount")


async def release(engine: Engine, container: Container) -> None:
    """Ports, names and addresses are free again. Holds: the container's lock."""
    await engine.publishing.unpublish(container)
    engine.networks.forget_names(container.id)
    container.change(endpoints=engine.endpoints.detach_all(container))


def _tell_networks(engine: Engine, container: Container, action: str) -> None:
    for name, network in engine.endpoints.networks_of(container):
        attributes = {"container": container.id, "name": name, "type": network.driver}
        engine.events.emit("network", action, network.id, attributes)


def _tell_volumes(engine: Engine, container: Container, action: str) -> None:
    for point in container.row.mounts:
        if point.type == "volume":
            said = {"container": container.id, "driver": point.driver}
            if action == "mount":
                said |= {
                    "destination": point.destination, "propagation": point.propagation, "read/write": str(point.rw).lower(),
                }  # fmt: skip
            engine.events.emit("volume", action, point.name, said)
