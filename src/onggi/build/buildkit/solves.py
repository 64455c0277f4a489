"""One solve of a client: by the built-in frontend, by one that is an image, or without any."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from onggi.build.buildkit import frontends, questions
from onggi.build.buildkit.llb.results import CONFIG_KEY
from onggi.build.buildkit.rpc import Code, RpcError
from onggi.build.errors import OtherFrontend
from onggi.build.request import Built
from onggi.oci.image import encode_image_config

if TYPE_CHECKING:
    from onggi.build.buildkit.door import BuildKit
    from onggi.build.buildkit.jobs import Job

_GATEWAY: Final = "gateway.v0"
_FRONTENDS: Final = ("dockerfile.v0", _GATEWAY)
Named = Mapping[str, tuple[str, Built]]
"""Results with their ids, by platform ("" for one alone)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`metadata` is the frontend's; of the built-in one, the results' configs."""

    results: Named
    metadata: Mapping[str, bytes] = field(default_factory=dict)


async def solve(door: BuildKit, job: Job, frontend: str, attrs: Mapping[str, str], inputs: Named) -> Answer:
    """Raises RpcError, and what a build raises. Cancelled: the build is cancelled."""
    source = attrs.get("source", "")
    if frontend not in _FRONTENDS:
        raise RpcError(Code.UNIMPLEMENTED, f"no solver for the frontend {frontend}")
    if frontend == _GATEWAY and not _is_ours(source):
        return await _by_image(door, job, source, attrs, inputs)
    asked = await door.request_of(job, attrs, {name: built for name, (_, built) in inputs.items()})
    try:
        if question := attrs.get("requestid"):
            return Answer({}, await questions.answer(door.builder, asked, question, job.trace))
        named = await job.solve(asked)
    except OtherFrontend as other:
        forwarded = {**attrs, "source": other.source, "cmdline": other.words}
        return await _by_image(door, job, other.source, forwarded, inputs)
    if len(named) == 1:
        return Answer({"": named[0]}, {CONFIG_KEY: encode_image_config(named[0][1].config)})
    results = {str(built.platform): (identifier, built) for identifier, built in named}
    configs = {f"{CONFIG_KEY}/{name}": encode_image_config(built.config) for name, (_, built) in results.items()}
    return Answer(results, configs)


async def _by_image(door: BuildKit, job: Job, source: str, attrs: Mapping[str, str], inputs: Named) -> Answer:
    if not source:
        raise RpcError(Code.INVALID_ARGUMENT, "no source specified for gateway")
    ids = {name: identifier for name, (identifier, _) in inputs.items()}
    served = frontends.Served(job, ids, asyncio.get_running_loop().create_future())
    request = await door.plain_request(job)
    methods = door.methods_for(served)
    named = await job.carry(frontends.ran(door.builder, request, door.worker_id, source, attrs, served, methods))
    outcome = served.outcome.result()
    return Answer(dict(zip(outcome.results, named, strict=True)), outcome.metadata)


def _is_ours(source: str) -> bool:
    """Whether a frontend image is of the Dockerfile's language, which is spoken here without it."""
    name = source.partition("@")[0].removeprefix("docker.io/")
    return name.partition(":")[0] in ("docker/dockerfile", "docker/dockerfile-upstream")
