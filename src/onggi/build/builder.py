"""One build from its first byte to its image: receive, read, solve the stages side by side, name the result."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from typing import Final

import msgspec

from onggi.build.arguments import GlobalArguments, platform_arguments
from onggi.build.cache import BuildCache, CacheRecord
from onggi.build.context import Context
from onggi.build.dockerfile import Dockerfile, Stage, parse_dockerfile
from onggi.build.entries import Received
from onggi.build.errors import BuildFailed
from onggi.build.fetching import Fetcher, is_git, is_remote, opened
from onggi.build.instructions import Label
from onggi.build.layering import Layering
from onggi.build.lines import SIZE_LIMIT
from onggi.build.needs import base_name, needed_stages
from onggi.build.options import BuildOptions
from onggi.build.output import Aux, Message, Output, Script, StageOutput
from onggi.build.priorimages import PriorImages
from onggi.build.receivejob import Receive
from onggi.build.runner import StepRunner
from onggi.build.shellwords import Lexer
from onggi.build.stages import Shared, StageBuild
from onggi.build.state import StageState
from onggi.errors import InvalidArgument, NotFound, OnggiError, Unauthorized, Unavailable
from onggi.ignore import IgnoreRules, clean, read_ignore_file
from onggi.images import Image, Images
from onggi.oci.digest import Digest
from onggi.oci.platform import Platform, host_platform, parse_platform, preference
from onggi.oci.reference import DEFAULT_DOMAIN, parse_reference
from onggi.store.database import Database
from onggi.store.layers import Layers
from onggi.store.pipes import pumped
from onggi.store.snapshots import Snapshots
from onggi.store.workers import Workers

_DOCKERFILES: Final = ("Dockerfile", "Containerfile")
_IGNORE_LIMIT: Final = 8 * 1024 * 1024

_HUB: Final = "https://index.docker.io/v1/"
"""What clients call Docker Hub in X-Registry-Config."""


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
    ) -> None:
        self._images, self._layers, self._workers = images, layers, workers
        self._ingest = os.path.join(root, "ingest")
        self._layering = Layering(layers, snapshots, workers, runner)
        self._running: dict[str, asyncio.Task[object]] = {}
        self.cache = BuildCache(images, layers, database)

    def restore(self) -> None:
        """Reads the cache's rows."""
        self.cache.restore()

    async def build(self, context: AsyncIterable[bytes], options: BuildOptions, output: Output) -> str:
        """The id of the image, which has its names. Tells of everything through `output`.

        Raises InvalidArgument, DockerfileError (nothing was said yet), BuildFailed, NoSpace … . Failed or cancelled: no name
        has moved, no process, mount or temporary file is left, the layers of steps that were done stay in the cache.
        """
        task = asyncio.current_task()
        if options.build_id and task is not None:
            self._running[options.build_id] = task
        # With `q` nothing is said but the id, unless the build fails: then all that was said so far comes first.
        held = StageOutput(output) if options.quiet else None
        try:
            image_id = await self._build(context, options, held.say if held else output)
        except Exception:
            if held:
                held.go_live()
            raise
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

    async def _build(self, body: AsyncIterable[bytes], options: BuildOptions, output: Output) -> str:
        async with self._received(body, options) as context:
            dockerfile = await asyncio.to_thread(parse_dockerfile, _dockerfile_of(context, options))
            return await _Build(self, options, context, dockerfile, output).run()

    @contextlib.asynccontextmanager
    async def _received(self, body: AsyncIterable[bytes], options: BuildOptions) -> AsyncIterator[Context]:
        """The context, in a nameless file that goes with the block."""
        if is_git(options.remote):
            raise InvalidArgument(
                "git contexts are not supported here yet: send the files, or the URL of an archive of them"
            )
        if options.remote and not is_remote(options.remote):
            raise InvalidArgument(
                f"remote context {options.remote!r} is not supported: it must be an http or https URL"
            )
        os.makedirs(self._ingest, mode=0o700, exist_ok=True)
        spool = os.open(self._ingest, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            if options.remote:
                async with opened(options.remote) as response:
                    answer = await self._receive(response.content.iter_any(), spool, plain="Dockerfile")
            else:
                answer = await self._receive(body, spool, plain="")
            # A hundred thousand names take a while: the loop goes on meanwhile.
            context = await asyncio.to_thread(_indexed, answer, spool)
        except BaseException:
            os.close(spool)
            raise
        try:
            yield context
        finally:
            context.close()

    async def _receive(self, body: AsyncIterable[bytes], spool: int, *, plain: str) -> bytes:
        async with pumped(body) as source:
            return await self._workers.run("onggi.build.receivejob:receive", Receive(plain), [source, spool])

    async def find_image(self, name: str, options: BuildOptions, platform: Platform | None, output: Output) -> Image:
        """A base image: the one that is here, unless another is asked for. Raises NotFound, InvalidArgument."""
        try:
            image = None if options.pull else self._images.resolve(name)
        except NotFound:
            image = None
        if image is not None and (platform is None or preference(platform, image.config.platform) is not None):
            return image
        reference = parse_reference(name)
        registry = _HUB if reference.domain == DEFAULT_DOMAIN else reference.domain
        auth = options.auths.get(registry) or options.auths.get(f"https://{registry}")
        await self._images.pull(reference, auth=auth, platform=platform, progress=output)
        return self._images.resolve(name)


def _indexed(answer: bytes, spool: int) -> Context:
    return Context(msgspec.msgpack.decode(answer, type=Received).entries, spool)


def _dockerfile_of(context: Context, options: BuildOptions) -> bytes:
    """The Dockerfile's bytes; it and .dockerignore leave the context when .dockerignore says so. Raises InvalidArgument."""
    names = [clean(options.dockerfile)] if options.dockerfile and not options.remote else list(_DOCKERFILES)
    if names[0].startswith("../") or names[0] == "..":
        raise InvalidArgument(f"the Dockerfile ({options.dockerfile}) must be within the build context")
    names = [name.removeprefix("/") for name in names]
    name = next((name for name in names if context.find(name) is not None), names[0])
    node = context.find(name)
    if node is None:
        raise InvalidArgument(f"Cannot locate specified Dockerfile: {names[0]}")
    data = context.read(node, SIZE_LIMIT)
    if not data:
        raise InvalidArgument(f"the Dockerfile ({name}) cannot be empty")
    ignore = context.find(".dockerignore")
    if ignore is not None:
        rules = IgnoreRules(read_ignore_file(context.read(ignore, _IGNORE_LIMIT)))
        for path in (name, ".dockerignore"):
            if rules.ignores(path):
                context.remove(path)
    return data


class _Build:
    """The state of one build."""

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
            builder._layering,  # noqa: SLF001 - one thought in two classes
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
            return self._builder._images.resolve(name)  # noqa: SLF001 - one thought in two classes
        except OnggiError:
            return None

    def _hold(self, layer: Digest) -> None:
        """Nobody removes the layer before the build ends."""
        self._releases.append(self._builder._images.lease([layer]))  # noqa: SLF001 - as above

    async def _finish(self, state: StageState) -> str:
        """The image and its names, in one commit."""
        if not state.image_id:
            raise BuildFailed("No image was generated. Is your Dockerfile empty?")
        images = self._builder._images  # noqa: SLF001 - as above
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
