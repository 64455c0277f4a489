"""The service LLBBridge: a client that is its build's frontend. It asks for the solve of a Dockerfile, and returns a result.

Source: moby buildkit frontend/gateway/pb/gateway.proto; buildx's build.go for the order of calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from onggi.build.buildkit import looking, resolving, solves
from onggi.build.buildkit.definitions import definition_of, operations, result_in
from onggi.build.buildkit.faults import told
from onggi.build.buildkit.jobs import Job, Jobs, Outcome
from onggi.build.buildkit.llb.results import configured
from onggi.build.buildkit.pb import gateway_pb2, ops_pb2
from onggi.build.buildkit.rpc import Code, Methods, RpcError, ServerCall, error_of, unary
from onggi.build.buildkit.workers import gateway_caps, llb_caps, worker_record
from onggi.oci.reference import parse_reference
from onggi.store.blocking import blocking

if TYPE_CHECKING:
    from onggi.build.buildkit.door import BuildKit
    from onggi.build.buildkit.frontends import Served
    from onggi.build.request import Built
    from onggi.store.layers import Layers

_SERVICE: Final = "/moby.buildkit.v1.frontend.LLBBridge/"
_BUILD_ID: Final = "buildkit-controlapi-buildid"
PLATFORMS_KEY: Final = "refs.platforms"


class Bridge:
    """Answers for all jobs of the engine; with `served`, for one frontend that is an image, and so for its build."""

    def __init__(self, door: BuildKit, served: Served | None = None) -> None:
        self._door, self._served = door, served
        self._jobs: Jobs = door.jobs

    @property
    def _layers(self) -> Layers:
        return self._door.builder.layering.layers

    def methods(self) -> Methods:
        pb = gateway_pb2
        return {
            _SERVICE + "Ping": unary(pb.PingRequest, self._ping),
            _SERVICE + "Solve": unary(pb.SolveRequest, self._solve),
            _SERVICE + "Return": unary(pb.ReturnRequest, self._return),
            _SERVICE + "Evaluate": unary(pb.EvaluateRequest, self._evaluate),
            _SERVICE + "Inputs": unary(pb.InputsRequest, self._inputs),
            _SERVICE + "Warn": unary(pb.WarnRequest, self._warn),
            _SERVICE + "ReadFile": unary(pb.ReadFileRequest, self._read_file),
            _SERVICE + "ReadDir": unary(pb.ReadDirRequest, self._read_directory),
            _SERVICE + "StatFile": unary(pb.StatFileRequest, self._stat_file),
            _SERVICE + "ResolveImageConfig": unary(pb.ResolveImageConfigRequest, self._image_config),
            _SERVICE + "ResolveSourceMeta": unary(pb.ResolveSourceMetaRequest, self._source),
        }

    async def _job(self, call: ServerCall) -> Job:
        if self._served is not None:
            return self._served.job
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
        if operations(request.Definition) and not request.Frontend:
            with told():
                identifier, _ = await self._door.solve_graph(job, request.Definition)
            return gateway_pb2.SolveResponse(result=_shaped(gateway_pb2.Result(ref=_ref(identifier)), request))
        if not request.Frontend:
            return gateway_pb2.SolveResponse(result=gateway_pb2.Result(ref=gateway_pb2.Ref()))
        attrs = dict(request.FrontendOpt)
        with told():
            inputs = {name: await self._input(job, given) for name, given in request.FrontendInputs.items()}
            answer = await solves.solve(self._door, job, request.Frontend, attrs, inputs)
        if self._served is None:
            job.attrs = attrs
        return gateway_pb2.SolveResponse(result=_shaped(result_of(answer), request))

    async def _input(self, job: Job, given: ops_pb2.Definition) -> tuple[str, Built]:
        """A result of the client's other builds, or of a graph, which may go on from such."""
        if identifier := result_in(given):
            return identifier, self._jobs.result(identifier)
        return await self._door.solve_graph(job, given)

    async def _return(self, request: gateway_pb2.ReturnRequest, call: ServerCall) -> gateway_pb2.ReturnResponse:
        job = await self._job(call)
        outcome = job.outcome if self._served is None else self._served.outcome
        if outcome.done():
            return gateway_pb2.ReturnResponse()
        if request.HasField("error") and request.error.code:
            outcome.set_exception(error_of(request.error))
        else:
            outcome.set_result(self._outcome(request.result))
        return gateway_pb2.ReturnResponse()

    async def _evaluate(self, request: gateway_pb2.EvaluateRequest, call: ServerCall) -> gateway_pb2.EvaluateResponse:
        await self._job(call)
        self._jobs.result(request.Ref)  # a result is there when it has an id
        return gateway_pb2.EvaluateResponse()

    async def _inputs(self, request: gateway_pb2.InputsRequest, call: ServerCall) -> gateway_pb2.InputsResponse:  # noqa: ARG002
        await self._job(call)
        inputs = self._served.inputs if self._served is not None else {}
        return gateway_pb2.InputsResponse(
            Definitions={name: definition_of(identifier) for name, identifier in inputs.items()}
        )

    async def _warn(self, request: gateway_pb2.WarnRequest, call: ServerCall) -> gateway_pb2.WarnResponse:
        job = await self._job(call)
        job.trace.pass_on(request)
        return gateway_pb2.WarnResponse()

    def _outcome(self, result: gateway_pb2.Result) -> Outcome:
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
        order = _order(result.metadata.get(PLATFORMS_KEY, b""))
        names = sorted(refs, key=lambda name: order.index(name) if name in order else len(order))
        results = {name: self._jobs.result(refs[name]) for name in names if refs[name]}
        return Outcome(configured(results, result.metadata), dict(result.metadata))

    # Into results

    async def _read_file(self, request: gateway_pb2.ReadFileRequest, call: ServerCall) -> gateway_pb2.ReadFileResponse:
        await self._job(call)
        data = await blocking(looking.read_file, self._layers, self._jobs.result(request.Ref), request)
        return gateway_pb2.ReadFileResponse(Data=data)

    async def _read_directory(
        self, request: gateway_pb2.ReadDirRequest, call: ServerCall
    ) -> gateway_pb2.ReadDirResponse:
        await self._job(call)
        found = await blocking(looking.read_directory, self._layers, self._jobs.result(request.Ref), request)
        return gateway_pb2.ReadDirResponse(entries=found)

    async def _stat_file(self, request: gateway_pb2.StatFileRequest, call: ServerCall) -> gateway_pb2.StatFileResponse:
        await self._job(call)
        built = self._jobs.result(request.Ref)
        return gateway_pb2.StatFileResponse(stat=await blocking(looking.stat_file, self._layers, built, request.Path))

    async def _image_config(
        self, request: gateway_pb2.ResolveImageConfigRequest, call: ServerCall
    ) -> gateway_pb2.ResolveImageConfigResponse:
        """The older form of `_source`, for images."""
        job = await self._job(call)
        source = ops_pb2.SourceOp(identifier=f"docker-image://{request.Ref}")
        asked = gateway_pb2.ResolveSourceMetaRequest(
            Source=source, Platform=request.Platform, ResolveMode=request.ResolveMode
        )
        with told():
            found = (await resolving.resolved(self._door, job, asked)).Image
            shown = str(parse_reference(request.Ref))
        return gateway_pb2.ResolveImageConfigResponse(Digest=found.Digest, Config=found.Config, Ref=shown)

    async def _source(
        self, request: gateway_pb2.ResolveSourceMetaRequest, call: ServerCall
    ) -> gateway_pb2.ResolveSourceMetaResponse:
        job = await self._job(call)
        with told():
            return await resolving.resolved(self._door, job, request)


class _Platform(msgspec.Struct):
    id: str = msgspec.field(name="ID", default="")


class _Platforms(msgspec.Struct):
    platforms: list[_Platform] = msgspec.field(name="Platforms", default_factory=list)


def _order(raw: bytes) -> list[str]:
    """The names of results in the order that was asked for: a map of protobuf has none."""
    try:
        return [each.id for each in msgspec.json.decode(raw, type=_Platforms).platforms] if raw else []
    except msgspec.DecodeError:
        return []


def result_of(answer: solves.Answer) -> gateway_pb2.Result:
    """One result as itself, several by their platforms."""
    result = gateway_pb2.Result(metadata=dict(answer.metadata))
    if set(answer.results) == {""}:
        result.ref.CopyFrom(_ref(answer.results[""][0]))
        return result
    platforms = []
    for name, (identifier, built) in answer.results.items():
        result.refs.refs[name].CopyFrom(_ref(identifier))
        platforms.append({"ID": name, "Platform": msgspec.to_builtins(built.platform)})
    if platforms and PLATFORMS_KEY not in answer.metadata:
        result.metadata[PLATFORMS_KEY] = msgspec.json.encode({"Platforms": platforms})
    return result


def _shaped(result: gateway_pb2.Result, request: gateway_pb2.SolveRequest) -> gateway_pb2.Result:
    """Clients that don't know results with definitions get ids alone (capability proto.refarray)."""
    if request.allowResultArrayRef:
        return result
    if result.HasField("ref"):
        result.refDeprecated = result.ref.id
    elif result.HasField("refs"):
        refs = {name: ref.id for name, ref in result.refs.refs.items()}
        result.refsDeprecated.CopyFrom(gateway_pb2.RefMapDeprecated(refs=refs))
    return result


def _ref(identifier: str) -> gateway_pb2.Ref:
    made = gateway_pb2.Ref(id=identifier)
    getattr(made, "def").CopyFrom(definition_of(identifier))  # a keyword of Python
    return made
