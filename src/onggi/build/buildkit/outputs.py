"""What becomes of a build's results: each exporter that the client named, one after the other.

Source of types and attributes: moby buildkit docs (README, "Output"), exporter/containerimage/exptypes, docker's builder-next exporter.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from onggi.build.buildkit import sayings
from onggi.build.buildkit.jobs import Job, Outcome
from onggi.build.buildkit.pb import control_pb2
from onggi.build.exporters import archives
from onggi.build.exporters.annotations import annotations_of
from onggi.build.exporters.archives import Bundle
from onggi.build.exporters.compressing import packing_of
from onggi.oci.manifest import Descriptor
from onggi.oci.platform import host_platform, preference
from onggi.oci.reference import Reference, parse_reference

if TYPE_CHECKING:
    from onggi.build.buildkit.door import BuildKit
    from onggi.build.buildkit.session import Session
    from onggi.build.buildkit.tracing import Step
    from onggi.build.request import Built
    from onggi.images import Images

DIGEST: Final = "containerimage.digest"
CONFIG_DIGEST: Final = "containerimage.config.digest"
DESCRIPTOR: Final = "containerimage.descriptor"
NAME: Final = "image.name"
CONFIG_TYPE: Final = "application/vnd.docker.container.image.v1+json"


@dataclass(frozen=True, slots=True)
class Export:
    """One exporter's work. `number` is by which the client knows it."""

    door: BuildKit
    job: Job
    outcome: Outcome
    number: int
    attrs: Mapping[str, str]

    @property
    def images(self) -> Images:
        return self.door.builder.images

    @property
    def results(self) -> Sequence[Built]:
        return list(self.outcome.results.values())

    @property
    def names(self) -> list[str]:
        return [name for name in dict.fromkeys(self.attrs.get("name", "").split(",")) if name]

    def is_set(self, name: str, *, default: bool = False) -> bool:
        text = self.attrs.get(name, "").lower()
        return default if not text else text in ("true", "1", "t")

    async def session(self) -> Session:
        """Raises RpcError when the client has none."""
        return await self.door.sessions.get(self.job.request.Session)

    async def bundle(self, references: Sequence[Reference], *, is_oci: bool) -> Bundle:
        """All results as images, with what is said of them."""
        annotations, packing = annotations_of(self.attrs), packing_of(self.attrs)
        several = len(self.results) > 1 or bool(sayings.asked(self.job.attrs)) or bool(annotations)
        is_oci = self.is_set("oci-mediatypes", default=is_oci) or several or packing.needs_oci
        packs = [
            await archives.packed(self.images, built, is_oci=is_oci, annotations=annotations, packing=packing)
            for built in self.results
        ]
        return await archives.bundled(
            self.images,
            packs,
            references,
            lambda built: sayings.predicates(self.door.builder, self.job, built),
            annotations,
        )


@contextmanager
def step_of(work: Export, name: str) -> Iterator[Step]:
    """A step of the build, which ends with the block."""
    step = work.job.trace.vertex(name, key=f"{work.job.ref} {work.number} {name}")
    step.start()
    try:
        yield step
    except BaseException as error:
        step.done(str(error) or type(error).__name__)
        raise
    step.done()


async def export(door: BuildKit, job: Job, outcome: Outcome) -> dict[str, str]:
    """What the exporters answer, together. Raises OnggiError: the exporters before have done their work then."""
    from onggi.build.buildkit.filing import archive, local, tar
    from onggi.build.buildkit.rpc import Code, RpcError

    works = {"moby": image, "image": image, "oci": archive, "docker": archive, "tar": tar, "local": local}
    answer: dict[str, str] = {}
    for number, exporter in enumerate(_exporters(job.request)):
        work = works.get(exporter.Type)
        if work is None:
            raise RpcError(Code.UNKNOWN, f"exporter {exporter.Type!r} could not be found")
        if outcome.results:
            attrs = {"type": exporter.Type, **exporter.Attrs}
            answer |= await work(Export(door, job, outcome, number, attrs))
    return answer


def _exporters(request: control_pb2.SolveRequest) -> list[control_pb2.Exporter]:
    if request.Exporters or not request.ExporterDeprecated:
        return list(request.Exporters)
    return [control_pb2.Exporter(Type=request.ExporterDeprecated, Attrs=dict(request.ExporterAttrsDeprecated))]


def encoded(descriptor: Descriptor) -> str:
    """As clients take descriptors."""
    return base64.b64encode(msgspec.json.encode(descriptor)).decode()


async def image(work: Export) -> dict[str, str]:
    """Into the engine, under its names; and to their registries, if that is asked.

    The engine keeps the one for its own platform; a registry gets all, and what is said of them.
    """
    images, built = work.images, _for_here(work.results)
    references = [parse_reference(name) for name in work.names]
    # Told as docker's own exporter tells them: whole, but with a tag only where one was given.
    names = [str(parse_reference(name, None)) for name in work.names]
    with step_of(work, "exporting to image") as step:
        step.status("exporting layers", done=True)
        found = await images.create(built.config, names=references)
        step.status(f"writing image {found.id}", done=True)
        for name, reference in zip(names, references, strict=True):
            images.on_event("tag", found.id, reference.familiar())
            step.status(f"naming to {name}", done=True)
    descriptor = Descriptor(CONFIG_TYPE, found.id, images.content.size(found.id))
    answer = {CONFIG_DIGEST: found.id, NAME: ",".join(names)}
    if work.is_set("push"):
        descriptor = await _push(work, references)
        for reference in references:
            await images.name(found.id, str(reference.with_digest(descriptor.digest)))
    return answer | {DIGEST: descriptor.digest, DESCRIPTOR: encoded(descriptor)}


def _for_here(results: Sequence[Built]) -> Built:
    """The one that runs here best, else the first."""
    here = host_platform()
    fitting = [(level, built) for built in results if (level := preference(here, built.platform)) is not None]
    return min(fitting, key=lambda each: each[0])[1] if fitting else results[0]


async def _push(work: Export, references: Sequence[Reference]) -> Descriptor:
    """What each name leads to in its registry."""
    images = work.images
    with step_of(work, "pushing") as step:
        step.status("exporting layers")
        bundle = await work.bundle(references, is_oci=False)
        blobs = bundle.blobs
        release = images.lease((), [blob.digest for blob in blobs])
        try:
            step.status("exporting layers", done=True)
            step.status(f"exporting manifest {bundle.top.digest}", done=True)
            for reference in references:
                await _push_to(work, bundle, blobs, reference, step)
        finally:
            release()
    return bundle.top


async def _push_to(work: Export, bundle: Bundle, blobs: Sequence[Descriptor], reference: Reference, step: Step) -> None:
    auth = await (await work.door.credentials_of(work.job)).credentials(reference.domain)
    words = f"pushing manifest for {reference}@{bundle.top.digest}"
    step.status(f"pushing layers for {reference}")
    if bundle.index:
        for descriptor, data in bundle.manifests:
            below = reference.with_digest(descriptor.digest)
            await work.images.push_document(below, data, descriptor.media_type, blobs, auth=auth)
        step.status(f"pushing layers for {reference}", done=True)
        step.status(words)
        await work.images.push_document(reference, bundle.index, bundle.top.media_type, [], auth=auth)
    else:
        _, data = bundle.manifests[0]
        await work.images.push_document(reference, data, bundle.top.media_type, blobs, auth=auth)
        step.status(f"pushing layers for {reference}", done=True)
    step.status(words, done=True)
