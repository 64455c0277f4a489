"""A plan carried out: stages side by side, each step from the cache, from another build that is at it, or made now."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onggi.build import state, trees
from onggi.build.copying import Copying, make_directory
from onggi.build.copyjob import CopyArgs, InTree
from onggi.build.errors import BuildFailed
from onggi.build.explaining import Files, place_of
from onggi.build.fetching import Fetcher, Spool
from onggi.build.flights import Listener
from onggi.build.keys import StepKey, step_key
from onggi.build.lending import Lent
from onggi.build.origins import Sources
from onggi.build.plan import CopyStepPlan, DirectoryStepPlan, Kind, Origin, Plan, PlannedStage, RunStepPlan, Step
from onggi.build.priorimages import PriorImages, with_keys
from onggi.build.request import Built, Request
from onggi.build.running import Running, Shown
from onggi.build.sources import tree_of
from onggi.build.together import together
from onggi.build.vertices import Location, Progress, SourceFile, Vertex
from onggi.errors import InvalidArgument, NotFound, OnggiError
from onggi.kernel.faults import point
from onggi.oci.digest import Digest
from onggi.store.layers import LayerInfo

if TYPE_CHECKING:
    from onggi.build.builder import Builder

Script = Sequence[tuple[str, Vertex | None]]
"""Instructions in the order of the file, with the vertex of each that has one: what the classic door reads out."""


Explain = Callable[[Vertex, str], None]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What an explanation needs of a step: its place in the build, and the files that it copies."""

    place: str
    files: Files = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step has made: the layer, and when."""

    layer: Digest
    created: str
    key: str = ""


@dataclass(slots=True)
class StageResult:
    """Layers, lowest first; `times` and `keys` are those of the last ones, which this build's steps made or found."""

    layers: tuple[Digest, ...] = ()
    times: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    def with_step(self, outcome: Outcome) -> StageResult:
        return StageResult((*self.layers, outcome.layer), (*self.times, outcome.created), (*self.keys, outcome.key))


class Solving:
    """One build. `stack` closes what it opens. `explain` is told of each step that is made anew, and why."""

    def __init__(
        self,
        builder: Builder,
        request: Request,
        progress: Progress,
        file: SourceFile,
        plans: Sequence[Plan],
        sources: Sources,
        stack: contextlib.AsyncExitStack,
        explain: Explain | None = None,
    ) -> None:
        self.builder, self.request, self.progress, self.file = builder, request, progress, file
        self.options, self.sources = request.options, sources
        self.fetcher = Fetcher(Spool(builder.ingest, stack), builder.validators, request.secrets)
        self._plans, self._stack, self._explain = plans, stack, explain
        self._vertices: dict[tuple[int, int, int], Vertex] = {}
        self._bases: dict[tuple[int, int], Vertex] = {}
        self._stages: dict[tuple[int, int], asyncio.Task[StageResult]] = {}
        self._trees: dict[tuple[Origin, str], asyncio.Task[Shown]] = {}
        self._prior = PriorImages(builder.images, request.options.cache_from)
        self.made: dict[str, Lent] = {}
        sources.locals.follow(plan.follow for plan in plans)

    async def run(self, script: Callable[[Plan, Script], None] | None = None) -> list[Built]:
        """One for each platform. Raises what the first step that failed raised."""
        self._announce()
        if script is not None:
            script(self._plans[0], self._lines(0))
        results = await self._solve()
        await self.builder.cache.settled()
        return [
            self._built(plan, await self._clamped(plan, result))
            for plan, result in zip(self._plans, results, strict=True)
        ]

    # Vertices

    def _announce(self) -> None:
        """All steps, before the first one runs; inputs come before what reads them."""
        for number, plan in enumerate(self._plans):
            for stage in plan.stages.values():
                below = self._announced_base(number, stage)
                for at, step in enumerate(stage.steps):
                    inputs = [below] if below else []
                    key = f"{step!r} {below.digest if below else ''} {plan.epoch}"
                    below = self.progress.vertex(step.name, inputs=inputs, key=key)
                    self._vertices[number, stage.number, at] = below

    def _announced_base(self, number: int, stage: PlannedStage) -> Vertex | None:
        if stage.base.kind is Kind.STAGE:
            base = self._plans[number].stages[stage.base.number]
            last = self._vertices.get((number, base.number, len(base.steps) - 1))
            return last or self._bases.get((number, base.number))
        if not stage.base_name:
            return None
        vertex = self.progress.vertex(stage.base_name, key=f"{stage.base!r}")
        self._bases[number, stage.number] = vertex
        return vertex

    def _lines(self, number: int) -> list[tuple[str, Vertex | None]]:
        plan = self._plans[number]
        found: list[tuple[str, Vertex | None]] = [(text, None) for text in plan.global_lines]
        for stage in plan.stages.values():
            at = {id(step): self._vertices[number, stage.number, index] for index, step in enumerate(stage.steps)}
            found += [(text, at.get(id(step)) if step is not None else None) for text, step in stage.lines]
        return found

    # Stages

    async def _solve(self) -> list[StageResult]:
        targets = [(number, plan.target) for number, plan in enumerate(self._plans)]
        async with together() as group:
            for number, plan in enumerate(self._plans):
                for stage in plan.stages.values():
                    self._stages[number, stage.number] = group.create_task(
                        self._stage(number, stage), name=f"build stage {stage.name}"
                    )
        return [self._stages[target].result() for target in targets]

    async def _stage(self, number: int, stage: PlannedStage) -> StageResult:
        result = await self._base(number, stage)
        # Linked copies are the same over anything: nobody has to wait for what is below them.
        early = {
            at: asyncio.ensure_future(self._step(number, stage, at, ()))
            for at, step in enumerate(stage.steps)
            if isinstance(step, CopyStepPlan) and step.alone
        }
        try:
            for at in range(len(stage.steps)):
                outcome = await (early[at] if at in early else self._step(number, stage, at, result.layers))
                result = result.with_step(outcome)
        finally:
            for task in early.values():
                task.cancel()
            if early:
                await asyncio.wait(early.values())
        return result

    async def _base(self, number: int, stage: PlannedStage) -> StageResult:
        origin = stage.base
        if origin.kind is Kind.SCRATCH:
            return StageResult()
        if origin.kind is Kind.STAGE:
            return await asyncio.shield(self._stages[number, origin.number])
        vertex = self._bases[number, stage.number]
        if origin.kind is Kind.IMAGE:
            image = await self.sources.bases.image(origin)
            vertex.cached()
            return StageResult(tuple(image.layers))
        shown = await self.shown(origin, "/", number)
        vertex.cached()
        return StageResult(tuple(shown.layers), tuple(state.now_text() for _ in shown.layers))

    async def _step(self, number: int, stage: PlannedStage, at: int, layers: Sequence[Digest]) -> Outcome:
        step, vertex = stage.steps[at], self._vertices[number, stage.number, at]
        inputs = Inputs(place_of(self.options, stage, at))
        try:
            match step:
                case RunStepPlan():
                    run = Running(self, number, step, layers)
                    await run.gather()
                    return await self._outcome(
                        step, vertex, inputs, run.key(), run.make, run.content(), own=run.has_own
                    )
                case CopyStepPlan():
                    copy = Copying(self, number, step, () if step.alone else layers, inputs.place)
                    await copy.gather()
                    inputs = Inputs(inputs.place, copy.files)
                    return await self._outcome(step, vertex, inputs, copy.key(), copy.make, copy.content())
                case DirectoryStepPlan():
                    key = step_key(
                        ("step", "workdir"), ("files of the steps before", tuple(layers)), ("path", step.path), ("user", step.user)
                    )  # fmt: skip
                    return await self._outcome(step, vertex, inputs, key, make_directory(self, step, layers), None)
        except asyncio.CancelledError:
            vertex.done("context canceled")
            raise
        except (OnggiError, UnicodeEncodeError) as error:
            raise self._failed(step, vertex, error) from error
        raise AssertionError(type(step).__name__)

    def _failed(self, step: Step, vertex: Vertex, error: Exception) -> Exception:
        """The error with its place; what the machine is to blame for stays what it is."""
        vertex.done(str(error))
        failed = (
            BuildFailed(str(error)) if isinstance(error, InvalidArgument | UnicodeEncodeError | NotFound) else error
        )
        if isinstance(failed, BuildFailed):
            failed.vertex = failed.vertex or vertex
            if failed.location is None:
                failed.location = Location(self.file, step.at.line, step.at.last)
        return failed

    # Steps

    async def _outcome(
        self,
        step: Step,
        vertex: Vertex,
        inputs: Inputs,
        key: StepKey,
        make: Callable[[Listener], Awaitable[LayerInfo]],
        by_content: Callable[[], Awaitable[StepKey]] | None,
        *,
        own: bool = False,
    ) -> Outcome:
        """The layer of a step: from the cache, from another build that is making it, or made now and remembered.

        `by_content` gives a second key, which costs reading what the step reads: asked for when the first isn't known. `own`: the
        step uses what only this client has.
        """
        keys = [key]
        if not step.fresh:
            known = await self.known(key)
            if known is None and by_content is not None:
                keys.append(await by_content())
                known = await self.known(keys[-1])
            if known is not None:
                outcome = known
                self.hold(outcome.layer)
                self.remember(keys, step.name, outcome, fresh=step.fresh)
                self.builder.explainer.compared(inputs.place, key, inputs.files)
                vertex.cached()
                return outcome
        why = self.builder.explainer.compared(inputs.place, key, inputs.files)
        if self._explain is not None:
            self._explain(vertex, "no cache was asked for" if step.fresh else why)
        vertex.start()

        async def work(listener: Listener) -> Outcome:
            made = await make(listener)
            if step.fresh and by_content is not None:
                keys.append(await by_content())
            point("build.step.made")
            outcome = Outcome(made.diff_id, state.now_text(), key.digest)
            self.remember(keys, step.name, outcome, fresh=step.fresh)
            return outcome

        flight = key.digest if not (step.fresh or own) else f"{key.digest} {id(self)}"
        outcome = await self.builder.flights.join(flight, work, vertex.log)
        self.hold(outcome.layer)
        vertex.done()
        return outcome

    async def known(self, key: StepKey) -> Outcome | None:
        """What the cache here, or one that was lent, has for a step."""
        row = self.builder.cache.find(key.digest)
        if row is not None:
            return Outcome(Digest(row.diff_id), row.created, key.digest)
        lent = self._prior.find(key.digest)
        for lender in () if lent else self.request.lenders:
            lent = lent or await lender.lend(key.digest)
        return Outcome(lent.layer, lent.created, key.digest) if lent else None

    def remember(self, keys: Sequence[StepKey], name: str, outcome: Outcome, *, fresh: bool) -> None:
        """A step under each of its keys that isn't known yet."""
        size = self.builder.layering.layers.size(outcome.layer)
        for key in keys:
            self.made[key.digest] = Lent(outcome.layer, outcome.created)
            if fresh or not self.builder.cache.has(key.digest):
                self.builder.cache.add(key.digest, outcome.created, name, outcome.layer, size)

    def hold(self, layer: Digest) -> None:
        """Nobody removes the layer before the build ends."""
        self._stack.callback(self.builder.images.lease([layer]))

    # What steps read

    async def shown(self, origin: Origin, path: str, number: int) -> Shown:
        """A directory or file of a stage, an image or a context, as layers and a path in them. Raises BuildFailed, NotFound."""
        if origin.kind is Kind.STAGE:
            layers = (await asyncio.shield(self._stages[number, origin.number])).layers
            return Shown(layers or (await self.nothing(),), path)
        if origin.kind is Kind.SCRATCH:
            return Shown((await self.nothing(),), path)
        if origin.kind is Kind.IMAGE:
            return Shown((await self.sources.bases.image(origin)).layers, path)
        known = self._trees.get((origin, path))
        if known is None:
            known = self._trees[origin, path] = asyncio.ensure_future(self._tree(origin, path))
        return await asyncio.shield(known)

    async def nothing(self) -> Digest:
        """A layer that holds nothing: what a stage without layers shows."""
        async with self.builder.layering.step(()) as snapshot:
            layer = (await self.builder.layering.capture(snapshot)).diff_id
        self.hold(layer)
        return layer

    async def _tree(self, origin: Origin, path: str) -> Shown:
        """A context's files as a layer: those that a mount shows."""
        context = await self.sources.context(origin)
        found = await asyncio.to_thread(tree_of, context, path)
        name = "/" if found.is_directory else "/file"
        key = step_key(("step", "tree"), ("files", found.digest)).digest
        cache, layering = self.builder.cache, self.builder.layering
        known = cache.find(key)
        layer = Digest(known.diff_id) if known else None
        if layer is None:
            async with layering.step(()) as snapshot:
                args = CopyArgs([], snapshot.upper, snapshot.work, name, found.items)
                made = await layering.copy(snapshot, args, [context.spool])
            layer = made.diff_id
            cache.add(key, state.now_text(), f"local source for {origin.name}", layer, made.size, kind="source.local")
        self.hold(layer)
        return Shown((layer,), name)

    def directories_of(self, shown: Shown) -> list[str]:
        """On the disk, topmost first, or one file. Raises NotFound."""
        layers = [self.builder.layering.layers.path(layer) for layer in dict.fromkeys(reversed(shown.layers))]
        return trees.below(layers, shown.path)

    async def digest_of(self, shown: Shown) -> str:
        """By content."""
        layers = [self.builder.layering.layers.path(layer) for layer in dict.fromkeys(reversed(shown.layers))]
        args = CopyArgs([], "", "", "/", [InTree(shown.path)], layers)
        return await self.builder.layering.digest_sources(args)

    async def _clamped(self, plan: Plan, result: StageResult) -> StageResult:
        """The same with layers whose times are those of the source, where that is asked for; the base's stay as they are."""
        if not self.options.rewrite_timestamp or plan.epoch is None:
            return result
        layers = self.builder.layering.layers
        own = len(result.layers) - len(result.times)
        found = list(result.layers[:own])
        for layer in result.layers[own:]:
            rewritten = (await layers.rewritten(layer, plan.epoch * 1_000_000_000)).diff_id
            self.hold(rewritten)
            found.append(rewritten)
        return StageResult(tuple(found), result.times, ())

    def _built(self, plan: Plan, result: StageResult) -> Built:
        target = plan.stages[plan.target]
        asked = self.options.platforms or ((self.options.platform,) if self.options.platform else ())
        platform = plan.platform if asked else target.state.platform
        config = state.document(target.state, result.layers, result.times, platform=platform, epoch=plan.epoch)
        if self.options.inline_cache:
            config = with_keys(config, result.keys)
        materials = (*self.sources.bases.materials.values(), *self.sources.git.materials)
        return Built(platform, config, result.layers, self.file, materials, self.made)
