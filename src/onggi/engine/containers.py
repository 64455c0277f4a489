"""The containers of an engine: found by name and id, and what clients ask of them.

What is begun for a request runs in a task of the engine's: a client that hangs up leaves nothing half-done (R-24).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from onggi.engine import filtering, inspecting, links, names, pauses, updating
from onggi.engine.config import CreateBody, UpdateBody
from onggi.engine.container import TABLE, Container, State
from onggi.engine.creating import Created, Creation
from onggi.engine.endpoints import REPLACES
from onggi.engine.top import parent_of, top
from onggi.errors import Conflict, InvalidArgument, NotFound
from onggi.kernel import cgroups
from onggi.store.database import Put
from onggi.store.diff import Change

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_HEX = re.compile(r"[0-9a-f]+")
Filters = Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class WaitResult:
    """How a wait ended; `error` when it failed to be removed; why a start failed is the start's own answer."""

    exit_code: int
    error: str = ""


class Containers:
    """See the module. Everything is answered from memory."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._by_id: dict[str, Container] = {}
        self._by_name: dict[str, str] = {}
        self._pruning = False
        self._creation = Creation(engine)

    # Finding

    def __iter__(self) -> Iterator[Container]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._by_id

    def add(self, container: Container) -> None:
        """Known from now on (create, and the engine's start)."""
        self._by_id[container.id] = container
        self._by_name[container.name] = container.id
        container.release_layers = self._engine.images.lease(self._engine.layers_of(container))

    def forget(self, container: Container) -> None:
        """Its name is free, and its layers are held by it no more."""
        container.release_layers()
        self._by_id.pop(container.id, None)
        if self._by_name.get(container.name) == container.id:
            del self._by_name[container.name]

    def reserve(self, name: str, identifier: str) -> str:
        """The name, or one that we make up for "", belongs to `identifier` from now on. Raises Conflict in docker's words."""
        name = name or names.invent(self._by_name)
        if name in self._by_name:
            raise names.taken(name, self._by_name[name])
        self._by_name[name] = identifier
        return name

    def release_name(self, name: str, identifier: str) -> None:
        if self._by_name.get(name) == identifier:
            del self._by_name[name]

    def swap_names(self, old: Container, former: str, new: Container, name: str) -> None:
        """`new` is known as `name` from now on, `old` as `former`. The rows are the caller's to change."""
        del self._by_name[new.name]
        self._by_name[name], self._by_name[former] = new.id, old.id

    def find(self, text: str) -> Container | None:
        """By full id, by name, or by a beginning of the id that only one has. Raises InvalidArgument for several."""
        found = self._by_id.get(text)
        if found is not None:
            return found
        identifier = self._by_name.get(text.removeprefix("/"))
        if identifier is not None:
            return self._by_id[identifier]
        if not text or not _HEX.fullmatch(text):
            return None
        starts = [one for key, one in self._by_id.items() if key.startswith(text)]
        if len(starts) > 1:
            raise InvalidArgument(f"multiple IDs found with provided prefix: {text}")
        return starts[0] if starts else None

    def get(self, text: str) -> Container:
        """Raises NotFound in docker's words."""
        found = self.find(text)
        if found is None:
            raise NotFound(f"No such container: {text}")
        return found

    def of_image(self, image_id: str) -> list[tuple[str, bool]]:
        """(id, runs) of the containers that were made from an image."""
        return [(one.id, one.is_alive) for one in self if image_id in one.images]

    def link_names(self, container: Container) -> list[str]:
        """`/other/alias` of containers that link to this one."""
        found = []
        for other in self:
            for word in (other.row.host_config.links or ()) if links.are_kept(other.row.host_config) else ():
                name, alias = links.parse(word)
                if name in (container.name, container.id):
                    found.append(f"/{other.name}/{alias}")
        return found

    def users_of_image(self, image_id: str) -> list[tuple[str, bool]]:
        """(id, runs) of the containers that were made from an image."""
        return self.of_image(image_id)

    def users_of_images(self) -> dict[str, int]:
        """Image id → number of its containers."""
        found: dict[str, int] = {}
        for one in self:
            found[one.row.image_id] = found.get(one.row.image_id, 0) + 1
        return found

    # Reading

    async def list(
        self, filters: Filters, *, all: bool = False, limit: int = 0, size: bool = False
    ) -> list[dict[str, Any]]:
        """Documents of the newest version, newest container first; running ones only unless more is asked for."""
        chosen = self._chosen(filters, everything=all, limit=limit)
        documents = [inspecting.summary_document(self._engine, one) for one in chosen]
        if size:
            for document, one in zip(documents, chosen, strict=True):
                document["SizeRw"], document["SizeRootFs"] = await self.sizes(one)
        return documents

    def list_json(
        self, filters: Filters, *, all: bool = False, limit: int = 0, version: int, shape: inspecting.Shape
    ) -> bytes:
        """The same, encoded, in the form that `shape` gives a document for an API version; without sizes."""
        chosen = self._chosen(filters, everything=all, limit=limit)
        return b"[%s]" % b",".join([inspecting.summary_json(self._engine, one, version, shape) for one in chosen])

    def _chosen(self, filters: Filters, *, everything: bool, limit: int) -> Sequence[Container]:
        wanted = filtering.matcher(self._engine, filters)
        found = sorted(self, key=lambda one: one.row.created_ns, reverse=True)
        if not (everything or limit > 0 or filters.get("status")):
            found = [one for one in found if one.is_alive or one.state == State.RESTARTING]
        found = [one for one in found if wanted(one)]
        return found[:limit] if limit > 0 else found

    async def inspect(self, text: str, *, size: bool = False, beyond_docker: bool = False) -> bytes:
        """The document, encoded; with what docker has no field for, for a client that asks. Raises NotFound."""
        container = self.get(text)
        if not size and not beyond_docker:
            return inspecting.inspect(self._engine, container)
        document = inspecting.inspect_document(self._engine, container)
        if size:
            document["SizeRw"], document["SizeRootFs"] = await self.sizes(container)
        if beyond_docker:
            document["Onggi"] = inspecting.beyond_docker(container)
        return msgspec.json.encode(document)

    async def sizes(self, container: Container) -> tuple[int, int]:
        """(SizeRw, SizeRootFs)."""
        engine = self._engine
        snapshot = engine.snapshot(container)
        own = await engine.snapshots.usage(snapshot)
        return own, own + sum(
            engine.layers.size(layer) for layer in engine.layers_of(container) if engine.layers.has(layer)
        )

    async def top(self, text: str, ps_args: str) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Titles and rows. Raises Conflict when it isn't running."""
        container = self.get(text)
        shim = container.must_be_alive()
        pids = await asyncio.to_thread(cgroups.open(self._engine.cgroup_path(container)).pids)
        # What prepared the start ends in the same group, and may be there as a zombie for a moment.
        pids = [pid for pid in pids if pid == shim.pid or parent_of(pid) != shim.shim_pid]
        found = await top(pids, ps_args)
        self._engine.events.emit("container", "top", container.id, container.attributes)
        return found.titles, found.processes

    async def changes(self, text: str) -> Sequence[Change]:
        """What `docker diff` prints."""
        return await self._engine.snapshots.changes(self._engine.snapshot(self.get(text)))

    def wait(self, text: str, condition: str) -> Awaitable[WaitResult]:
        """Registered when this returns: an end that comes later is not missed. Raises NotFound."""
        container = self.get(text)
        if condition == "next-exit":
            if container.next_exit is None:
                container.next_exit = asyncio.get_running_loop().create_future()
            return _exit_of(container.next_exit)
        if condition == "removed":
            return _end_of(container, container.removed)
        return _end_of(container, container.exited)

    # Moves

    async def create(self, name: str, body: CreateBody, platform: str = "") -> Created:
        """Raises NotFound (image), Conflict (name), InvalidArgument."""
        return await self._engine.tasks.finish(
            self._creation.create(name, body, platform), f"creation of {name or 'a container'}"
        )

    async def start(self, text: str) -> None:
        container = self.get(text)
        await self._engine.tasks.finish(self._engine.starts.start(container), f"start of {container.name}")

    async def stop(self, text: str, *, signal: str = "", timeout: int | None = None) -> None:
        container = self.get(text)
        work = self._engine.stops.stop(container, timeout_s=timeout, signal_text=signal or None)
        await self._engine.tasks.finish(work, f"stop of {container.name}")

    async def restart(self, text: str, *, signal: str = "", timeout: int | None = None) -> None:
        container = self.get(text)
        work = self._engine.stops.restart(container, timeout_s=timeout, signal_text=signal or None)
        await self._engine.tasks.finish(work, f"restart of {container.name}")

    async def kill(self, text: str, signal: str = "") -> None:
        try:
            container = self.get(text)
        except NotFound as error:
            raise NotFound(f"cannot kill container: {text}: {error}") from None
        await self._engine.tasks.finish(
            self._engine.stops.kill(container, signal or "SIGKILL"), f"kill of {container.name}"
        )

    async def pause(self, text: str) -> None:
        container = self.get(text)
        await self._engine.tasks.finish(pauses.pause(self._engine, container), f"pause of {container.name}")

    async def unpause(self, text: str) -> None:
        container = self.get(text)
        await self._engine.tasks.finish(pauses.unpause(self._engine, container), f"unpause of {container.name}")

    async def remove(self, text: str, *, force: bool = False, volumes: bool = False, link: bool = False) -> None:
        if link:
            self._unlink(text)
            return
        container = self.get(text)
        work = self._engine.removal.remove(container, force=force, volumes=volumes)
        await self._engine.tasks.finish(work, f"removal of {container.name}")

    def _unlink(self, text: str) -> None:
        parent, _, alias = text.strip("/").partition("/")
        container = self.get(parent)
        if not alias:
            raise Conflict("Conflict, cannot remove the default link name of the container")
        host = container.row.host_config
        left = [word for word in host.links or () if links.parse(word)[1] != alias]
        container.change(host_config=msgspec.structs.replace(host, links=left or None))

    # Changing

    async def rename(self, text: str, name: str) -> None:
        """Names in networks follow at once. Raises InvalidArgument, Conflict."""
        container = self.get(text)
        if not name:
            raise InvalidArgument("Neither old nor new names may be empty")
        try:
            new = names.check(name)
        except InvalidArgument:
            bare = name.removeprefix("/")
            raise InvalidArgument(
                f"Error when allocating new name: Invalid container name (/{bare}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            ) from None
        async with container.lock:
            old = container.name
            if new == old:
                raise InvalidArgument("Renaming a container with the same name as its current name")
            if new in self._by_name:
                raise Conflict(f"Error when allocating new name: {names.taken(new, self._by_name[new])}")
            self._by_name[new] = container.id
            del self._by_name[old]
            container.change(name=new)
            self._engine.endpoints.renamed(container)
            await self._engine.database.commit(Put(TABLE, container.id, container.row))
        if (container.row.config.labels or {}).get(REPLACES) == new:
            # The name that it was to take is its: so are the ports that it waits for. Connections under way stay where they are.
            await self._engine.networks.ports.take_over(container.id)
        for other in self:
            other.documents.clear()
        self._engine.events.emit("container", "rename", container.id, container.attributes | {"oldName": f"/{old}"})

    async def update(self, text: str, body: UpdateBody, given: frozenset[str]) -> Sequence[str]:
        """Changes what came (`given`: names as in JSON, in small letters). Warnings. Raises InvalidArgument, Conflict."""
        return await updating.update(self._engine, self.get(text), body, given)

    async def resize(self, text: str, rows: int, columns: int) -> None:
        container = self.get(text)
        shim = container.must_be_alive()
        if container.row.config.tty:
            await shim.resize(rows, columns)
        self._engine.events.emit(
            "container", "resize", container.id, container.attributes | {"height": str(rows), "width": str(columns)}
        )

    async def prune(self, filters: Filters) -> tuple[Sequence[str], int]:
        """Removes those that don't run; ids and bytes freed. Raises Conflict while another prune is under way."""
        if self._pruning:
            raise Conflict("a prune operation is already running")
        wanted = filtering.prune_matcher(filters)
        self._pruning = True
        removed: list[str] = []
        freed = 0
        try:
            for container in [
                one for one in self if one.state in (State.CREATED, State.EXITED, State.DEAD) and wanted(one)
            ]:
                own, _ = await self.sizes(container)
                try:
                    await self._engine.removal.remove(container, force=False, volumes=False)
                except (Conflict, NotFound):
                    continue
                removed.append(container.id)
                freed += own
        finally:
            self._pruning = False
        self._engine.events.emit("container", "prune", "", {"reclaimed": str(freed)})
        return removed, freed


async def _exit_of(future: asyncio.Future[int]) -> WaitResult:
    return WaitResult(await asyncio.shield(future))


async def _end_of(container: Container, event: asyncio.Event) -> WaitResult:
    await event.wait()
    return WaitResult(container.row.exit_code, container.removal_error)
