"""One build from its first byte to its image: receive, read, solve the stages side by side, name the result."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterable, AsyncIterator
from typing import Final

import msgspec

from onggi.build.cache import BuildCache, CacheRecord
from onggi.build.context import Context
from onggi.build.dockerfile import parse_dockerfile
from onggi.build.entries import Received
from onggi.build.fetching import is_git, is_remote, opened
from onggi.build.layering import Layering
from onggi.build.lines import SIZE_LIMIT
from onggi.build.options import BuildOptions
from onggi.build.output import Message, Output, StageOutput
from onggi.build.receivejob import Receive
from onggi.build.runner import StepRunner
from onggi.build.solving import Solving
from onggi.errors import InvalidArgument, NotFound
from onggi.ignore import IgnoreRules, clean, read_ignore_file
from onggi.images import Image, Images
from onggi.oci.platform import Platform, preference
from onggi.oci.reference import DEFAULT_DOMAIN, parse_reference
from onggi.store.database import Database
from onggi.store.layers import Layers
from onggi.store.pipes import pumped
from onggi.store.snapshots import Snapshots
from onggi.store.workers import Workers

_DOCKERFILES: Final = ("Dockerfile", "Containerfile")
_IGNORE_LIMIT: Final = 8 * 1024 * 1024
_UNUSED_S: Final = 60 * 24 * 3600
"""A step that no build has asked for in so long is forgotten, as in BuildKit's default rules."""

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
        self.images, self._workers = images, workers
        self._ingest = os.path.join(root, "ingest")
        self.layering = Layering(layers, snapshots, workers, runner)
        self._running: dict[str, asyncio.Task[object]] = {}
        self._collected = False
        """Whether this engine has thrown away what builds no longer ask for."""
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
            image_id = await Solving(self, options, context, dockerfile, output).run()
        if not self._collected:
            self._collected = True
            await self.cache.prune(everything=False, keep_bytes=0, until_s=int(time.time()) - _UNUSED_S)
        return image_id

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
            image = None if options.pull else self.images.resolve(name)
        except NotFound:
            image = None
        if image is not None and (platform is None or preference(platform, image.config.platform) is not None):
            return image
        reference = parse_reference(name)
        registry = _HUB if reference.domain == DEFAULT_DOMAIN else reference.domain
        auth = options.auths.get(registry) or options.auths.get(f"https://{registry}")
        await self.images.pull(reference, auth=auth, platform=platform, progress=output)
        return self.images.resolve(name)


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
