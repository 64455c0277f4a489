"""What is mounted into a container: -v, --mount, the image's volumes and --volumes-from, as one list of mount points.

Volumes are made here, when the container is created (as docker does), and filled from the image at the first start.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from onggi.engine import mountspecs
from onggi.engine.config import BindOptions, ContainerConfig, HostConfig, Mount, MountPoint, VolumeOptions
from onggi.errors import InvalidArgument, NotFound
from onggi.volumes import Volumes

LABEL_WORDS = frozenset({"z", "Z"})


@dataclass(slots=True)
class Wanted:
    """Mount points, and destinations of volumes that take the image's content."""

    points: list[MountPoint] = field(default_factory=list)
    to_fill: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Collector:
    """Gathers the mounts of one container to be created; its volumes are in use from then on."""

    config: ContainerConfig
    host: HostConfig
    volumes: Volumes
    mounts_of: Callable[[str], list[MountPoint]]
    """Mount points of another container. Raises NotFound."""
    container_id: str
    image_of: Callable[[str], str]
    """Id of an image. Raises NotFound."""
    _wanted: Wanted = field(default_factory=Wanted)
    _explicit: set[str] = field(default_factory=set)

    async def collect(self) -> Wanted:
        """Raises InvalidArgument, NotFound, Conflict."""
        by_target: dict[str, MountPoint] = {}
        for text in self.host.volumes_from or ():
            by_target |= {point.destination: point for point in self._of_another(text)}
        binds = [mountspecs.parse_bind(text) for text in self.host.binds or ()]
        for path in [
            *(bind.target for bind in binds),
            *(one.target for one in self.host.mounts or ()),
            *(self.host.tmpfs or {}),
        ]:
            self._once(mountspecs.target(path))
        for bind in binds:
            by_target[bind.target] = await self._bind(bind)
        for mount in self.host.mounts or ():
            point = await self._mount(mount)
            by_target[point.destination] = point
        # The image's words, or -v PATH: below the container's root whatever they are.
        for target in (mountspecs.target("/" + path) for path in self.config.volumes or ()):
            if target not in by_target and target not in (self.host.tmpfs or {}):
                by_target[target] = await self._anonymous(target, VolumeOptions(), writable=True, mode="")
        self._wanted.points = [by_target[target] for target in sorted(by_target)]
        return self._wanted

    def _once(self, target: str) -> None:
        if target in self._explicit:
            raise InvalidArgument(f"Duplicate mount point: {target}")
        self._explicit.add(target)

    def _of_another(self, text: str) -> list[MountPoint]:
        """--volumes-from `id[:mode]`. Not a 404 for one that isn't there: docker's command line would pull the image."""
        if not text:
            raise InvalidArgument("volumes-from specification cannot be an empty string")
        name, _, mode = text.partition(":")
        words = mountspecs.check_mode(mode)
        if any(word == "nocopy" or word in mountspecs.PROPAGATION for word in words):
            raise InvalidArgument(f"invalid mode: {mode}")
        try:
            points = self.mounts_of(name)
        except NotFound as error:
            raise InvalidArgument(str(error)) from None
        shown = ",".join(word for word in words if word in LABEL_WORDS)
        return [
            MountPoint(point.type, point.source, point.destination, point.driver, shown, point.rw and "ro" not in words, point.propagation, point.name)
            for point in points
        ]  # fmt: skip

    async def _bind(self, bind: mountspecs.Bind) -> MountPoint:
        if bind.source.startswith("/"):
            if not os.path.lexists(bind.source):  # -v makes a missing host directory; --mount doesn't
                os.makedirs(bind.source, 0o755, exist_ok=True)
            return MountPoint(
                "bind", bind.source, bind.target, "", bind.mode, bind.writable, bind.propagation or "rprivate", ""
            )
        options = VolumeOptions(no_copy="nocopy" in bind.words)
        if not bind.source:
            return await self._anonymous(bind.target, options, writable=bind.writable, mode=bind.mode)
        return await self._volume(bind.source, bind.target, options, writable=bind.writable, mode=bind.mode or "z")

    async def _anonymous(self, target: str, options: VolumeOptions, *, writable: bool, mode: str) -> MountPoint:
        return await self._volume("", target, options, writable=writable, mode=mode)

    async def _volume(self, name: str, target: str, options: VolumeOptions, *, writable: bool, mode: str) -> MountPoint:
        driver = options.driver_config
        volume = await self.volumes.create(
            name,
            driver=(driver.name if driver else "") or self.host.volume_driver,
            options=driver.options if driver else None,
            labels=options.labels or None,
        )
        self.volumes.use(volume.name, self.container_id)
        if not options.no_copy and not options.subpath:
            self._wanted.to_fill.append(target)
        source = self.volumes.mountpoint(volume.name)
        return MountPoint(
            "volume", source, target, volume.driver, mode, writable, "", volume.name, subpath=options.subpath
        )

    async def _mount(self, mount: Mount) -> MountPoint:
        target, writable = mountspecs.target(mount.target), not mount.read_only
        match mount.type:
            case "bind":
                return _bind_of(mount, target, writable=writable)
            case "volume":
                return await self._volume(
                    mount.source, target, mount.volume_options or VolumeOptions(), writable=writable, mode="z"
                )
            case "image":
                subpath = mount.image_options.subpath if mount.image_options else ""
                return MountPoint(
                    "image",
                    self.image_of(mount.source),
                    target,
                    "",
                    "",
                    False,
                    "rprivate",
                    mount.source,
                    subpath=subpath,
                )
            case _:
                return MountPoint("tmpfs", "", target, "", "", writable, "", "")


def _bind_of(mount: Mount, target: str, *, writable: bool) -> MountPoint:
    options = mount.bind_options or BindOptions()
    if options.create_mountpoint:
        os.makedirs(mount.source, 0o755, exist_ok=True)
    words = [
        word
        for is_said, word in (
            (options.non_recursive, "nonrecursive"),
            (options.read_only_non_recursive, "ro-nonrecursive"),
            (options.read_only_force_recursive, "ro-recursive"),
        )
        if is_said
    ]
    return MountPoint(
        "bind",
        os.path.normpath(mount.source),
        target,
        "",
        "",
        writable,
        options.propagation or "rprivate",
        "",
        recursion=words,
    )
