"""What an engine is made of, and how it begins and ends."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onggi.build import Builder
from onggi.build.gcsettings import parse_gc
from onggi.build.private import PrivatePlaces
from onggi.doctor import engine_tag
from onggi.engine import files, reconcile
from onggi.engine.archive import Archive
from onggi.engine.cgroupparents import CgroupParents
from onggi.engine.container import Container
from onggi.engine.containers import Containers
from onggi.engine.copies import Copies
from onggi.engine.deploy import Deploy
from onggi.engine.endpoints import Endpoints, Publishing
from onggi.engine.events import Events
from onggi.engine.execs import Execs
from onggi.engine.exits import Exits
from onggi.engine.health import HealthChecks
from onggi.engine.recreating import Recreation
from onggi.engine.removal import Removal
from onggi.engine.starts import Starts
from onggi.engine.steps import Steps
from onggi.engine.stops import Stops
from onggi.engine.streams import Streams
from onggi.engine.system import System
from onggi.engine.tasks import Tasks
from onggi.engine.waiting import Waiting
from onggi.errors import NotFound
from onggi.images import Image, Images, RegistryOptions
from onggi.images.healing import heal_all
from onggi.images.importing import import_image
from onggi.kernel import cgroups
from onggi.kernel.userns import IdMaps
from onggi.network import Networks
from onggi.network.addresses import DEFAULT_POOLS, Pools
from onggi.oci.digest import Digest
from onggi.oci.image import RunConfig
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference, parse_reference
from onggi.rootless.hostports import HostPorts
from onggi.runtime.client import Runtime, boot_id
from onggi.runtime.seccomp_default import default_filter
from onggi.store.content import Content
from onggi.store.database import Database
from onggi.store.layers import Layers
from onggi.store.locks import RootLock
from onggi.store.runmark import RunMark
from onggi.store.snapshots import Snapshot, Snapshots
from onggi.store.workers import Workers
from onggi.volumes import Volumes

if TYPE_CHECKING:
    from onggi.build.buildkit.door import BuildKit

_OF_NAMES = frozenset({"pull", "push"})
_OF_IMAGES = frozenset({"untag", "load", "import", "save"})
log = logging.getLogger("onggi.engine")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """As dockerd's options of the same names."""

    data_root: str = "/var/lib/onggi"
    exec_root: str = "/run/onggi"
    bridge: str = "onggi0"
    bip: str = ""
    address_pools: Sequence[tuple[str, int]] = DEFAULT_POOLS
    mtu: int = 0
    cgroup_parent: str = ""
    dns: list[str] = field(default_factory=list)
    dns_search: list[str] = field(default_factory=list)
    dns_options: list[str] = field(default_factory=list)
    default_log_driver: str = "json-file"
    default_log_options: dict[str, str] = field(default_factory=dict)
    registries: RegistryOptions = field(default_factory=RegistryOptions)
    labels: list[str] = field(default_factory=list)
    debug: bool = False
    rootless: bool = False
    build_gc: str = ""
    """daemon.json's builder.gc, as JSON."""
    id_maps: IdMaps | None = None
    """Ids that containers have in user namespaces of their own (--userns-remap)."""

    @property
    def data_root_path(self) -> Path:
        return Path(self.data_root)

    @property
    def exec_root_path(self) -> Path:
        return Path(self.exec_root)


class Engine:
    """Rooms and services of one engine. Made by `open`; `close` leaves the containers running."""

    def __init__(self, options: EngineOptions, lock: RootLock, database: Database, runtime: Runtime) -> None:
        root = options.data_root
        self.options, self._lock, self.database, self.runtime = options, lock, database, runtime
        self.tag = engine_tag(options.data_root_path)
        self.id = _engine_id(root)
        self.cgroups = CgroupParents(self.tag, options.cgroup_parent)
        self.warnings: list[str] = []
        self.mark = RunMark(os.fspath(root), boot_id())
        self.workers = Workers()
        self.content = Content(root)
        self.layers = Layers(root, self.content, self.workers)
        self.snapshots = Snapshots(root, self.layers, self.workers)
        self.images = Images(self.content, self.layers, database, options.registries)
        self.images.is_running_on = self._is_running_on
        self.volumes = Volumes(root, database, self.workers)
        self.networks = Networks(
            database, tag=self.tag, bridge=options.bridge, bip=options.bip, pools=Pools(options.address_pools), mtu=options.mtu,
            upstream=self._upstream, host_ports=HostPorts(options.exec_root) if options.rootless else None,
        )  # fmt: skip
        self.events = Events()
        self.tasks = Tasks()
        self.containers = Containers(self)
        self.endpoints = Endpoints(self)
        self.publishing = Publishing(self)
        self.starts = Starts(self)
        self.exits = Exits(self)
        self.stops = Stops(self)
        self.copies = Copies(self)
        self.removal = Removal(self)
        self.waiting = Waiting(self)
        self.health = HealthChecks(self)
        self.execs = Execs(self)
        self.streams = Streams(self)
        self.archive = Archive(self.snapshots, self.workers)
        self.deploy = Deploy(self)
        self.recreation = Recreation(self)
        self.system = System(self)
        self.builder = Builder(
            self.images,
            self.layers,
            self.snapshots,
            database,
            Steps(self),
            workers=self.workers,
            root=root,
            private=PrivatePlaces(os.fspath(options.exec_root_path), self.tag),
            gc=parse_gc(options.build_gc) if options.build_gc else None,
        )
        self._buildkit: BuildKit | None = None
        self.volumes.on_event = lambda action, volume: self.events.emit(
            "volume", action, volume.name, {"driver": volume.driver}
        )
        self.images.on_event = self._image_changed

    @property
    def buildkit(self) -> BuildKit:
        """BuildKit's protocol. Made when a client first asks: protobuf and HTTP/2 cost an engine that builds nothing 10 MB."""
        if self._buildkit is None:
            from onggi.build.buildkit.door import BuildKit

            self._buildkit = BuildKit(self.builder, worker_id=self.id, root=self.options.data_root)
        return self._buildkit

    @classmethod
    async def open(cls, options: EngineOptions) -> Engine:
        """Takes the data root, reconciles rows with the machine (R-07), starts what policies want. Raises Conflict, Corrupt."""
        os.makedirs(options.data_root, 0o711, exist_ok=True)
        lock = RootLock.take(options.data_root)
        database: Database | None = None
        runtime: Runtime | None = None
        try:
            # A root that has had an engine has had rows: without them everything in it would look left over (K-22).
            new = not os.path.exists(os.path.join(options.data_root, "engine-id"))
            database = Database.open(os.path.join(options.data_root, "state.db"), create=new)
            runtime = await Runtime.open(options.exec_root_path)
            engine = cls(options, lock, database, runtime)
            for damaged in engine.images.restore():
                engine.warnings.append(f"image {damaged} is damaged: pull or build it again")
            engine.builder.restore()
            await engine.layers.clean()
            engine.content.clean()
            engine.snapshots.clean()
            await engine.volumes.restore()
            await engine.networks.restore()
            await reconcile.reconcile(engine)
            if not database.broken_rows:  # a row that can't be read may be what needs them
                await engine.images.sweep({layer for one in engine.containers for layer in one.row.layers})
            # Compiled before the first container needs it.
            await asyncio.to_thread(default_filter, frozenset(_default_capabilities()))
            if engine.mark.begin():
                log.warning("the machine went down under an engine: all layers are read once")
                engine.tasks.watch(engine._look_at_layers(), "look at all layers")
            await reconcile.start_by_policy(engine)
        except BaseException:
            if runtime is not None:
                await runtime.close()
            if database is not None:
                await database.close()
            lock.close()
            raise
        return engine

    async def close(self) -> None:
        """The engine goes; containers stay with their shims. With none left, bridges and rules go too."""
        for container in self.containers:
            self.health.stop(container, keep=True)
            self.waiting.cancel(container)
        self.streams.close()
        if self._buildkit is not None:
            self._buildkit.close()
        await self.tasks.close()
        empty = not any(container.is_alive for container in self.containers)
        await self.networks.close(remove=empty)
        for container in self.containers:
            if container.shim is not None:
                container.shim.release()
        await self.runtime.close()
        if empty:
            await self.cgroups.remove()
        await self.images.close()
        await self.snapshots.close()
        await self.workers.close()
        await self.database.close()
        self.mark.end()
        self._lock.close()

    def _is_running_on(self, diff_id: Digest) -> bool:
        return any(container.is_alive and diff_id in container.row.layers for container in self.containers)

    async def _look_at_layers(self) -> None:
        """The machine went down: what it had written last is read before anybody wonders (R-12)."""
        for lost in await heal_all(self.images):
            self.warnings.append(f"layer {lost} is damaged: pull or build its images again")

    def _image_changed(self, action: str, identifier: str, name: str) -> None:
        image = self.images.find(identifier)
        if image is None and action in _OF_NAMES:
            with suppress(NotFound):
                image = self.images.resolve(identifier)
        # As dockerd has it: these are told of the image, not of its name.
        shown = identifier if action in _OF_IMAGES else name
        self.events.emit(
            "image", action, identifier, ((image.config.run.labels if image else None) or {}) | {"name": shown}
        )
        for container in self.containers:
            container.documents.clear()  # a name may mean another image now

    # What several services ask for

    def cgroup_path(self, container: Container) -> str:
        return self.cgroups.path(container.id, container.row.host_config.cgroup_parent)

    @property
    def has_cgroups(self) -> bool:
        """Whether containers can be limited, paused and counted."""
        return not self.cgroups.own.startswith(cgroups.NOWHERE)

    def layers_of(self, container: Container) -> list[Digest]:
        return [Digest(layer) for layer in container.row.layers]

    def snapshot(self, container: Container) -> Snapshot:
        return self.snapshots.get(container.id, self.layers_of(container))

    def image_name(self, container: Container) -> str:
        """The name the user gave, or the id when that name means another image now."""
        row = container.row
        image = self.images.find(row.image_id)
        if image is not None and row.image_name and not row.image_name.startswith("sha256:"):
            try:
                if self.images.resolve(row.image_name).id != image.id:
                    return row.image_id
            except Exception:  # noqa: BLE001 - a name that means nothing any more: the id it is
                return row.image_id
        return row.image_name or row.image_id

    def _upstream(self, container_id: str) -> Sequence[str]:
        """Servers that a container's outside names are asked of."""
        container = self.containers.find(container_id)
        asked = container.row.host_config.dns if container is not None else None
        return asked or self.options.dns or files.name_servers(files.host_resolv_conf())

    # Images between here and elsewhere (images/ does the work)

    async def import_image(
        self,
        body: AsyncIterable[bytes],
        *,
        name: Reference | None,
        message: str,
        changes: Sequence[str],
        platform: Platform | None,
    ) -> Image:
        """A file system's tar as an image; `changes` are Dockerfile lines. Raises InvalidArgument, NoSpace."""
        from onggi.build.changes import apply_changes  # late: as in committing

        config = apply_changes(RunConfig(), changes)
        return await import_image(self.images, body, name=name, message=message, config=config, platform=platform)

    async def pull(self, reference: Any, *, auth: Any, platform: Any, progress: Callable[[Any], None]) -> None:
        await self.images.pull(reference, auth=auth, platform=platform, progress=progress)

    async def pull_named(self, name: str, progress: Callable[[Any], None]) -> None:
        """For the engine's own needs, with nobody's credentials."""
        await self.images.pull(parse_reference(name), auth=None, platform=None, progress=progress)

    async def push(self, reference: Any, *, auth: Any, progress: Callable[[Any], None]) -> None:
        await self.images.push(reference, auth=auth, progress=progress)

    async def load(self, body: AsyncIterable[bytes], *, quiet: bool, progress: Callable[[Any], None]) -> None:
        await self.images.load(body, quiet=quiet, progress=progress)

    async def save(self, names: Sequence[str]) -> AsyncIterator[bytes]:
        """As Images.save, and tells of it. Cancelled or closed: nothing is left."""
        told = False
        async for piece in self.images.save(names):
            if not told:
                told = True
                for identifier in dict.fromkeys(self.images.resolve(name).id for name in names):
                    self._image_changed("save", identifier, identifier)
            yield piece

    async def log_in(self, auth: Any) -> str:
        return await self.images.log_in(auth)

    async def look_up(self, reference: Any, *, auth: Any) -> Any:
        return await self.images.look_up(reference, auth=auth)


def _default_capabilities() -> Sequence[str]:
    from onggi.runtime.defaults import CAPABILITIES

    return CAPABILITIES


def _engine_id(root: str) -> str:
    """Stable over restarts: /info's ID."""
    path = os.path.join(root, "engine-id")
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        identifier = secrets.token_hex(16)
        with open(path, "w", encoding="ascii") as file:
            file.write(identifier + "\n")
        return identifier
