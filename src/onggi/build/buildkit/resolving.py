"""What a frontend may know of a source before it builds on it: an image's digest and config, a repository's commit, a file's digest.

Source: moby buildkit frontend/gateway/pb/gateway.proto, ResolveSourceMeta.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from onggi.build.buildkit.llb import fetching
from onggi.build.buildkit.pb import gateway_pb2, ops_pb2
from onggi.build.buildkit.rpc import Code, RpcError
from onggi.build.buildkit.tracing import timestamp
from onggi.build.fetching import name_of
from onggi.build.plan import Kind, Origin
from onggi.oci.image import encode_image_config
from onggi.oci.platform import Platform
from onggi.oci.reference import parse_reference

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from onggi.build.buildkit.door import BuildKit
    from onggi.build.buildkit.jobs import Job
    from onggi.build.request import Built, Request
    from onggi.build.solving import Solving
    from onggi.images import Image

Response = gateway_pb2.ResolveSourceMetaResponse


async def resolved(door: BuildKit, job: Job, request: gateway_pb2.ResolveSourceMetaRequest) -> Response:
    """What was fetched for it is held until the job's end. Raises RpcError, and what sources raise."""
    answer = Response(Source=request.Source)
    await job.carry(_held(door, job, await door.plain_request(job), request, answer))
    return answer


@asynccontextmanager
async def _held(
    door: BuildKit, job: Job, plain: Request, request: gateway_pb2.ResolveSourceMetaRequest, answer: Response
) -> AsyncIterator[Sequence[Built]]:
    async with door.builder.opened(plain, job.trace) as solving:
        await _fill(solving, job, request, answer)
        yield []


async def _fill(solving: Solving, job: Job, request: gateway_pb2.ResolveSourceMetaRequest, answer: Response) -> None:
    identifier, attrs = request.Source.identifier, request.Source.attrs
    scheme, _, rest = identifier.partition("://")
    match scheme:
        case "docker-image":
            pull = "pull" in (request.ResolveMode, attrs.get("image.resolvemode"))
            origin = Origin(Kind.IMAGE, rest, platform=platform_of(request.Platform))
            image = await solving.sources.bases.image(origin, pull=pull)
            answer.Image.Digest = digest_of(image, rest)
            if not request.Image.NoConfig:
                answer.Image.Config = encode_image_config(image.config)
        case "git":
            vertex = job.trace.vertex(f"[internal] resolve {identifier}")
            vertex.start()
            source = fetching.repository(rest, attrs)
            context = await solving.sources.git.context(source, vertex, checksum=attrs.get("git.checksum", ""))
            context.close()
            vertex.done()
            commit = solving.sources.git.materials[-1].digest.partition(":")[2]
            answer.Git.Checksum = answer.Git.CommitChecksum = commit
            answer.Git.Ref = source.partition("#")[2].partition(":")[0]
        case "http" | "https":
            entry = await solving.fetcher.fetch(identifier, attrs.get("http.checksum", ""))
            answer.HTTP.Checksum = f"sha256:{entry.digest.hex()}"
            answer.HTTP.Filename = attrs.get("http.filename") or name_of(identifier, needed=False)
            if entry.mtime_ns:
                answer.HTTP.LastModified.CopyFrom(timestamp(entry.mtime_ns))
        case _:
            raise RpcError(Code.UNIMPLEMENTED, f"unsupported source scheme {scheme!r}: {identifier}")


def platform_of(message: ops_pb2.Platform) -> Platform | None:
    if not message.OS:
        return None
    return Platform(message.Architecture, message.OS, message.OSVersion, list(message.OSFeatures), message.Variant)


def digest_of(image: Image, text: str) -> str:
    """By which the registry of this name knows the image; its id where none does. Either leads back to it behind the name."""
    name = parse_reference(text).name
    known = (each.partition("@") for each in image.digests)
    return next((digest for repository, _, digest in known if repository == name), image.id)
