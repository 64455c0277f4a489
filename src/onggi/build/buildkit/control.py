"""The service Control: builds, what is told of them, past ones, the cache, and what the engine is.

Source: moby buildkit api/services/control/control.proto.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from onggi.build.buildkit import recording, solves, tunnel, usage
from onggi.build.buildkit.definitions import operations
from onggi.build.buildkit.faults import told
from onggi.build.buildkit.jobs import Job, Outcome
from onggi.build.buildkit.outputs import export
from onggi.build.buildkit.pb import control_pb2
from onggi.build.buildkit.rpc import Methods, ServerCall, unary
from onggi.build.buildkit.workers import version_message, worker_record

if TYPE_CHECKING:
    from onggi.build.buildkit.door import BuildKit

_SERVICE: Final = "/moby.buildkit.v1.Control/"
_TRACES: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
pb = control_pb2


class Control:
    """Answers for the engine."""

    def __init__(self, door: BuildKit) -> None:
        self._door = door

    def methods(self) -> Methods:
        return {
            _SERVICE + "Info": unary(pb.InfoRequest, self._info),
            _SERVICE + "ListWorkers": unary(pb.ListWorkersRequest, self._workers),
            _SERVICE + "Solve": unary(pb.SolveRequest, self._solve),
            _SERVICE + "Status": self._status,
            _SERVICE + "Session": self._session,
            _SERVICE + "DiskUsage": unary(pb.DiskUsageRequest, self._usage),
            _SERVICE + "Prune": self._prune,
            _SERVICE + "ListenBuildHistory": self._listen,
            _TRACES: self._traces,
            _SERVICE + "UpdateBuildHistory": unary(pb.UpdateBuildHistoryRequest, self._update),
        }

    async def _info(self, request: pb.InfoRequest, call: ServerCall) -> pb.InfoResponse:  # noqa: ARG002
        return pb.InfoResponse(buildkitVersion=version_message())

    async def _workers(self, request: pb.ListWorkersRequest, call: ServerCall) -> pb.ListWorkersResponse:  # noqa: ARG002
        return pb.ListWorkersResponse(record=[worker_record(self._door.worker_id)])

    # Builds

    async def _solve(self, request: pb.SolveRequest, call: ServerCall) -> pb.SolveResponse:  # noqa: ARG002
        """Without a frontend the client is the frontend, through Bridge, and this waits for what it returns."""
        async with self._door.jobs.open(request) as job:
            async with recording.recorded(self._door.history, job) as record:
                with told():
                    outcome = await self._outcome(job)
                    response = await export(self._door, job, outcome)
                    response |= await self._door.export_cache(job, outcome)
                record.ExporterResponse.update(response)
                job.outcome_images = list(outcome.results.values())
            return pb.SolveResponse(ExporterResponse=response)

    async def _outcome(self, job: Job) -> Outcome:
        request = job.request
        if operations(request.Definition) and not request.Frontend:
            _, built = await self._door.solve_graph(job, request.Definition)
            return Outcome({"": built})
        if not request.Frontend:
            return await job.outcome
        job.attrs = dict(request.FrontendAttrs)
        inputs = {}
        for name, given in request.FrontendInputs.items():
            inputs[name] = await self._door.solve_graph(job, given)
        answer = await solves.solve(self._door, job, request.Frontend, job.attrs, inputs)
        return Outcome({name: built for name, (_, built) in answer.results.items()}, answer.metadata)

    async def _status(self, call: ServerCall) -> None:
        """Of a build that runs, from its beginning; of one that has ended, its log."""
        request = await call.request(pb.StatusRequest)
        if self._door.history.has_ended(request.Ref):
            for message in await asyncio.to_thread(self._door.history.log, request.Ref):
                await call.send(message)
            return
        trace = await self._door.jobs.trace(request.Ref)
        async for message in trace.follow():
            await call.send(message)

    async def _session(self, call: ServerCall) -> None:
        await tunnel.serve(call, self._door.sessions)

    # The past

    async def _listen(self, call: ServerCall) -> None:
        async for event in self._door.history.listen(await call.request(pb.BuildHistoryRequest)):
            await call.send(event)

    async def _update(
        self,
        request: pb.UpdateBuildHistoryRequest,
        call: ServerCall,  # noqa: ARG002
    ) -> pb.UpdateBuildHistoryResponse:
        """A record is whole when its build ends: there is nothing to finalise."""
        history = self._door.history
        if request.Delete:
            history.delete(request.Ref)
        elif not request.Finalize:
            history.pin(request.Ref, pinned=request.Pinned)
        return pb.UpdateBuildHistoryResponse()

    async def _traces(self, call: ServerCall) -> None:
        """Spans of a client are taken, and kept nowhere: a client that traces must not fail for it."""
        await call.stream.message()
        await call.send(pb.InfoRequest())  # an empty message, as ExportTraceServiceResponse is

    # The cache

    async def _usage(self, request: pb.DiskUsageRequest, call: ServerCall) -> pb.DiskUsageResponse:  # noqa: ARG002
        found = await usage.records(self._door.builder, self._door.mirrors)
        return pb.DiskUsageResponse(record=usage.chosen(found, list(request.filter)))

    async def _prune(self, call: ServerCall) -> None:
        request = await call.request(pb.PruneRequest)
        for record in await usage.prune(self._door.builder, self._door.mirrors, request):
            await call.send(record)
