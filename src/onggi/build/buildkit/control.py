"""The service Control: builds, what is told of them, the cache, and what the engine is.

Source: moby buildkit api/services/control/control.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onggi.build.buildkit.faults import told
from onggi.build.buildkit.jobs import Job, Outcome
from onggi.build.buildkit.pb import control_pb2
from onggi.build.buildkit.rpc import Methods, ServerCall, unary
from onggi.build.buildkit.workers import version_message, worker_record

if TYPE_CHECKING:
    from onggi.build.buildkit.door import BuildKit

_SERVICE: Final = "/moby.buildkit.v1.Control/"


class Control:
    """Answers for the engine."""

    def __init__(self, door: BuildKit) -> None:
        self._door = door

    def methods(self) -> Methods:
        pb = control_pb2
        return {
            _SERVICE + "Info": unary(pb.InfoRequest, self._info),
            _SERVICE + "ListWorkers": unary(pb.ListWorkersRequest, self._workers),
            _SERVICE + "Solve": unary(pb.SolveRequest, self._solve),
            _SERVICE + "Status": self._status,
            _SERVICE + "ListenBuildHistory": self._history,
        }

    async def _info(self, request: control_pb2.InfoRequest, call: ServerCall) -> control_pb2.InfoResponse:  # noqa: ARG002
        return control_pb2.InfoResponse(buildkitVersion=version_message())

    async def _workers(
        self,
        request: control_pb2.ListWorkersRequest,  # noqa: ARG002
        call: ServerCall,  # noqa: ARG002
    ) -> control_pb2.ListWorkersResponse:
        return control_pb2.ListWorkersResponse(record=[worker_record(self._door.worker_id)])

    async def _solve(self, request: control_pb2.SolveRequest, call: ServerCall) -> control_pb2.SolveResponse:  # noqa: ARG002
        """Without a frontend the client is the frontend, through Bridge, and this waits for what it returns."""
        async with self._door.jobs.open(request) as job:
            with told():
                outcome = await self._outcome(job)
                response = await self._door.export(job, outcome)
            return control_pb2.SolveResponse(ExporterResponse=response)

    async def _outcome(self, job: Job) -> Outcome:
        request = job.request
        if not request.Frontend:
            return await job.outcome
        job.attrs = dict(request.FrontendAttrs)
        named = await job.solve(await self._door.request_of(job, request.Frontend, job.attrs))
        return Outcome({str(image.platform) if len(named) > 1 else "": image for _, image in named})

    async def _status(self, call: ServerCall) -> None:
        request = await call.request(control_pb2.StatusRequest)
        job = await self._door.jobs.get(request.Ref)
        async for message in job.trace.follow():
            await call.send(message)

    async def _history(self, call: ServerCall) -> None:
        await call.request(control_pb2.BuildHistoryRequest)
