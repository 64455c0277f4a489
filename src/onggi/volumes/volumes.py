"""The volumes of an engine: create, find, use, fill, remove.

    volumes/<name>/_data    what containers see

A row for each in the database; a directory without one (a crash between the two, a volume copied in by hand) is taken up as a
volume at the start, so that data is never orphaned.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from onggi.errors import Conflict, InvalidArgument, NotFound, OnggiError
from onggi.kernel import mounts
from onggi.store import durable, jobs, remove
from onggi.store.database import Database, Delete, Put, Table
from onggi.store.disklimits import DiskLimits
from onggi.store.workers import Workers
from onggi.volumes.copyup import COPY_NAME, CopyUp
from onggi.volumes.localoptions import check_options, mount_request, size_of, with_addresses

ANONYMOUS_LABEL: Final = "com.docker.volume.anonymous"
DRIVER: Final = "local"

_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", re.ASCII)
_NAME_LIMIT: Final = 255
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Volume(msgspec.Struct, frozen=True):
    """A row. `created` is RFC 3339; None maps are docker's null."""

    name: str
    created: str
    driver: str = DRIVER
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None

    @property
    def anonymous(self) -> bool:
        return ANONYMOUS_LABEL in (self.labels or {})


TABLE: Final = Table("volumes", Volume)


class Volumes:
    """Loaded at the start; then everything is answered from memory.

    Who uses a volume is told by the engine: `use` when a container is created (and for each known one at the start), `release`
    when it is removed.
    """

    def __init__(self, root: str | os.PathLike[str], database: Database, workers: Workers) -> None:
        self._root = os.path.join(os.path.realpath(root), "volumes")
        self._ingest = os.path.join(root, "ingest")
        self._database = database
        self._workers = workers
        self._rows: dict[str, Volume] = {}
        self._limits: DiskLimits
        self._users: dict[str, set[str]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self.on_event: Callable[[str, Volume], None] = lambda _action, _volume: None
        """Told of `create` and `destroy` once they are durable."""

    async def restore(self) -> list[str]:
        """Reads rows and directories; the names of volumes that had no row. For the start, after the database's."""
        os.makedirs(self._root, mode=0o711, exist_ok=True)
        os.makedirs(self._ingest, mode=0o700, exist_ok=True)
        self._limits = DiskLimits(self._root)
        self._rows = self._database.load(TABLE)
        found = [name for name in sorted(os.listdir(self._root)) if name not in self._rows and self._is_volume(name)]
        for name in found:
            status = os.stat(os.path.join(self._root, name))
            self._rows[name] = Volume(name, _rfc3339(status.st_mtime))
        if found:
            await self._database.commit(*(Put(TABLE, name, self._rows[name]) for name in found))
        for name, volume in self._rows.items():
            self._make_directory(volume)
            # What a copy that was cut off has left; a finished one has left its empty twin.
            remove.remove_tree(os.path.join(self._root, name, COPY_NAME))
        left = [name for name in os.listdir(self._ingest) if name.startswith("volume-")]
        if left:
            await self._delete(left)
        return found

    def list(self) -> Sequence[Volume]:
        """By name."""
        return [self._rows[name] for name in sorted(self._rows)]

    def get(self, name: str) -> Volume:
        """Raises NotFound with docker's words."""
        try:
            return self._rows[name]
        except KeyError:
            raise NotFound(f"get {name}: no such volume") from None

    def mountpoint(self, name: str) -> str:
        """Where the volume's files are on the host, mounted or not."""
        return os.path.join(self._root, name, "_data")

    async def create(
        self,
        name: str = "",
        *,
        driver: str = "",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Volume:
        """The volume `name`, made if need be; without a name an anonymous one, with 64 hex digits for a name.

        One that is there is returned untouched, whatever options say. Raises InvalidArgument, NotFound (driver), Conflict.
        """
        driver = driver or DRIVER
        labels = dict(labels or {})
        if not name:
            name = secrets.token_hex(32)
            labels.setdefault(ANONYMOUS_LABEL, "")
        _check_name(name)
        if driver != DRIVER:
            raise NotFound(f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found')
        async with self._lock(name):
            known = self._rows.get(name)
            if known is not None:
                if known.driver != driver:
                    raise Conflict(f"create {name}: conflict: volume name must be unique")
                return known
            options = dict(options or {})
            try:
                check_options(options, limits=self._limits.are_possible)
            except InvalidArgument as error:
                raise InvalidArgument(f"create {name}: {error}") from error
            volume = Volume(name, _rfc3339(time.time()), driver, options or None, labels or None)
            # Not synced: a row whose directory a power cut took gets it anew at the start, and it was empty.
            with durable.disk_errors(f"create volume {name}"):
                self._make_directory(volume)
            await self._database.commit(Put(TABLE, name, volume))
            self._rows[name] = volume
            self.on_event("create", volume)
            return volume

    def use(self, name: str, container_id: str) -> None:
        """The container needs the volume from now on. Raises NotFound."""
        self.get(name)
        self._users.setdefault(name, set()).add(container_id)

    def users(self, name: str) -> Sequence[str]:
        """Ids of containers that need the volume."""
        return sorted(self._users.get(name, ()))

    async def let_go(self, name: str, container_id: str) -> None:
        """A container that goes on needs the volume no more."""
        self._users.get(name, set()).discard(container_id)
        if not self._users.get(name):
            self._users.pop(name, None)
            await self.unmount_unused(name)

    async def release(self, container_id: str, *, remove_anonymous: bool = False) -> Sequence[str]:
        """The container is gone. With `remove_anonymous` (`rm -v`, `--rm`) so are its anonymous volumes that nobody else uses.

        Returns the names of those removed.
        """
        removed = []
        for name in [name for name, users in self._users.items() if container_id in users]:
            users = self._users[name]
            users.discard(container_id)
            if not users:
                del self._users[name]
                await self.unmount_unused(name)
                if remove_anonymous and name in self._rows and self._rows[name].anonymous:
                    # A volume that can't be removed keeps nobody from removing its container.
                    with contextlib.suppress(OnggiError, OSError):
                        await self.remove(name)
                        removed.append(name)
        return removed

    async def mount(self, name: str) -> str:
        """The directory to bind into a container; for volumes with `device` it is mounted now, if it wasn't.

        Raises InvalidArgument with the kernel's answer.
        """
        volume = self.get(name)
        target = self.mountpoint(name)
        request = mount_request(volume.options or {})
        if request is None:
            return target
        async with self._lock(name):
            if self._is_mounted(name):
                return target
            try:
                request = await asyncio.to_thread(with_addresses, request)
                await asyncio.to_thread(
                    mounts.mount, request.device, target, request.fstype, request.flags, request.data or None
                )
            except OSError as error:
                detail = error.strerror or str(error)
                raise InvalidArgument(
                    f"error while mounting volume '{target}': failed to mount local volume: mount {request.device}:{target}, "
                    f"data: {request.data}: {detail.lower()}"
                ) from error
        return target

    async def unmount_unused(self, name: str) -> None:
        """Takes the mount of a volume with `device` away when no container needs it. What isn't mounted is fine."""
        volume = self._rows.get(name)
        if volume is None or mount_request(volume.options or {}) is None or self._users.get(name):
            return
        async with self._lock(name):
            if self._is_mounted(name):
                await asyncio.to_thread(mounts.umount2, self.mountpoint(name))

    async def fill(self, name: str, image_root: int, path: str) -> bool:
        """Copies what the image has at `path` into the volume if that is empty; whether it did.

        `image_root` is a descriptor of the image's merged tree, without anything mounted in it. Two first users at once: one
        fills, the other finds it filled. Raises InvalidArgument for a path that no honest config has, NoSpace.
        """
        volume = self.get(name)
        if mount_request(volume.options or {}) is not None:
            await self.mount(name)
        async with self._lock(name):
            alone = len(self._users.get(name, ())) <= 1 and not self._is_mounted(name)
            with os.scandir(self.mountpoint(name)) as entries:
                if next(entries, None) is not None:
                    return False
            fd = os.open(os.path.join(self._root, name), _DIRECTORY)
            try:
                answer = await self._workers.run("onggi.volumes.copyup:copy_up", CopyUp(path, alone), [image_root, fd])
            finally:
                os.close(fd)
            return msgspec.msgpack.decode(answer, type=bool)

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Raises NotFound (unless `force`), Conflict while a container needs it."""
        async with self._lock(name):
            if name not in self._rows:
                if force:
                    return
                raise NotFound(f"get {name}: no such volume")
            users = self.users(name)
            if users:
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
            if self._is_mounted(name):
                await asyncio.to_thread(mounts.umount2, self.mountpoint(name))
            await self._database.commit(Delete(TABLE, name))
            self.on_event("destroy", self._rows.pop(name))
            self._limits.lift(os.path.join(self._root, name))
            gone = f"volume-{secrets.token_hex(8)}"
            with contextlib.suppress(FileNotFoundError):
                os.rename(os.path.join(self._root, name), os.path.join(self._ingest, gone))
                await self._delete([gone])
        self._locks.pop(name, None)

    async def prune(
        self, *, all: bool = False, wanted: Callable[[Volume], bool] = lambda _: True
    ) -> tuple[Sequence[str], int]:
        """Removes volumes that nobody uses, the anonymous ones or `all`; their names, and the bytes they had."""
        removed: list[str] = []
        freed = 0
        for volume in self.list():
            if (all or volume.anonymous) and not self._users.get(volume.name) and wanted(volume):
                size = await self.size(volume.name)
                try:
                    await self.remove(volume.name)
                except (Conflict, NotFound):
                    continue
                removed.append(volume.name)
                freed += size
        return removed, freed

    async def size(self, name: str) -> int:
        """Bytes of the volume's files; 0 for one whose files are another file system's."""
        if self._is_mounted(name):
            return 0
        fd = os.open(self.mountpoint(name), _DIRECTORY)
        try:
            return msgspec.msgpack.decode(await self._workers.run("onggi.store.jobs:usage", None, [fd]), type=int)
        finally:
            os.close(fd)

    def _is_volume(self, name: str) -> bool:
        return _NAME.fullmatch(name) is not None and os.path.isdir(os.path.join(self._root, name, "_data"))

    def _is_mounted(self, name: str) -> bool:
        """Asks the kernel's list, not the directory: a network file system whose server is gone would not answer."""
        if mount_request(self.get(name).options or {}) is None:
            return False
        target = self.mountpoint(name)
        return any(mount.target == target for mount in mounts.mountinfo())

    def _make_directory(self, volume: Volume) -> None:
        directory = os.path.join(self._root, volume.name)
        data = os.path.join(directory, "_data")
        os.makedirs(directory, mode=0o711, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(data, 0o755)
            if (size := size_of(volume.options)) and self._limits.are_possible:
                self._limits.set([directory, data], size)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    async def _delete(self, names: Iterable[str]) -> None:
        fd = os.open(self._ingest, _DIRECTORY)
        try:
            await self._workers.run("onggi.store.jobs:remove_trees", jobs.RemoveTrees(list(names)), [fd])
        finally:
            os.close(fd)


def _check_name(name: str) -> None:
    if len(name) == 1:
        raise InvalidArgument(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.fullmatch(name) or len(name) > _NAME_LIMIT:
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are '
            "allowed. If you intended to pass a host directory, use absolute path"
        )


def _rfc3339(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
