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
    from onggi.build.request import Built

_CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"


async def export(door: BuildKit, job: Job, outcome: Outcome) -> dict[str, str]:
    """What the exporters answer, together. Raises OnggiError: nothing has been named then."""
    request = job.request
    exporters = list(request.Exporters)
    if not exporters and request.ExporterDeprecated:
        exporters = [control_pb2.Exporter(Type=request.ExporterDeprecated, Attrs=dict(request.ExporterAttrsDeprecated))]
    answer: dict[str, str] = {}
    for exporter in exporters:
        if not outcome.results:
            continue
        match exporter.Type:
            case "moby" | "image":
                answer |= await _image(door, job, outcome, dict(exporter.Attrs))
            case other:
                raise RpcError(Code.UNIMPLEMENTED, f"exporter {other!r} could not be found")
    return answer


async def _image(door: BuildKit, job: Job, outcome: Outcome, attrs: Mapping[str, str]) -> dict[str, str]:
    """Into the engine."""
    names = _names(attrs.get("name", ""))
    if len(outcome.results) != 1:
        raise RpcError(Code.UNIMPLEMENTED, "exporting several platforms into the engine is not supported here")
    built: Built = next(iter(outcome.results.values()))
    images = door.builder.images
    step = job.trace.vertex("exporting to image")
    step.start()
    image = await images.create(built.config, names=names)
    for name in names:
        images.on_event("tag", image.id, name.familiar())
        step.status(f"naming to {name}", done=True)
    step.done()
    size = images.content.size(image.id)
    descriptor = Descriptor(media_type=_CONFIG_TYPE, digest=image.id, size=size)
    return {
        "containerimage.digest": image.id,
        "containerimage.config.digest": image.id,
        "containerimage.descriptor": base64.b64encode(msgspec.json.encode(descriptor)).decode(),
        "image.name": ",".join(str(name) for name in names),
    }


def _names(text: str) -> list[Reference]:
    return [parse_reference(name) for name in dict.fromkeys(text.split(",")) if name]
