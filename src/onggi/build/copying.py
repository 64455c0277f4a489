"""COPY, ADD and WORKDIR: what they read, their keys, their layers."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from onggi.build.copyjob import CopyArgs
from onggi.build.definition import told
from onggi.build.errors import BuildFailed
from onggi.build.fetching import is_remote
from onggi.build.gitwords import is_git
from onggi.build.keys import StepKey, step_key
from onggi.build.layering import copy_failure
from onggi.build.plan import CopyStepPlan, DirectoryStepPlan, Kind
from onggi.build.sources import Sources, add_bodies, add_local, add_remote, add_repository, from_tree
from onggi.errors import InvalidArgument, NoSpace, OnggiError, Unavailable
from onggi.oci.digest import Digest
from onggi.store.layers import LayerInfo

if TYPE_CHECKING:
    from onggi.build.context import Context
    from onggi.build.flights import Listener
    from onggi.build.solving import Solving
    from onggi.store.snapshots import Snapshot


class Copying:
    """One COPY or ADD of one build, over `layers`; `number` is that of the platform, `place` the step's (explaining.place_of)."""

    def __init__(self, solving: Solving, number: int, step: CopyStepPlan, layers: Sequence[Digest], place: str) -> None:
        self._solving, self._number, self._step, self._layers = solving, number, step, layers
        self._place = place
        self._found = Sources()
        self._spools: list[int] = []
        self._context: Context | None = None

    async def gather(self) -> None:
        """Finds all sources, and fetches those that are elsewhere. Raises BuildFailed, InvalidArgument, NotFound."""
        step, solving = self._step, self._solving
        if step.origin.kind in (Kind.STAGE, Kind.IMAGE, Kind.SCRATCH):
            shown = await solving.shown(step.origin, "/", self._number)
            self._found = from_tree(step.sources, shown.layers)
        else:
            for source in step.sources:
                if step.copy.add and is_git(source):
                    vertex = solving.progress.vertex(step.name, key=f"source {source}")
                    with told(vertex):
                        await add_repository(self._found, step, source, solving, vertex)
                elif is_remote(source):
                    with told(solving.progress.vertex(step.name, key=f"source {source}")):
                        await add_remote(self._found, step, source, solving.fetcher)
                else:
                    self._context = await solving.sources.context(step.origin)
                    await add_local(self._found, step, [source], self._context)
        await add_bodies(self._found, step, solving.fetcher)
        several = len(self._found.items) > 1 or len(step.sources) + len(step.bodies) > 1
        if several and not step.destination.endswith("/"):
            raise InvalidArgument(
                f"When using {step.copy.word} with more than one source file, the destination must be a directory and end with a /"
            )

    @property
    def files(self) -> Sequence[tuple[str, str]]:
        """What is copied from a context, with digests."""
        return self._found.files

    def key(self) -> StepKey:
        return self._key(("files copied", self._found.digest))

    def _key(self, content: tuple[str, object]) -> StepKey:
        step = self._step
        return step_key(
            ("step", "add" if step.copy.add else "copy"),
            ("files of the steps before", tuple(self._layers)),
            content,
            ("destination", step.destination),
            ("--chown", step.chown),
            ("--chmod", step.chmod),
            ("--parents", step.copy.parents),
            ("--exclude", step.exclude),
            ("--unpack", step.copy.unpack),
            ("--link", step.alone),
        )

    def content(self) -> Callable[[], Awaitable[StepKey]] | None:
        """The key by content, for files of another stage that were made another way."""
        if not self._found.layers:
            return None

        async def by_content() -> StepKey:
            with told_as(self._step.copy.word):
                digest = await self._solving.builder.layering.digest_sources(self._arguments(None))
            return self._key(("content copied", digest))

        return by_content

    async def make(self, listener: Listener) -> LayerInfo:
        """Raises BuildFailed."""
        del listener
        for item, url in self._found.absent:
            item.entries[0] = await self._solving.fetcher.body(url, item.entries[0])
        layering = self._solving.builder.layering
        spools = [
            self._context.spool if self._context else self._solving.fetcher.fd,
            self._solving.fetcher.fd,
            *self._found.spools,
        ]
        with told_as(self._step.copy.word):
            async with layering.step(self._layers) as snapshot:
                arguments = self._arguments(snapshot)
                with self._earlier(arguments):
                    made = await layering.copy(snapshot, arguments, spools)
        self._solving.builder.earlier_copies.put(self._place, made.diff_id, self._found.items)
        return made

    @contextlib.contextmanager
    def _earlier(self, arguments: CopyArgs) -> Iterator[None]:
        """The layer of the earlier copy is held for the block, if there is one."""
        builder = self._solving.builder
        earlier = builder.earlier_copies.find(self._place)
        if earlier is None or not builder.layering.layers.has(earlier.layer):
            yield
            return
        release = builder.images.lease([earlier.layer])
        try:
            arguments.earlier, arguments.earlier_digests = (
                builder.layering.layers.path(earlier.layer),
                earlier.digests,
            )
            yield
        finally:
            release()

    def _arguments(self, snapshot: Snapshot | None) -> CopyArgs:
        step, layers = self._step, self._solving.builder.layering.layers
        return CopyArgs(
            # Without the stubs that containers get: what isn't in the image isn't there.
            lower=snapshot.lower[:-1] if snapshot else [],
            upper=snapshot.upper if snapshot else "",
            work=snapshot.work if snapshot else "",
            destination=step.destination,
            sources=self._found.items,
            source_lower=[layers.path(layer) for layer in dict.fromkeys(reversed(self._found.layers))],
            chown=step.chown,
            chmod=step.chmod,
            parents=step.copy.parents,
            exclude=list(step.exclude),
        )


def make_directory(
    solving: Solving, step: DirectoryStepPlan, below: Sequence[Digest]
) -> Callable[[Listener], Awaitable[LayerInfo]]:
    async def make(listener: Listener) -> LayerInfo:
        del listener
        layering = solving.builder.layering
        async with layering.step(below) as snapshot:
            args = CopyArgs(snapshot.lower[:-1], snapshot.upper, snapshot.work, step.path, [], chown=step.user)
            try:
                return await layering.make_directory(snapshot, args)
            except NotADirectoryError as error:
                raise BuildFailed(f"cannot mkdir: {step.path} is not a directory") from error

    return make


@contextlib.contextmanager
def told_as(word: str) -> Iterator[None]:
    """What a copying job raises becomes the step's failure; a full or broken disk stays what it is."""
    try:
        yield
    except (BuildFailed, NoSpace, Unavailable):
        raise
    except (OnggiError, OSError) as error:
        raise copy_failure(word, error) from error
