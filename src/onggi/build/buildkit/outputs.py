"""What becomes of a build's results: each exporter that the client named, one after the other.

Source of types and attributes: moby buildkit docs (README, "Output"), exporter/containerimage/exptypes, docker's builder-next exporter.
"""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from onggi.build.buildkit.jobs import Job, Outcome
from onggi.build.buildkit.pb import control_pb2
from onggi.build.buildkit.rpc import Code, RpcError
from onggi.build.buildkit.sending import send_directory, send_file
from onggi.build.exporters import archives, trees
from onggi.errors import InvalidArgument
from onggi.images.packing import packed_image
from onggi.oci.digest import sha256_of
from onggi.oci.manifest import Descriptor
from onggi.oci.reference import Reference, parse_reference

if TYPE_CHECKING:
    from onggi.build.buildkit.door import BuildKit
    from onggi.build.buildkit.tracing import Step
    from onggi.build.entries import Entry
    from onggi.build.request import Built

CONFIG_TYPE: Final = "application/vnd.docker.container.image.v1+json"
_DIGEST: Final = "containerimage.digest"
_CONFIG_DIGEST: Final = "containerimage.config.digest"
_DESCRIPTOR: Final = "containerimage.descriptor"
_NAME: Final = "image.name"


@dataclass(frozen=True, slots=True)
class Export:
    """One exporter's work."""

    door: BuildKit
    job: Job
    outcome: Outcome
    number: int
    attrs: Mapping[str, str]

    @property
    def only(self) -> Built:
        """Raises RpcError when there are several platforms."""
        if len(self.outcome.results) != 1:
            raise RpcError(
                Code.UNIMPLEMENTED, "several platforms can't be kept as one image here: use --output type=oci"
            )
        return next(iter(self.outcome.results.values()))

    @property
    def names(self) -> list[str]:
        return [name for name in dict.fromkeys(self.attrs.get("name", "").split(",")) if name]

    def is_set(self, name: str, *, default: bool = False) -> bool:
        text = self.attrs.get(name, "").lower()
        return default if not text else text in ("true", "1", "t")


async def export(door: BuildKit, job: Job, outcome: Outcome) -> dict[str, str]:
    """What the exporters answer, together. Raises OnggiError: the exporters before have done their work then."""
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


@contextmanager
def _step(job: Job, name: str, key: str) -> Iterator[Step]:
    """A step of the build, which ends with the block."""
    step = job.trace.vertex(name, key=f"{job.ref} {key} {name}")
    step.start()
    try:
        yield step
    except BaseException as error:
        step.done(str(error) or type(error).__name__)
        raise
    step.done()


def _encoded(descriptor: Descriptor) -> str:
    return base64.b64encode(msgspec.json.encode(descriptor)).decode()


async def image(work: Export) -> dict[str, str]:
    """Into the engine, under its names; and to their registries, if that is asked."""
    built, images = work.only, work.door.builder.images
    references = [parse_reference(name) for name in work.names]
    # Told as docker's own exporter tells them: whole, but with a tag only where one was given.
    names = [str(parse_reference(name, None)) for name in work.names]
    with _step(work.job, "exporting to image", str(work.number)) as step:
        step.status("exporting layers", done=True)
        found = await images.create(built.config, names=references)
        step.status(f"writing image {found.id}", done=True)
        for name, reference in zip(names, references, strict=True):
            images.on_event("tag", found.id, reference.familiar())
            step.status(f"naming to {name}", done=True)
    descriptor = Descriptor(CONFIG_TYPE, found.id, images.content.size(found.id))
    answer = {_CONFIG_DIGEST: found.id, _NAME: ",".join(names)}
    if work.is_set("push"):
        with _step(work.job, "pushing", str(work.number)) as step:
            for reference in references:
                await _push(work, reference, step)
        data, manifest = await packed_image(images, found)
        descriptor = Descriptor(manifest.media_type, sha256_of(data), len(data))
    return answer | {_DIGEST: descriptor.digest, _DESCRIPTOR: _encoded(descriptor)}


async def _push(work: Export, reference: Reference, step: Step) -> None:
    request = await work.door.request_of(work.job, "dockerfile.v0", work.job.attrs)
    auth = await request.credentials.credentials(reference.domain)
    name = f"pushing {reference}"
    step.status(name)
    await work.door.builder.images.push(reference, auth=auth, progress=_pushed(step))
    step.status(name, done=True)


def _pushed(step: Step) -> Callable[[Any], None]:
    """What a push tells, as states of `step`."""

    def tell(message: Any) -> None:
        document = msgspec.to_builtins(message)
        detail = document.get("progressDetail") or {}
        if identifier := document.get("id"):
            words = f"{document.get('status', '').lower()} layer {identifier}"
            step.status(words, current=detail.get("current", 0), total=detail.get("total", 0), done=not detail)

    return tell


async def archive(work: Export) -> dict[str, str]:
    """An image archive for the client."""
    is_docker = work.attrs["type"] == "docker"
    images = work.door.builder.images
    if is_docker and len(work.outcome.results) > 1:
        raise InvalidArgument("docker exporter does not currently support exporting manifest lists")
    if not work.is_set("tar", default=True):
        raise RpcError(Code.UNIMPLEMENTED, "tar=false is not supported here: unpack the archive")
    session = await work.door.sessions.get(work.job.request.Session)
    references = [parse_reference(name) for name in work.names]
    title = f"exporting to {'docker' if is_docker else 'oci'} image format"
    with _step(work.job, title, str(work.number)) as step:
        step.status("exporting layers")
        is_oci = work.is_set("oci-mediatypes", default=not is_docker)
        annotations = archives.annotations_of(work.attrs)
        packs = [
            await archives.packed(images, built, is_oci=is_oci, annotations=annotations)
            for built in work.outcome.results.values()
        ]
        release = images.lease(
            (), [blob.digest for pack in packs for blob in (pack.manifest.config, *pack.manifest.layers)]
        )
        try:
            step.status("exporting layers", done=True)
            top = packs[0].descriptor if len(packs) == 1 else archives.index_of(packs)[0]
            step.status(f"exporting manifest {top.digest}", done=True)
            step.status(f"exporting config {packs[0].manifest.config.digest}", done=True)
            answer = {_DIGEST: top.digest, _DESCRIPTOR: _encoded(msgspec.structs.replace(top, platform=None))}
            if len(packs) == 1:
                answer[_CONFIG_DIGEST] = packs[0].manifest.config.digest
            if references:
                answer[_NAME] = ",".join(str(reference) for reference in references)
            pieces = archives.archive(images, packs, references, is_docker=is_docker)
            step.status("sending tarball")
            await send_file(session, work.number, answer, pieces)
            step.status("sending tarball", done=True)
        finally:
            release()
    return answer


async def tar(work: Export) -> dict[str, str]:
    """All files of the result, as a tar for the client."""
    builder = work.door.builder
    session = await work.door.sessions.get(work.job.request.Session)
    built = work.only

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in trees.tar_pieces(builder.layering.layers, builder.layering.workers, built.layers):
            yield piece

    with _step(work.job, "exporting to client tarball", str(work.number)) as step:
        step.status("sending tarball")
        await send_file(session, work.number, {}, pieces())
        step.status("sending tarball", done=True)
    return {}


async def local(work: Export) -> dict[str, str]:
    """All files of the result, into a directory of the client; several platforms into one each."""
    builder = work.door.builder
    session = await work.door.sessions.get(work.job.request.Session)
    split = work.is_set("platform-split", default=len(work.outcome.results) > 1)
    with _step(work.job, "exporting to client directory", str(work.number)) as step:
        spool = work.door.mirrors.scratch()
        try:
            entries: list[Entry] = []
            for built in work.outcome.results.values():
                found = await trees.entries_of(builder.layering.layers, builder.layering.workers, built.layers, spool)
                entries += _below(str(built.platform).replace("/", "_"), found) if split else found
            step.status("copying files")
            await send_directory(session, work.number, entries, spool)
            step.status("copying files", current=os.lseek(spool, 0, os.SEEK_END), done=True)
        finally:
            os.close(spool)
    return {}


def _below(directory: str, entries: list[Entry]) -> list[Entry]:
    """The entries in a directory of their own."""
    for entry in entries:
        entry.path = f"{directory}/{entry.path}" if entry.path else directory
        if entry.inode == -1:
            entry.link = f"{directory}/{entry.link}"
    return entries
