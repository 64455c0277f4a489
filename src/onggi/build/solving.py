"""The graph of one build, solved: each stage is a task that waits where it reads another one; the result gets its names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from onggi.build.arguments import GlobalArguments, platform_arguments
from onggi.build.context import Context
from onggi.build.dockerfile import Dockerfile, Stage
from onggi.build.errors import BuildFailed
from onggi.build.fetching import Fetcher
from onggi.build.instructions import Label
from onggi.build.needs import base_name, needed_stages
from onggi.build.options import BuildOptions
from onggi.build.output import Aux, Message, Output, Script
from onggi.build.priorimages import PriorImages
from onggi.build.shellwords import Lexer
from onggi.build.stages import Shared, StageBuild
from onggi.build.state import StageState
from onggi.errors import NotFound, OnggiError, Unauthorized, Unavailable
from onggi.images import Image
from onggi.oci.digest import Digest
from onggi.oci.platform import Platform, host_platform, parse_platform

if TYPE_CHECKING:
    from onggi.build.builder import Builder


class Solving:
    """One build: its graph, what was found for it, what is held for it."""

    def __init__(
        self, builder: Builder, options: BuildOptions, context: Context, dockerfile: Dockerfile, output: Output
    ) -> None:
        self._builder, self._options, self._context, self._output = builder, options, context, output
        self._dockerfile = dockerfile
        self._lexer = Lexer(dockerfile.escape)
        self._platform = options.platform or host_platform()
        self._arguments = GlobalArguments(options.build_args, platform_arguments(host_platform(), self._platform))
        self._releases: list[Callable[[], None]] = []
        self._stages: dict[int, asyncio.Future[StageState]] = {}
        self._pulled: dict[tuple[str, str], asyncio.Future[Image]] = {}
        prior = PriorImages([image.config for name in options.cache_from if (image := self._present(name))])
        self._shared = Shared(
            options,
            context,
            Fetcher(context.spool),
            self._arguments,
            builder.cache,
            builder.layering,
            prior,
            self._hold,
            self._origin,
        )

    async def run(self) -> str:
        """Raises what the first stage that failed raised."""
        dockerfile, options = self._dockerfile, self._options
        target = dockerfile.target(options.target)
        if options.labels:
            pairs = tuple(sorted(options.labels.items()))
            text = "LABEL " + " ".join(f"{name}={value}" for name, value in pairs)
            target.instructions.append(Label(text=text, line=0, pairs=pairs, literal=True))
        for each in dockerfile.global_args:
            self._arguments.declare(each, self._lexer)
        variables = self._arguments.variables()
        bases = {stage.number: stage.start.base for stage in dockerfile.stages}
        bases |= {
            stage.number: base_name(stage, self._lexer, variables) for stage in dockerfile.stages[: target.number + 1]
        }
        needed = needed_stages(dockerfile, target, bases)
        try:
            state = await self._solve([dockerfile.stages[number] for number in needed], bases)
            return await self._finish(state)
        finally:
            await self._builder.cache.settled()
            for release in self._releases:
                release()

    async def _solve(self, stages: Sequence[Stage], bases: Mapping[int, str]) -> StageState:
        """All of `stages`, each in a task, which waits where it reads another one."""
        loop = asyncio.get_running_loop()
        total = len(self._dockerfile.global_args) + sum(1 + len(stage.instructions) for stage in stages)
        script = Script(self._output, len(stages))
        at = 0
        for warning in self._dockerfile.warnings:
            self._output(Message(stream=f"{warning}\n"))
        for arg in self._dockerfile.global_args:
            at += 1
            self._output(Message(stream=f"Step {at}/{total} : {arg.text}\n"))
        self._stages = {stage.number: loop.create_future() for stage in stages}
        try:
            async with asyncio.TaskGroup() as group:
                for order, stage in enumerate(stages):
                    steps = _Steps(at, total)
                    at += 1 + len(stage.instructions)
                    group.create_task(
                        self._stage(stage, bases[stage.number], order, script, steps),
                        name=f"build stage {stage.number}",
                    )
        except BaseExceptionGroup as failed:
            raise _first(failed) from None
        finally:
            for future in self._stages.values():
                future.cancel()
        return self._stages[stages[-1].number].result()

    async def _stage(self, stage: Stage, base: str, order: int, script: Script, steps: _Steps) -> None:
        say = script.stages[order]
        try:
            say.text(steps.line(stage.start.text))
            state = await self._base(stage, base, say.say)
            build = StageBuild(self._shared, stage, state, say, self._dockerfile.escape)
            await build.begin()
            say.text(f" ---> {build.state.short_id}\n")
            for instruction in stage.instructions:
                say.text(steps.line(instruction.text))
                await build.carry_out(instruction)
                say.text(f" ---> {build.state.short_id}\n")
        except Exception:
            script.failed(order)
            raise
        script.ended(order)
        self._stages[stage.number].set_result(build.state)

    async def _base(self, stage: Stage, base: str, output: Output) -> StageState:
        earlier = self._dockerfile.find(base, stage.number)
        if earlier is not None:
            return await asyncio.shield(self._stages[earlier.number])
        wanted = self._lexer.word(stage.start.platform, self._arguments.variables())
        platform = parse_platform(wanted) if wanted else self._options.platform
        if base == "scratch":
            return StageState(platform or self._platform)
        image = await self._image(base, platform, output)
        for layer in image.layers:
            self._hold(layer)
        config = image.config
        return StageState(
            platform=config.platform,
            config=config.run,
            layers=tuple(image.layers),
            history=tuple(config.history or ()),
            author=config.author,
            created=config.created or "",
            image_id=image.id,
        )

    async def _image(self, name: str, platform: Platform | None, output: Output) -> Image:
        """Found, or pulled, once in a build, however many stages name it."""
        key = (name, str(platform or ""))
        known = self._pulled.get(key)
        if known is not None:
            return await asyncio.shield(known)
        future: asyncio.Future[Image] = asyncio.get_running_loop().create_future()
        self._pulled[key] = future
        try:
            image = await self._builder.find_image(name, self._options, platform, output)
        except BaseException as error:
            future.set_exception(error if isinstance(error, OnggiError) else BuildFailed(f"{name} could not be had"))
            future.exception()
            raise
        future.set_result(image)
        return image

    async def _origin(self, stage: Stage, name: str) -> Sequence[Digest]:
        """The layers that `--from=name` means in `stage`."""
        earlier = self._dockerfile.find(name, stage.number)
        if earlier is not None:
            return (await asyncio.shield(self._stages[earlier.number])).layers
        if name.isascii() and name.isdigit():
            raise BuildFailed(f"invalid from flag value {name}: index out of bounds")
        try:
            image = await self._image(name, None, lambda _message: None)
        except (NotFound, Unavailable, Unauthorized) as error:
            raise BuildFailed(f"invalid from flag value {name}: {error}") from error
        for layer in image.layers:
            self._hold(layer)
        return image.layers

    def _present(self, name: str) -> Image | None:
        try:
            return self._builder.images.resolve(name)
        except OnggiError:
            return None

    def _hold(self, layer: Digest) -> None:
        """Nobody removes the layer before the build ends."""
        self._releases.append(self._builder.images.lease([layer]))

    async def _finish(self, state: StageState) -> str:
        """The image and its names, in one commit."""
        if not state.image_id:
            raise BuildFailed("No image was generated. Is your Dockerfile empty?")
        images = self._builder.images
        known = images.find(state.image_id)
        image = known or await images.create(state.document(), names=self._options.tags)
        for tag in self._options.tags:
            if known:
                await images.tag(image, tag)
            else:
                images.on_event("tag", image.id, tag.familiar())
        unused = self._arguments.unused()
        if unused:
            self._output(Message(stream=f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n"))
        self._output(Message(aux=Aux(image.id)))
        self._output(Message(stream=f"Successfully built {image.short_id}\n"))
        for tag in self._options.tags:
            self._output(Message(stream=f"Successfully tagged {tag.familiar()}\n"))
        return image.id


class _Steps:
    """Counts `Step n/m`."""

    def __init__(self, before: int, total: int) -> None:
        self._at, self._total = before, total

    def line(self, text: str) -> str:
        self._at += 1
        return f"Step {self._at}/{self._total} : {text}\n"


def _first(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error of the stage that failed; the others were only cancelled."""
    error: BaseException = failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
