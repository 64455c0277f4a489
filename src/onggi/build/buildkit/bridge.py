"""The service LLBBridge: a client that is its build's frontend. It asks for the solve of a Dockerfile, and returns a result.

Source: moby buildkit frontend/gateway/pb/gateway.proto; buildx's build.go for the order of calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from onggi.build.buildkit.faults import told
from onggi.build.buildkit.jobs import Job, Jobs, Outcome
from onggi.build.buildkit.pb import gateway_pb2
from onggi.build.buildkit.rpc import Code, Methods, RpcError, ServerCall, error_of, unary
from onggi.build.buildkit.workers import gateway_caps, llb_caps, worker_record
from onggi.oci.image import encode_image_config

if TYPE_CHECKING:
    from onggi.build.buildkit.door import BuildKit
    from onggi.build.request import Built

_SERVICE: Final = "/moby.buildkit.v1.frontend.LLBBridge/"
_BUILD_ID: Final = "buildkit-controlapi-buildid"
CONFIG_KEY: Final = "containerimage.config"
PLATFORMS_KEY: Final = "refs.platforms"


class Bridge:
    """Answers for all jobs of the engine."""

    def __init__(self, door: BuildKit) -> None:
        self._door = door
        self._jobs: Jobs = door.jobs

    def methods(self) -> Methods:
        pb = gateway_pb2
        return {
            _SERVICE + "Ping": unary(pb.PingRequest, self._ping),
            _SERVICE + "Solve": unary(pb.SolveRequest, self._solve),
            _SERVICE + "Return": unary(pb.ReturnRequest, self._return),
            _SERVICE + "Evaluate": unary(pb.EvaluateRequest, self._evaluate),
            _SERVICE + "Inputs": unary(pb.InputsRequest, self._inputs),
            _SERVICE + "Warn": unary(pb.WarnRequest, self._warn),
        }

    async def _job(self, call: ServerCall) -> Job:
        ref = call.first(_BUILD_ID)
        if not ref:
            raise RpcError(Code.INVALID_ARGUMENT, "no buildid found in context")
        return await self._jobs.get(ref)

    async def _ping(self, request: gateway_pb2.PingRequest, call: ServerCall) -> gateway_pb2.PongResponse:  # noqa: ARG002
        await self._job(call)
        return gateway_pb2.PongResponse(
            FrontendAPICaps=gateway_caps(), LLBCaps=llb_caps(), Workers=[worker_record(self._door.worker_id)]
        )

    async def _solve(self, request: gateway_pb2.SolveRequest, call: ServerCall) -> gateway_pb2.SolveResponse:
        job = await self._job(call)
        if len(getattr(request.Definition, "def")):  # a keyword of Python
            raise RpcError(Code.UNIMPLEMENTED, "graphs of clients (LLB) are not solved here: send a Dockerfile")
        if not request.Frontend:
            return gateway_pb2.SolveResponse(result=gateway_pb2.Result(ref=gateway_pb2.Ref()))
        attrs = dict(request.FrontendOpt)
        with told():
            if attrs.get("requestid"):
                raise RpcError(Code.UNIMPLEMENTED, f"unknown subrequest {attrs['requestid']}")
            named = await job.solve(await self._door.request_of(job, request.Frontend, attrs))
        job.attrs = attrs
        return gateway_pb2.SolveResponse(result=result_of(named))

    async def _return(self, request: gateway_pb2.ReturnRequest, call: ServerCall) -> gateway_pb2.ReturnResponse:
        job = await self._job(call)
        if job.outcome.done():
            return gateway_pb2.ReturnResponse()
        if request.HasField("error") and request.error.code:
            job.outcome.set_exception(error_of(request.error))
        else:
            job.outcome.set_result(_outcome(job, request.result))
        return gateway_pb2.ReturnResponse()

    async def _evaluate(self, request: gateway_pb2.EvaluateRequest, call: ServerCall) -> gateway_pb2.EvaluateResponse:
        (await self._job(call)).result(request.Ref)
        return gateway_pb2.EvaluateResponse()

    async def _inputs(self, request: gateway_pb2.InputsRequest, call: ServerCall) -> gateway_pb2.InputsResponse:  # noqa: ARG002
        await self._job(call)
        return gateway_pb2.InputsResponse()

    async def _warn(self, request: gateway_pb2.WarnRequest, call: ServerCall) -> gateway_pb2.WarnResponse:
        job = await self._job(call)
        job.trace.pass_on(request)
        return gateway_pb2.WarnResponse()


def _outcome(job: Job, result: gateway_pb2.Result) -> Outcome:
    kind = result.WhichOneof("result")
    if kind == "ref":
        refs = {"": result.ref.id}
    elif kind == "refDeprecated":
        refs = {"": result.refDeprecated}
    elif kind == "refs":
        refs = {name: ref.id for name, ref in result.refs.refs.items()}
    elif kind == "refsDeprecated":
        refs = dict(result.refsDeprecated.refs)
    else:
        refs = {}
    return Outcome({name: job.result(ref) for name, ref in refs.items() if ref}, dict(result.metadata))


def result_of(named: list[tuple[str, Built]]) -> gateway_pb2.Result:
    """One result as itself, several by their platforms."""
    result = gateway_pb2.Result()
    if len(named) == 1:
        identifier, image = named[0]
        result.ref.id = identifier
        result.metadata[CONFIG_KEY] = encode_image_config(image.config)
        return result
    platforms = []
    for identifier, image in named:
        name = str(image.platform)
        result.refs.refs[name].id = identifier
        result.metadata[f"{CONFIG_KEY}/{name}"] = encode_image_config(image.config)
        platforms.append({"ID": name, "Platform": msgspec.to_builtins(image.platform)})
    result.metadata[PLATFORMS_KEY] = msgspec.json.encode({"Platforms": platforms})
    return result
