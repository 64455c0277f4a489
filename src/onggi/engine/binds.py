"""What is mounted into a container: -v, --mount, the image's volumes and --volumes-from, as one list of mount points.

Volumes are made here, when the container is created (as docker does), and filled from the image at the first start.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from onggi.engine.config import ContainerConfig, HostConfig, Mount, MountPoint
from onggi.errors import InvalidArgument
from onggi.volumes import Volumes

_PROPAGATION = frozenset("rprivate private rshared shared rslave slave".split())
_MODES = _PROPAGATION | frozenset("ro rw z Z nocopy consistent cached delegated".split())


@dataclass(slots=True)
class Wanted:
    """Mount points, and what docker's types have no field for."""

    points: list[MountPoint] = field(default_factory=list)
    tmpfs_options: dict[str, list[str]] = field(default_factory=dict)
    no_copy: set[str] = field(default_factory=set)
    to_fill: list[str] = field(default_factory=list)
    """Destinations of volumes that take the image's content."""


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{path}' mount path must be absolute")
    clean = os.path.normpath("/" + path.lstrip("/"))
    if clean == "/":
        raise InvalidArgument("invalid specification: destination can't be '/'")
    return clean


def parse_bind(text: str) -> tuple[str, str, list[str]]:
    """`source:target[:mode]` → (source, target, mode words). Raises InvalidArgument in docker's words."""
    parts = text.split(":")
    if not 1 < len(parts) < 4 or not parts[0] or not parts[1]:
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    words = parts[2].split(",") if len(parts) == 3 and parts[2] else []
    for word in words:
        if word not in _MODES:
            raise InvalidArgument(f"invalid mode: {parts[2]}")
    return parts[0], parts[1], words


async def collect(
    config: ContainerConfig,
    host: HostConfig,
    volumes: Volumes,
    from_containers: Callable[[str], list[MountPoint]],
    container_id: str,
) -> Wanted:
    """All mounts of a container to be created; its volumes are in use from here on. Raises InvalidArgument, NotFound, Conflict."""
    wanted = Wanted()
    by_target: dict[str, MountPoint] = {}
    for text in host.volumes_from or ():
        name, _, mode = text.partition(":")
        for point in from_containers(name):
            by_target[point.destination] = MountPoint(
                point.type, point.source, point.destination, point.driver, mode or point.mode, point.rw and mode != "ro",
                point.propagation, point.name,
            )  # fmt: skip
    explicit: set[str] = set()
    for text in host.binds or ():
        point = await _bind(text, volumes, wanted, container_id)
        _once(explicit, point.destination)
        by_target[point.destination] = point
    for mount in host.mounts or ():
        point = await _mount(mount, volumes, wanted, container_id)
        _once(explicit, point.destination)
        by_target[point.destination] = point
    # The image's words, or -v PATH: below the container's root whatever they are.
    for target in (_absolute("/" + path) for path in config.volumes or ()):
        if target not in by_target and target not in (host.tmpfs or {}):
            volume = await volumes.create("")
            volumes.use(volume.name, container_id)
            by_target[target] = MountPoint(
                "volume", volumes.mountpoint(volume.name), target, "local", "", True, "", volume.name
            )
            wanted.to_fill.append(target)
    wanted.points = [by_target[target] for target in sorted(by_target)]
    return wanted


def _once(seen: set[str], target: str) -> None:
    if target in seen:
        raise InvalidArgument(f"Duplicate mount point: {target}")
    seen.add(target)


async def _bind(text: str, volumes: Volumes, wanted: Wanted, container_id: str) -> MountPoint:
    source, target, words = parse_bind(text)
    try:
        target = _absolute(target)
    except InvalidArgument as error:
        kind = "bind" if source.startswith("/") else "volume"
        raise InvalidArgument(
            f"invalid volume specification: '{text}': invalid mount config for type \"{kind}\": {error}"
        ) from None
    propagation = next((word for word in words if word in _PROPAGATION), "")
    writable, mode = "ro" not in words, ",".join(words)
    if source.startswith("/"):
        _make_missing(source)  # -v makes a missing host directory; --mount doesn't
        return MountPoint("bind", source, target, "", mode, writable, propagation or "rprivate", "")
    volume = await volumes.create(source)
    volumes.use(volume.name, container_id)
    if "nocopy" not in words:
        wanted.to_fill.append(target)
    return MountPoint(
        "volume",
        volumes.mountpoint(volume.name),
        target,
        volume.driver,
        mode or "z",
        writable,
        propagation,
        volume.name,
    )


def _make_missing(source: str) -> None:
    if not os.path.lexists(source):
        os.makedirs(source, 0o755, exist_ok=True)


async def _mount(mount: Mount, volumes: Volumes, wanted: Wanted, container_id: str) -> MountPoint:
    if not mount.target:
        raise InvalidArgument('invalid mount config for type "' + mount.type + '": field Target must not be empty')
    target = _absolute(mount.target)
    writable = not mount.read_only
    match mount.type:
        case "bind":
            return _mount_bind(mount, target, writable=writable)
        case "volume":
            options = mount.volume_options
            driver = options.driver_config if options else None
            volume = await volumes.create(
                mount.source,
                driver=driver.name if driver else "",
                options=driver.options if driver else None,
                labels=options.labels if options else None,
            )
            volumes.use(volume.name, container_id)
            if not (options and options.no_copy):
                wanted.to_fill.append(target)
            source = volumes.mountpoint(volume.name)
            if options and options.subpath:
                source = os.path.join(source, _inside(options.subpath))
            return MountPoint("volume", source, target, volume.driver, "z", writable, "", volume.name)
        case "tmpfs":
            words = []
            if mount.tmpfs_options:
                if mount.tmpfs_options.size_bytes:
                    words.append(f"size={mount.tmpfs_options.size_bytes}")
                if mount.tmpfs_options.mode:
                    words.append(f"mode={mount.tmpfs_options.mode:o}")
                words += ["=".join(option) for option in mount.tmpfs_options.options]
            wanted.tmpfs_options[target] = words
            return MountPoint("tmpfs", "", target, "", "", writable, "", "")
        case _:
            raise InvalidArgument(f'invalid mount config for type "{mount.type}": mount type unknown: "{mount.type}"')


def _inside(path: str) -> str:
    clean = os.path.normpath(path)
    if clean.startswith(("/", "..")):
        raise InvalidArgument(f"invalid volume subpath: {path!r} must be a relative path within the volume")
    return clean


def _mount_bind(mount: Mount, target: str, *, writable: bool) -> MountPoint:
    if not mount.source.startswith("/"):
        raise InvalidArgument(
            f"invalid mount config for type \"bind\": invalid mount path: '{mount.source}' mount path must be absolute"
        )
    if not os.path.lexists(mount.source):
        if not (mount.bind_options and mount.bind_options.create_mountpoint):
            raise InvalidArgument(
                f'invalid mount config for type "bind": bind source path does not exist: {mount.source}'
            )
        os.makedirs(mount.source, 0o755, exist_ok=True)
    propagation = (mount.bind_options.propagation if mount.bind_options else "") or "rprivate"
    mode = "nonrecursive" if mount.bind_options and mount.bind_options.non_recursive else ""
    return MountPoint("bind", mount.source, target, "", mode, writable, propagation, "")
