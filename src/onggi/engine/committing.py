"""`docker commit`: what a container has changed becomes a layer on its image's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from onggi.engine import pauses
from onggi.engine.config import ContainerConfig, words
from onggi.engine.container import Container, State
from onggi.engine.creating import merge
from onggi.errors import Conflict
from onggi.images.importing import now_text
from onggi.oci.image import HealthConfig, History, ImageConfig, RootFS, RunConfig
from onggi.oci.platform import host_platform
from onggi.oci.reference import Reference

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


async def commit(
    engine: Engine, container: Container, *, name: Reference | None, config: ContainerConfig | None, changes: Sequence[str],
    author: str, comment: str, pause: bool,
) -> str:  # fmt: skip
    """The new image's id. The container is paused meanwhile, so that no file is caught half-written. Raises Conflict, InvalidArgument."""
    if container.state in (State.DEAD, State.REMOVING):
        raise Conflict(f"You cannot commit container {container.id} which is {container.state}")
    from onggi.build.changes import apply_changes  # late: few commits, and much that reads Dockerfiles

    run = apply_changes(_over(config, run_config(container.row.config)), changes)
    pausing = pause and container.state == State.RUNNING and engine.has_cgroups
    if pausing:
        await pauses.pause(engine, container)
    try:
        layer = await engine.layers.capture(engine.snapshot(container).upper, keep=True)
    finally:
        if pausing:
            await pauses.unpause(engine, container)
    parent = engine.images.find(container.row.image_id)
    base, here, created = (parent.config if parent else ImageConfig()), host_platform(), now_text()
    document = ImageConfig(
        architecture=base.architecture or here.architecture,
        os=base.os or here.os,
        variant=base.variant,
        rootfs=RootFS(diff_ids=[*engine.layers_of(container), layer.diff_id]),
        config=run,
        created=created,
        author=author,
        history=[*(base.history or ()), History(created=created, created_by=" ".join([container.row.path, *container.row.args]), author=author, comment=comment)],
    )  # fmt: skip
    image = await engine.images.create(document, names=[name] if name else [], parent=container.row.image_id)
    engine.images.on_event("create", image.id, image.id)
    if name:
        engine.images.on_event("tag", image.id, name.familiar())
    attributes = container.attributes | {
        "comment": comment,
        "imageID": image.id,
        "imageRef": name.familiar() if name else "",
    }
    engine.events.emit("container", "commit", container.id, attributes)
    return str(image.id)


def _over(config: ContainerConfig | None, own: RunConfig) -> RunConfig:
    """A client may send a config, even an empty one: what it leaves open is the container's (moby runconfig.Merge)."""
    return own if config is None else run_config(merge(config, own))


def run_config(config: ContainerConfig) -> RunConfig:
    """The container's Config as an image keeps it."""
    health = config.healthcheck
    return RunConfig(
        hostname=config.hostname, domainname=config.domainname, user=config.user, exposed_ports=config.exposed_ports, tty=config.tty,
        open_stdin=config.open_stdin, stdin_once=config.stdin_once, env=config.env, cmd=words(config.cmd), image=config.image,
        healthcheck=HealthConfig(health.test, health.interval, health.timeout, health.start_period, health.start_interval, health.retries) if health else None,
        volumes=config.volumes, working_dir=config.working_dir, entrypoint=words(config.entrypoint), on_build=config.on_build,
        labels=config.labels, stop_signal=config.stop_signal, stop_timeout=config.stop_timeout, shell=config.shell,
    )  # fmt: skip
