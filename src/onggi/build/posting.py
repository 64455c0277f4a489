"""`POST /build`: one archive in, a stream of messages out, and an image with its names."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from onggi.build.classic import Classic
from onggi.build.context import Context
from onggi.build.errors import BuildFailed, DockerfileError
from onggi.build.output import Aux, HeldOutput, Message, Output
from onggi.build.plan import Kind, Plan
from onggi.build.posted import PostedContexts, PostedCredentials, PostedSecrets
from onggi.build.rawprogress import Explanation, RawProgress, Status, failure_of
from onggi.build.receivejob import Receive
from onggi.build.remote import indexed
from onggi.build.request import Built, Remains, Request
from onggi.errors import InvalidArgument, NotFound, OnggiError
from onggi.images import Image
from onggi.kernel.faults import point
from onggi.oci.digest import Digest, sha256_of
from onggi.oci.image import ImageConfig, RootFS, RunConfig, encode_image_config
from onggi.oci.platform import host_platform
from onggi.store.pipes import pumped

if TYPE_CHECKING:
    from onggi.build.builder import Builder
    from onggi.build.options import BuildOptions
    from onggi.build.vertices import Vertex


_REMAINS: Final = "onggi.remains"


class FailedStep(msgspec.Struct, rename="pascal"):
    """What a RUN that failed has left: an image of it, and what was mounted ("source:target[:ro]").

    `trees` are images that were mounted at a target, or a path of them. Whoever hears of it removes all these images.
    """

    image: str
    binds: list[str]
    command: list[str]
    trees: list[MountedTree] = []


class MountedTree(msgspec.Struct, rename="pascal"):
    image: str
    path: str
    target: str


class FailedAux(msgspec.Struct):
    failed: FailedStep


class FailedMessage(msgspec.Struct):
    aux: FailedAux


class Posting:
    """One request."""

    def __init__(self, builder: Builder, options: BuildOptions, output: Output, secrets: Mapping[str, bytes]) -> None:
        self._builder, self._options, self._output, self._secrets = builder, options, output, secrets

    async def build(self, body: AsyncIterable[bytes]) -> str:
        """The image's id. Raises as Builder.build."""
        options = self._options
        if len(options.wanted_platforms) > 1:
            raise InvalidArgument("multiple platforms need an index: build them through BuildKit's door")
        # With `q` nothing is said but the id, unless the build fails: then all that was said so far comes first.
        held = HeldOutput(self._output) if options.quiet else None
        output = held.say if held else self._output
        try:
            async with self.received(body) as context:
                image = await (self._raw(context, output) if options.raw_progress else self._classic(context, output))
        except BuildFailed as error:
            if held:
                held.release()
            if options.raw_progress:
                output(failure_of(error.location, error.vertex))
            await self._keep(error)
            told = BuildFailed(str(error) if options.raw_progress else error.classic, error.code)
            told.location, told.vertex = error.location, error.vertex
            raise told from error
        except DockerfileError as error:
            if options.raw_progress:
                output(failure_of(error.location, None))
            raise
        if held:
            self._output(Message(stream=f"{image.id}\n"))
        return image.id

    async def call(self, body: AsyncIterable[bytes], what: str) -> bytes:
        """Of Builder.examine."""
        async with self.received(body) as context:
            return await self._builder.examine(self.request(context), what, RawProgress(self._output))

    def request(self, context: Context | None) -> Request:
        options = self._options
        return Request(
            options,
            PostedContexts(context, options),
            PostedSecrets(self._secrets),
            self._builder.agents.of(options.build_id),
            PostedCredentials(options.auths),
        )

    async def _raw(self, context: Context | None, output: Output) -> Image:
        progress = RawProgress(output)

        def explain(vertex: Vertex, text: str) -> None:
            output(Status(explanations=[Explanation(vertex.digest, text)]))

        request = self.request(context)
        async with self._builder.solve(request, progress, explain=explain if self._options.explain else None) as solved:
            image = await self.named(solved.images[0])
        output(Message(aux=Aux(image.id)))
        return image

    async def _classic(self, context: Context | None, output: Output) -> Image:
        classic = Classic(output, remove=self._options.remove_intermediate)
        unused: list[str] = []

        def script(plan: Plan, lines: Sequence[tuple[str, Vertex | None]]) -> None:
            classic.script(lines, self._base_ids(plan))
            unused.extend(plan.unused_args)

        def explain(vertex: Vertex, text: str) -> None:
            vertex.log(1, f" ---> Not cached: {text}\n".encode())

        told = explain if self._options.explain else None
        try:
            async with self._builder.solve(self.request(context), classic, script=script, explain=told) as solved:
                image = await self.named(solved.images[0])
        except OnggiError as error:
            location = getattr(error, "location", None)
            if location is not None and not isinstance(error, DockerfileError):
                classic.broken_off(location)
            raise
        classic.ended(image.short_id)
        output(Message(aux=Aux(image.id)))
        if unused:
            output(Message(stream=f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n"))
        output(Message(stream=f"Successfully built {image.short_id}\n"))
        for tag in self._options.tags:
            output(Message(stream=f"Successfully tagged {tag.familiar()}\n"))
        return image

    def _base_ids(self, plan: Plan) -> dict[int, str]:
        """Number of each FROM among the lines → short id of its image, "" for what is none."""
        found: dict[int, str] = {}
        at = len(plan.global_lines)
        for stage in plan.stages.values():
            found[at] = ""
            if stage.base.kind is Kind.IMAGE:
                with contextlib.suppress(NotFound):
                    found[at] = self._builder.images.resolve(stage.base.name).short_id
            at += len(stage.lines)
        return found

    @contextlib.asynccontextmanager
    async def received(self, body: AsyncIterable[bytes]) -> AsyncIterator[Context | None]:
        """The context, in a nameless file that goes with the block; None when it is to come from elsewhere."""
        if self._options.remote:
            yield None
            return
        ingest = self._builder.ingest
        os.makedirs(ingest, mode=0o700, exist_ok=True)
        spool = os.open(ingest, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            async with pumped(body) as source:
                answer = await self._builder.workers.run("onggi.build.receivejob:receive", Receive(), [source, spool])
            context = await asyncio.to_thread(indexed, answer, spool)
        except BaseException:
            os.close(spool)
            raise
        try:
            point("build.received")
            yield context
        finally:
            context.close()

    async def named(self, built: Built) -> Image:
        """The image and its names, in one commit."""
        point("build.solved")
        images = self._builder.images
        known = images.find(sha256_of(encode_image_config(built.config)))
        image = known or await images.create(built.config, names=self._options.tags)
        for tag in self._options.tags:
            if known:
                await images.tag(image, tag)
            else:
                images.on_event("tag", image.id, tag.familiar())
        return image

    async def _keep(self, error: BuildFailed) -> None:
        """The remains of the step that failed become an image, which whoever asked for it removes."""
        if error.remains is None:
            return
        remains = error.remains
        image = await self._builder.images.create(_config_of(remains))
        binds = [f"{source}:{target}{':ro' if read_only else ''}" for source, target, read_only in remains.mounts]
        trees = [
            MountedTree((await self._builder.images.create(_config(layers, RunConfig()))).id, path, target)
            for layers, path, target in remains.trees
        ]
        self._output(FailedMessage(FailedAux(FailedStep(image.id, binds, list(remains.command), trees))))


def _config_of(remains: Remains) -> ImageConfig:
    run = RunConfig(env=list(remains.environment), user=remains.user, working_dir=remains.directory, cmd=["/bin/sh"])
    return _config(remains.layers, run)


def _config(layers: Sequence[Digest], run: RunConfig) -> ImageConfig:
    """With a label that no other image has: whoever looks at it removes it, and must not hit anybody's own."""
    here = host_platform()
    run = msgspec.structs.replace(run, labels={_REMAINS: secrets.token_hex(8)})
    return ImageConfig(architecture=here.architecture, os=here.os, rootfs=RootFS(diff_ids=list(layers)), config=run)
