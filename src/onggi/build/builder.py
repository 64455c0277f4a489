"""All builds of one engine: what they share, and one build from its request to its images."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from onggi.build import examining
from onggi.build.bases import Bases
from onggi.build.cache import BuildCache, CacheRecord, CacheRow
from onggi.build.cachemounts import CacheMounts
from onggi.build.collecting import Rule, Space, chosen
from onggi.build.definition import Definition, load_definition
from onggi.build.earliercopies import EarlierCopies
from onggi.build.errors import BuildFailed
from onggi.build.explaining import Explainer
from onggi.build.flights import Flights
from onggi.build.frontend import Frontend
from onggi.build.gcsettings import GcSettings
from onggi.build.git import GitSources
from onggi.build.layering import Layering
from onggi.build.locals import LocalFiles
from onggi.build.options import BuildOptions
from onggi.build.origins import Sources
from onggi.build.output import Output
from onggi.build.plan import Plan
from onggi.build.postedagents import OfferedAgents
from onggi.build.posting import Posting
from onggi.build.private import PrivatePlaces
from onggi.build.remote import Remotes
from onggi.build.request import Built, Request, Solved
from onggi.build.runner import StepRunner
from onggi.build.solving import Explain, Outcome, Script, Solving
from onggi.build.validators import Validators
from onggi.build.vertices import Progress, SourceFile
from onggi.errors import InvalidArgument, OnggiError
from onggi.images import Images
from onggi.oci.digest import Digest
from onggi.store.database import Database
from onggi.store.layers import Layers
from onggi.store.snapshots import Snapshots
from onggi.store.workers import Workers

_SECRETS_S: Final = 60
_COLLECT_S: Final = 3600
MOUNT: Final = "exec.cachemount"


class Builder:
    """All builds of one engine. `restore` once at start, when the images are there."""

    def __init__(
        self,
        images: Images,
        layers: Layers,
        snapshots: Snapshots,
        database: Database,
        runner: StepRunner,
        *,
        workers: Workers,
        root: str | os.PathLike[str],
        private: PrivatePlaces,
        gc: GcSettings | None = None,
    ) -> None:
        self.images, self.workers, self.private = images, workers, private
        self.root = os.fspath(root)
        self.ingest = os.path.join(root, "ingest")
        self.layering = Layering(layers, snapshots, workers, runner)
        self.cache = BuildCache(images, layers, database)
        self.cache_mounts = CacheMounts(self.root)
        self.explainer = Explainer(database)
        self.validators = Validators(database)
        self.earlier_copies = EarlierCopies()
        self.flights: Flights[Outcome] = Flights()
        self._running: dict[str, asyncio.Task[object]] = {}
        self._cancelled: set[str] = set()
        self._secrets: dict[str, Mapping[str, bytes]] = {}
        """Sent ahead of a build, by its id."""
        self.agents = OfferedAgents()
        self._gc = gc or GcSettings()
        self._collected_s = float("-inf")

    def restore(self) -> None:
        """Reads the cache's rows, and clears what an ended engine has left."""
        self.cache.restore()
        self.explainer.restore()
        self.validators.restore()
        self.cache_mounts.clean()
        self.private.clean()

    @contextlib.asynccontextmanager
    async def solve(
        self,
        request: Request,
        progress: Progress,
        *,
        script: Callable[[Plan, Script], None] | None = None,
        explain: Explain | None = None,
    ) -> AsyncIterator[Solved]:
        """Carries out a build; its layers are held while the block lasts, and no name has moved.

        `script` is told once of all steps before the first one runs, `explain` why a step is made anew.

        Raises InvalidArgument, DockerfileError, BuildFailed, NotFound, NoSpace … . Failed or cancelled: no process, mount or temporary
        file is left, the layers of steps that were done stay in the cache.
        """
        async with contextlib.AsyncExitStack() as stack:
            yield Solved(tuple(await self._solved(request, progress, stack, script, explain)))
        await self._collect()

    @contextlib.asynccontextmanager
    async def opened(self, request: Request, progress: Progress) -> AsyncIterator[Solving]:
        """What a build without a Dockerfile is carried out with: its sources, its cache, what it holds. See `solve`."""
        async with contextlib.AsyncExitStack() as stack:
            sources = self._sources(request, progress, (), *self._outside(request, progress, stack), stack)
            yield Solving(self, request, progress, SourceFile("", b""), (), sources, stack)
        await self._collect()

    async def examine(self, request: Request, what: str, progress: Progress) -> bytes:
        """What the Dockerfile says, without building: `what` is "lint", "outline" or "targets"; a JSON document (examining.py).

        Raises InvalidArgument, DockerfileError, BuildFailed; for "lint" what is wrong with the Dockerfile is in the document.
        """
        async with contextlib.AsyncExitStack() as stack:
            definition, frontend, _ = await self._begun(request, progress, stack)
            file = definition.file
            if what == "targets":
                return msgspec.json.encode(examining.targets(file, await frontend.dockerfile()))
            if what == "outline":
                plans = await frontend.plans()
                return msgspec.json.encode(examining.outline(file, await frontend.dockerfile(), plans[0]))
            if what != "lint":
                raise InvalidArgument(f"unknown request {what!r}: want lint, outline or targets")
            error: OnggiError | None = None
            try:
                # Without a target all of them are looked at.
                await frontend.plans(every_stage=not request.options.target)
            except OnggiError as failed:
                error = failed
            return msgspec.json.encode(examining.lint(file, frontend.findings, error))

    async def _solved(
        self,
        request: Request,
        progress: Progress,
        stack: contextlib.AsyncExitStack,
        script: Callable[[Plan, Script], None] | None,
        explain: Explain | None,
    ) -> list[Built]:
        definition, frontend, sources = await self._begun(request, progress, stack)
        plans = await frontend.plans()
        return await Solving(self, request, progress, definition.file, plans, sources, stack, explain).run(script)

    async def _begun(
        self, request: Request, progress: Progress, stack: contextlib.AsyncExitStack
    ) -> tuple[Definition, Frontend, Sources]:
        git, remotes = self._outside(request, progress, stack)
        definition = await load_definition(request, progress, remotes, stack)
        sources = self._sources(request, progress, definition.patterns, git, remotes, stack)
        return definition, Frontend(request, progress, definition, sources.bases), sources

    def _outside(
        self, request: Request, progress: Progress, stack: contextlib.AsyncExitStack
    ) -> tuple[GitSources, Remotes]:
        git = GitSources(self, request, stack)
        return git, Remotes(self, git, progress, stack)

    def _sources(
        self,
        request: Request,
        progress: Progress,
        patterns: Sequence[str],
        git: GitSources,
        remotes: Remotes,
        stack: contextlib.AsyncExitStack,
    ) -> Sources:
        """`patterns` are those of the main context's ignore file."""

        def hold(layer: Digest) -> None:
            stack.callback(self.images.lease([layer]))

        bases = Bases(self.images, request, progress, hold)
        stack.push_async_callback(bases.close)
        return Sources(bases, LocalFiles(request, progress, patterns, stack), remotes, git)

    async def build(
        self,
        context: AsyncIterable[bytes],
        options: BuildOptions,
        output: Output,
        secrets: Mapping[str, bytes] | None = None,
    ) -> str:
        """`POST /build`: the id of the image, which has its names. Tells of everything through `output`.

        Raises InvalidArgument, DockerfileError (nothing was said yet), BuildFailed (also when `cancel` ended it), NoSpace … .
        Failed or cancelled: no name has moved.
        """
        with self.cancellable(options.build_id):
            secrets = {**self._secrets.pop(options.build_id, {}), **(secrets or {})}
            return await Posting(self, options, output, secrets).build(context)

    @contextlib.contextmanager
    def cancellable(self, build_id: str) -> Iterator[None]:
        """While the block lasts `cancel` ends it: with BuildFailed, not with the end of the task."""
        task = asyncio.current_task()
        if build_id and task is not None:
            self._running[build_id] = task
        try:
            yield
        except asyncio.CancelledError:
            if build_id not in self._cancelled or task is None or task.uncancel():
                raise
            raise BuildFailed("context canceled") from None
        finally:
            self._running.pop(build_id, None)
            self._cancelled.discard(build_id)

    async def call(self, context: AsyncIterable[bytes], options: BuildOptions, what: str) -> bytes:
        """`POST /build?call=…`: see `examine`."""
        return await Posting(self, options, lambda _message: None, {}).call(context, what)

    def keep_secrets(self, build_id: str, secrets: Mapping[str, bytes]) -> None:
        """For the build of this id, which is about to come: in memory, and for a minute."""
        self._secrets[build_id] = secrets
        asyncio.get_running_loop().call_later(_SECRETS_S, self._secrets.pop, build_id, None)

    def cancel(self, build_id: str) -> None:
        """Ends a build; one that isn't known is fine."""
        task = self._running.get(build_id)
        if task is not None:
            self._cancelled.add(build_id)
            task.cancel()

    async def records(self) -> list[CacheRecord]:
        """Steps, and cache mounts, whose size is looked at."""
        mounts = await asyncio.to_thread(self.cache_mounts.records)
        return self.cache.records() + [
            CacheRecord(
                mount.key,
                CacheRow(
                    "", f"cached mount {mount.identifier}", mount.created_ns, mount.used_ns, size=mount.size, kind=MOUNT
                ),
                shared=False,
                in_use=mount.in_use,
            )
            for mount in mounts
        ]

    async def prune(self, rule: Rule) -> tuple[list[CacheRecord], int]:
        """What the cache lets go by `rule`, and the bytes that are free then."""
        records = await self.records()
        gone = chosen(records, rule, self._space(), time.time_ns())
        freed = await self.cache.remove([record.key for record in gone if record.row.kind != MOUNT])
        for record in gone:
            if record.row.kind == MOUNT:
                await asyncio.to_thread(self.cache_mounts.remove, record.key)
                freed += record.row.size
        return gone, freed

    def _space(self) -> Space:
        found = os.statvfs(self.root)
        return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)

    async def _collect(self) -> None:
        """The configured rules, at most once an hour: an engine on a full disk would look after each build."""
        now = time.monotonic()
        if now - self._collected_s < _COLLECT_S:
            return
        self._collected_s = now
        for rule in self._gc.rules(self._space()):
            await self.prune(rule)
