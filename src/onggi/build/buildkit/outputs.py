"""What becomes of a build's results: each exporter that the client named, one after the other."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from onggi.build.buildkit.jobs import Job, Outcome
from onggi.build.buildkit.pb import control_pb2
from onggi.build.buildkit.rpc import Code, RpcError
from onggi.oci.manifest import Descriptor
from onggi.oci.reference import Reference, parse_reference

if TYPE_CHECKING:
    from onggi.build.buildkit.door import BuildKit

CONFIG_TYPE: Final = "application/vnd.docker.container.image.v1+json"


async def export(door: BuildKit, job: Job, outcome: Outcome) -> dict[str, str]:
    """What the exporters answer, together. Raises OnggiError: the exporters before have done their work then."""
    answer: dict[str, str] = {}
    for number, exporter in enumerate(_exporters(job.request)):
        if not outcome.results:
            break
        attrs = dict(exporter.Attrs)
        match exporter.Type:
            case "moby" | "image":
                answer |= await _image(door, job, outcome, attrs)
            case other:
                raise RpcError(Code.UNIMPLEMENTED, f"exporter {other!r} could not be found ({number})")
    return answer


def _exporters(request: control_pb2.SolveRequest) -> list[control_pb2.Exporter]:
    if request.Exporters or not request.ExporterDeprecated:
        return list(request.Exporters)
    return [control_pb2.Exporter(Type=request.ExporterDeprecated, Attrs=dict(request.ExporterAttrsDeprecated))]


async def _image(door: BuildKit, job: Job, outcome: Outcome, attrs: Mapping[str, str]) -> dict[str, str]:
    """Into the engine, under its names."""
    if len(outcome.results) != 1:
        raise RpcError(
            Code.UNIMPLEMENTED, "an image of several platforms can't be kept here: export it (--output type=oci)"
        )
    asked = [name for name in dict.fromkeys(attrs.get("name", "").split(",")) if name]
    # Told as docker's own exporter tells them: whole, but with a tag only where one was given.
    names = [str(parse_reference(name, None)) for name in asked]
    references: list[Reference] = [parse_reference(name) for name in asked]
    built = next(iter(outcome.results.values()))
    images = door.builder.images
    step = job.trace.vertex("exporting to image")
    step.start()
    step.status("exporting layers", done=True)
    image = await images.create(built.config, names=references)
    step.status(f"writing image {image.id}", done=True)
    for name, reference in zip(names, references, strict=True):
        images.on_event("tag", image.id, reference.familiar())
        step.status(f"naming to {name}", done=True)
    step.done()
    descriptor = Descriptor(media_type=CONFIG_TYPE, digest=image.id, size=images.content.size(image.id))
    return {
        "containerimage.digest": image.id,
        "containerimage.config.digest": image.id,
        "containerimage.descriptor": base64.b64encode(msgspec.json.encode(descriptor)).decode(),
        "image.name": ",".join(names),
    }
