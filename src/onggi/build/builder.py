"""All builds of one engine: what they share, and one build from its request to its images."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from typing import Final

import msgspec

from onggi.build import examining
from onggi.build.bases import Bases
from onggi.build.cache import BuildCache, CacheRecord
from onggi.build.cachemounts import CacheMounts
from onggi.build.classic import Classic
from onggi.build.context import Context
from onggi.build.definition import Definition, load_definition
from onggi.build.errors import BuildFailed
from onggi.build.flights import Flights
from onggi.build.frontend import Frontend
from onggi.build.git import GitSources
from onggi.build.layering import Layering
from onggi.build.locals import LocalFiles
from onggi.build.options import BuildOptions
from onggi.build.origins import Sources
from onggi.build.output import Aux, HeldOutput, Message, Output
from onggi.build.plan import Kind, Plan
from onggi.build.posted import NoAgents, PostedContexts, PostedCredentials, PostedSecrets
from onggi.build.private import PrivatePlaces
from onggi.build.receivejob import Receive
from onggi.build.remote import Remotes, indexed
from onggi.build.request import Built, Request, Solved
from onggi.build.runner import StepRunner
from onggi.build.solving import Outcome, Script, Solving
from onggi.build.vertices import Progress, Vertex
from onggi.errors import InvalidArgument, NotFound, OnggiError
from onggi.images import Images
from onggi.oci.digest import Digest, sha256_of
from onggi.oci.image import encode_image_config
from onggi.store.database import Database
from onggi.store.layers import Layers
from onggi.store.pipes import pumped
from onggi.store.snapshots import Snapshots
from onggi.store.workers import Workers

_UNUSED_S: Final = 60 * 24 * 3600
"""A step that no build has asked for in so long is forgotten, as in BuildKit's default rules."""


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
    ) -> None:
        self.images, self.workers, self.private = images, workers, private
        self.ingest = os.path.join(root, "ingest")
        self.layering = Layering(layers, snapshots, workers, runner)
        self.cache = BuildCache(images, layers, database)
        self.cache_mounts = CacheMounts(os.fspath(root))
        self.flights: Flights[Outcome] = Flights()
        self._running: dict[str, asyncio.Task[object]] = {}
        self._collected = False
        """Whether this engine has thrown away what builds no longer ask for."""

    def restore(self) -> None:
        """Reads the cache's rows, and clears what an ended engine has left."""
        self.cache.restore()
        self.cache_mounts.clean()
        self.private.clean()

    @contextlib.asynccontextmanager
    async def solve(
        self, request: Request, progress: Progress, *, script: Callable[[Plan, Script], None] | None = None
    ) -> AsyncIterator[Solved]:
        """Carries out a build; its layers are held while the block lasts, and no name has moved.

        Raises InvalidArgument, DockerfileError, BuildFailed, NotFound, NoSpace … . Failed or cancelled: no process, mount or temporary
        file is left, the layers of steps that were done stay in the cache.
        """
        async with contextlib.AsyncExitStack() as stack:
            yield Solved(tuple(await self._solved(request, progress, stack, script)))
        if not self._collected:
            self._collected = True
            await self.cache.prune(everything=False, keep_bytes=0, until_s=int(time.time()) - _UNUSED_S)

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
    ) -> list[Built]:
        definition, frontend, sources = await self._begun(request, progress, stack)
        plans = await frontend.plans()
        return await Solving(self, request, progress, definition.file, plans, sources, stack).run(script)

    async def _begun(
        self, request: Request, progress: Progress, stack: contextlib.AsyncExitStack
    ) -> tuple[Definition, Frontend, Sources]:
        def hold(layer: Digest) -> None:
            stack.callback(self.images.lease([layer]))

        bases = Bases(self.images, request, progress, hold)
        stack.push_async_callback(bases.close)
        git = GitSources(self, request, stack)
        remotes = Remotes(self, git, progress, stack)
        definition = await load_definition(request, progress, remotes, stack)
        sources = Sources(bases, LocalFiles(request, progress, definition.patterns, stack), remotes, git)
        return definition, Frontend(request, progress, definition, bases), sources

    async def build(
        self,
        context: AsyncIterable[bytes],
        options: BuildOptions,
        output: Output,
        secrets: Mapping[str, bytes] | None = None,
    ) -> str:
        """`POST /build`: the id of the image, which has its names. Tells of everything through `output`.

        Raises InvalidArgument, DockerfileError (nothing was said yet), BuildFailed, NoSpace … . Failed or cancelled: no name
        has moved.
        """
        task = asyncio.current_task()
        if options.build_id and task is not None:
            self._running[options.build_id] = task
        # With `q` nothing is said but the id, unless the build fails: then all that was said so far comes first.
        held = HeldOutput(output) if options.quiet else None
        try:
            image_id = await self._build(context, options, held.say if held else output, secrets or {})
        except BuildFailed as error:
            if held:
                held.release()
            told = BuildFailed(error.classic, error.code)
            told.location, told.vertex = error.location, error.vertex
            raise told from error
        finally:
            self._running.pop(options.build_id, None)
        if held:
            output(Message(stream=f"{image_id}\n"))
        return image_id

    def cancel(self, build_id: str) -> None:
        """Ends a build; one that isn't known is fine."""
        task = self._running.get(build_id)
        if task is not None:
            task.cancel()

    def records(self) -> list[CacheRecord]:
        return self.cache.records()

    async def prune(self, *, all: bool = False, keep_bytes: int = 0, until_s: int = 0) -> tuple[list[str], int]:
        """What the cache lets go: keys and bytes."""
        return await self.cache.prune(everything=all, keep_bytes=keep_bytes, until_s=until_s)

    async def _build(
        self, body: AsyncIterable[bytes], options: BuildOptions, output: Output, secrets: Mapping[str, bytes]
    ) -> str:
        async with self._received(body, options) as context:
            request = Request(
                options,
                PostedContexts(context, options),
                PostedSecrets(secrets),
                NoAgents(),
                PostedCredentials(options.auths),
            )
            classic = Classic(output, remove=options.remove_intermediate)

            def script(plan: Plan, lines: Sequence[tuple[str, Vertex | None]]) -> None:
                classic.script(lines, self._base_ids(plan))
                unused.extend(plan.unused_args)

            unused: list[str] = []
            async with self.solve(request, classic, script=script) as solved:
                return await self._finish(solved.images[0], options, output, classic, unused)

    def _base_ids(self, plan: Plan) -> dict[int, str]:
        """Number of each FROM among the lines → short id of its image, "" for what is none."""
        found: dict[int, str] = {}
        at = len(plan.global_lines)
        for stage in plan.stages.values():
            found[at] = ""
            if stage.base.kind is Kind.IMAGE:
                with contextlib.suppress(NotFound):
                    found[at] = self.images.resolve(stage.base.name).short_id
            at += len(stage.lines)
        return found

    @contextlib.asynccontextmanager
    async def _received(self, body: AsyncIterable[bytes], options: BuildOptions) -> AsyncIterator[Context | None]:
        """The context, in a nameless file that goes with the block; None when it is to come from elsewhere."""
        if options.remote:
            yield None
            return
        os.makedirs(self.ingest, mode=0o700, exist_ok=True)
        spool = os.open(self.ingest, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            async with pumped(body) as source:
                answer = await self.workers.run("onggi.build.receivejob:receive", Receive(), [source, spool])
            context = await asyncio.to_thread(indexed, answer, spool)
        except BaseException:
            os.close(spool)
            raise
        try:
            yield context
        finally:
            context.close()

    async def _finish(
        self, built: Built, options: BuildOptions, output: Output, classic: Classic, unused: Sequence[str]
    ) -> str:
        """The image and its names, in one commit."""
        images = self.images
        known = images.find(sha256_of(encode_image_config(built.config)))
        image = known or await images.create(built.config, names=options.tags)
        for tag in options.tags:
            if known:
                await images.tag(image, tag)
            else:
                images.on_event("tag", image.id, tag.familiar())
        classic.ended(image.short_id)
        if unused:
            output(Message(stream=f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n"))
        output(Message(aux=Aux(image.id)))
        output(Message(stream=f"Successfully built {image.short_id}\n"))
        for tag in options.tags:
            output(Message(stream=f"Successfully tagged {tag.familiar()}\n"))
        return image.id
