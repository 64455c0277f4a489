"""Builds as clients see them: a job lives while its call of Control.Solve does, and holds what it has solved."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from onggi.build.builder import Builder
from onggi.build.buildkit.pb import control_pb2
from onggi.build.buildkit.rpc import Code, RpcError
from onggi.build.buildkit.tracing import Trace
from onggi.build.request import Built, Request

_WAIT_S: Final = 10.0
"""How long a call waits for its job: clients make several calls at once, in any order."""


_REMEMBERED_S: Final = 30.0
"""How long what a job has told is kept after its end: a client on a busy machine asks for it late, and gives up 3 s after the end."""


class _Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client returned as the result of its build: results by platform ("" for one alone), and metadata about them."""

    results: Mapping[str, Built]
    metadata: Mapping[str, bytes] = field(default_factory=dict)


class Job:
    """One build. `outcome` is what it comes to."""

    def __init__(self, request: control_pb2.SolveRequest, builder: Builder, group: asyncio.TaskGroup) -> None:
        self.request = request
        self.trace = Trace(request.Ref)
        self.started_ns = time.time_ns()
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.attrs: dict[str, str] = {}
        """Of the frontend, as the solve that counts had them."""
        self.outcome_images: list[Built] = []
        """What has been exported."""
        self._builder, self._group = builder, group
        self._results: dict[str, Built] = {}
        self._over = asyncio.Event()
        self._resources: list[_Closable] = []

    @property
    def ref(self) -> str:
        return self.request.Ref

    async def solve(self, request: Request) -> list[tuple[str, Built]]:
        """The results, each with the id by which `result` finds it until the job's end.

        Raises what the build raises. Cancelled: the build is cancelled.
        """
        return await self.carry(self._solved(request))

    @asynccontextmanager
    async def _solved(self, request: Request) -> AsyncIterator[Sequence[Built]]:
        async with self._builder.solve(request, self.trace) as result:
            yield result.images

    async def carry(self, work: AbstractAsyncContextManager[Sequence[Built]]) -> list[tuple[str, Built]]:
        """As `solve`, for any work that holds its results while its block lasts."""
        solved: asyncio.Future[Sequence[Built]] = asyncio.get_running_loop().create_future()
        task = self._group.create_task(self._hold(work, solved), name=f"build {self.ref}")
        try:
            images = await solved
        except BaseException:
            task.cancel()
            raise
        named = [(secrets.token_hex(12), image) for image in images]
        self._results |= dict(named)
        return named

    def result(self, identifier: str) -> Built | None:
        return self._results.get(identifier)

    def closing(self, resource: C) -> C:
        """Closed with the job."""
        self._resources.append(resource)
        return resource

    def finish(self) -> None:
        """Lets go of what was solved."""
        self._over.set()
        for resource in self._resources:
            resource.close()

    async def _hold(
        self, work: AbstractAsyncContextManager[Sequence[Built]], solved: asyncio.Future[Sequence[Built]]
    ) -> None:
        """The build's block stays open until the job's end: its layers are held by it."""
        async with AsyncExitStack() as stack:
            try:
                images = await stack.enter_async_context(work)
            except Exception as error:  # noqa: BLE001  # whoever waits for the result gets it
                if not solved.done():
                    solved.set_exception(error)
                return
            if not solved.done():
                solved.set_result(images)
                await self._over.wait()


class Jobs:
    """Those that run."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._jobs: dict[str, Job] = {}
        self._ended: dict[str, Trace] = {}
        self._news = asyncio.Condition()

    @asynccontextmanager
    async def open(self, request: control_pb2.SolveRequest) -> AsyncIterator[Job]:
        """A new job for the block. At its end all that belongs to it has ended."""
        if request.Ref in self._jobs:
            raise RpcError(Code.ALREADY_EXISTS, f"job ID exists: {request.Ref}")
        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                job = Job(request, self._builder, group)
                self._jobs[request.Ref] = job
                async with self._news:
                    self._news.notify_all()
                try:
                    yield job
                except Exception as error:  # noqa: BLE001  # raised again below: the group would wrap it
                    failure = error
                finally:
                    job.finish()
            if failure is not None:
                raise failure
        finally:
            ended = self._jobs.pop(request.Ref, None)
            if ended is not None:
                ended.outcome.cancel()
                ended.trace.end()
                self._ended[request.Ref] = ended.trace
                asyncio.get_running_loop().call_later(_REMEMBERED_S, self._forget, request.Ref, ended.trace)

    def result(self, identifier: str) -> Built:
        """Of any job that runs: a client may hand results on to its other builds. Raises RpcError."""
        for job in self._jobs.values():
            if (found := job.result(identifier)) is not None:
                return found
        raise RpcError(Code.NOT_FOUND, f"no such ref: {identifier}")

    async def get(self, ref: str) -> Job:
        """Waits a little for it. Raises RpcError when it doesn't come."""
        await self._wait_for(ref)
        job = self._jobs.get(ref)
        if job is None:
            raise RpcError(Code.NOT_FOUND, f"no such job {ref}")
        return job

    async def trace(self, ref: str) -> Trace:
        """What a job tells, also of one that has just ended: it may be over before whoever waits for it is woken. Raises as `get`."""
        await self._wait_for(ref)
        job = self._jobs.get(ref)
        return self._ended[ref] if job is None else job.trace

    async def _wait_for(self, ref: str) -> None:
        try:
            async with asyncio.timeout(_WAIT_S), self._news:
                await self._news.wait_for(lambda: ref in self._jobs or ref in self._ended)
        except TimeoutError:
            raise RpcError(Code.NOT_FOUND, f"no such job {ref}") from None

    def _forget(self, ref: str, trace: Trace) -> None:
        if self._ended.get(ref) is trace:
            del self._ended[ref]
