"""Making a container: the image's words under the container's, every word checked, then one commit.

Volumes and the files of the first start are made here, as docker does at create. Nothing is left when it fails.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from onggi.engine import binds, checks, endpointspecs, extensions, limits, links, modes, names, userns
from onggi.engine.config import ContainerConfig, CreateBody, HealthConfig, HostConfig, MountPoint, config_part, words
from onggi.engine.container import TABLE, Container, ContainerRow
from onggi.engine.endpointspecs import wanted_networks
from onggi.errors import InvalidArgument, NotFound
from onggi.images import Image
from onggi.oci.image import RunConfig
from onggi.oci.platform import host_platform, parse_platform
from onggi.store.database import Put

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


@dataclass(slots=True)
class Created:
    """Answer of create."""

    id: str
    warnings: list[str] = field(default_factory=list)


class Creation:
    """Makes containers; `engine` lends it the rooms."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(self, name: str, body: CreateBody, platform: str = "") -> Created:
        """Raises NotFound (image), Conflict (name), InvalidArgument, in dockerd's words. Nothing is left then."""
        engine = self._engine
        image = engine.images.resolve(body.image) if body.image else None
        if image is None:
            raise InvalidArgument("no image specified" if not body.image else f"No such image: {body.image}")
        warnings = _check_platform(image, platform, body.image)
        config, host = config_part(body), body.host_config or HostConfig()
        extensions.check(body.onggi)
        modes.by_id(host, lambda text: engine.containers.get(text).id)
        config = merge(config, image.config.run)
        warnings += checks.check(config, host, engine.options.default_log_driver, engine.options.default_log_options)
        userns.check(engine.options.id_maps, host)
        self._disk_bytes(host)
        host.links = links.by_id(host, engine.containers.get)
        identifier = secrets.token_hex(32)
        # Taken at once: two requests for one name must not both go on.
        given = engine.containers.reserve(names.check(name) if name else "", identifier)
        # Until the container is known as the image's user, an rmi would take the layers away.
        release_layers = engine.images.lease(image.layers)
        try:
            container = await self._create(identifier, given, image, body, config, host)
        except BaseException:
            engine.containers.release_name(given, identifier)
            engine.snapshots.remove(identifier)
            await engine.volumes.release(identifier, remove_anonymous=True)
            raise
        finally:
            release_layers()
        engine.events.emit("container", "create", container.id, container.attributes)
        return Created(identifier, warnings)

    def _disk_bytes(self, host: HostConfig) -> int:
        return limits.disk_bytes(host.storage_opt, are_possible=self._engine.snapshots.limits.are_possible)

    async def _create(
        self, identifier: str, name: str, image: Image, body: CreateBody, config: ContainerConfig, host: HostConfig
    ) -> Container:
        engine = self._engine
        command = [*(words(config.entrypoint) or ()), *(words(config.cmd) or ())]
        if not command:
            raise InvalidArgument("no command specified")
        endpoints = wanted_networks(
            host.network_mode, body.networking_config.endpoints_config if body.networking_config else {}
        )
        if config.network_disabled:
            endpoints = {}
        for network_name, settings in endpoints.items():
            # One that isn't there is the start's error: a 404 here makes docker's command line pull the image.
            network = None
            with contextlib.suppress(NotFound):
                network = engine.networks.resolve(network_name)
                endpoints[network_name] = msgspec.structs.replace(settings, network_id=network.id)
            endpointspecs.check(network_name, settings, network)
        wanted = await binds.Collector(
            config, host, engine.volumes, self._mounts_of, identifier, lambda text: str(engine.images.resolve(text).id)
        ).collect()
        row = ContainerRow(
            id=identifier, name=name, created_ns=time.time_ns(), image_id=image.id, image_name=body.image, config=config,
            host_config=host, layers=[str(layer) for layer in image.layers], endpoints=endpoints, mounts=wanted.points,
            path=command[0], args=command[1:], asked=config_part(body), extensions=body.onggi,
        )  # fmt: skip
        container = Container(row)
        engine.snapshots.prepare(identifier, image.layers, limit_bytes=self._disk_bytes(host))
        for point in wanted.points:
            if point.type == "volume":
                engine.volumes.use(point.name, identifier)  # those of --volumes-from too
        await self._fill(container, wanted)
        await engine.database.commit(Put(TABLE, identifier, row))
        engine.containers.add(container)
        return container

    async def _fill(self, container: Container, wanted: binds.Wanted) -> None:
        """What the image has where an empty volume is mounted is copied into it."""
        engine = self._engine
        points = {point.destination: point for point in wanted.points}
        targets = [points[target] for target in wanted.to_fill if target in points]
        if not targets:
            return
        snapshot = engine.snapshot(container)
        with engine.snapshots.mounted(snapshot) as root:
            for point in targets:
                await engine.volumes.fill(point.name, root.fileno(), point.destination)

    def _mounts_of(self, name: str) -> list[MountPoint]:
        return self._engine.containers.get(name).row.mounts


def merge(config: ContainerConfig, image: RunConfig) -> ContainerConfig:
    """The container's words over the image's (moby runconfig.Merge)."""
    entrypoint, command = words(config.entrypoint), words(config.cmd)
    # `--entrypoint` drops the image's command; [""] stands for no entrypoint at all.
    if entrypoint is None:
        entrypoint = list(image.entrypoint or ()) or None
        if not command:
            command = list(image.cmd or ()) or None
    elif entrypoint == [""]:
        entrypoint = None
    own = {word.partition("=")[0] for word in config.env or ()}
    env = [*(config.env or ()), *(word for word in image.env or () if word.partition("=")[0] not in own)]
    return msgspec.structs.replace(
        config,
        user=config.user or image.user,
        exposed_ports=(dict(image.exposed_ports or {}) | dict(config.exposed_ports or {})) or None,
        env=env,
        cmd=command,
        entrypoint=entrypoint,
        volumes=(dict(image.volumes or {}) | dict(config.volumes or {})) or None,
        working_dir=_working_dir(config.working_dir or image.working_dir),
        labels=dict(image.labels or {}) | dict(config.labels or {}),
        stop_signal=config.stop_signal or image.stop_signal,
        stop_timeout=config.stop_timeout if config.stop_timeout is not None else image.stop_timeout,
        shell=config.shell or image.shell,
        healthcheck=_health(config.healthcheck, image),
    )


def _working_dir(path: str) -> str:
    if path and not path.startswith("/"):
        raise InvalidArgument(f"the working directory '{path}' is invalid, it needs to be an absolute path")
    return os.path.normpath("/" + path.lstrip("/")) if path else ""


def _health(own: HealthConfig | None, image: RunConfig) -> HealthConfig | None:
    """Field by field: what the container leaves at 0 is the image's."""
    base = image.healthcheck
    inherited = (
        HealthConfig(base.test, base.interval, base.timeout, base.start_period, base.start_interval, base.retries)
        if base
        else None
    )
    if own is None or inherited is None:
        return own or inherited
    if own.test and own.test[0] == "NONE":
        return own
    return HealthConfig(
        own.test or inherited.test, own.interval or inherited.interval, own.timeout or inherited.timeout,
        own.start_period or inherited.start_period, own.start_interval or inherited.start_interval, own.retries or inherited.retries,
    )  # fmt: skip


def _check_platform(image: Image, platform: str, name: str) -> list[str]:
    """Raises NotFound when one was asked for and the image is another's; a warning when nobody asked."""
    found, here = image.config.platform, host_platform()
    wanted = parse_platform(platform) if platform else here
    if found.os in ("", wanted.os) and found.architecture in ("", wanted.architecture):
        return []
    if platform:
        raise NotFound(
            f"image with reference {name} was found but does not match the specified platform: wanted {wanted.os}/{wanted.architecture}, "
            f"actual: {found.os}/{found.architecture}"
        )
    return [
        (
            f"The requested image's platform ({found.os}/{found.architecture}) does not match the detected host platform "
            f"({here.os}/{here.architecture}) and no specific platform was requested"
        )
    ]
