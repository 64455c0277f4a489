"""Steps that make layers: run, copied, made. Each takes the stage's layers and gives the new one's LayerInfo.

A step's directories are a snapshot of their own below containers/, and go when the step ends, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from onggi.build.copyjob import NO_OWNER, CopyArgs
from onggi.build.errors import BuildFailed
from onggi.build.runner import RunStep, StepEnd, StepRunner
from onggi.errors import Corrupt, InvalidArgument, NotFound, RuntimeStepError
from onggi.kernel.faults import point
from onggi.oci.digest import Digest
from onggi.store.layers import LayerInfo, Layers
from onggi.store.snapshots import Snapshot, Snapshots
from onggi.store.workers import Workers

_RUNS: Final = 4 * max(2, os.cpu_count() or 2)
"""RUN steps of one engine side by side: many of them wait for the network, few for a core."""

_COPIES: Final = max(2, os.cpu_count() or 2)
"""Copies side by side: each takes a core."""


def new_id() -> str:
    return secrets.token_hex(32)


class Layering:
    """One for an engine."""

    def __init__(self, layers: Layers, snapshots: Snapshots, workers: Workers, runner: StepRunner) -> None:
        self.layers, self._snapshots, self.workers, self._runner = layers, snapshots, workers, runner
        self._runs, self._copies = asyncio.Semaphore(_RUNS), asyncio.Semaphore(_COPIES)

    @contextlib.asynccontextmanager
    async def step(self, diff_ids: Sequence[Digest], *, run: bool = False) -> AsyncIterator[Snapshot]:
        """Directories for one step over `diff_ids`; `run`: a process will be started in it."""
        async with self._runs if run else self._copies:
            identifier = new_id()
            snapshot = self._snapshots.prepare(identifier, diff_ids)
            try:
                point("build.step.prepared")
                yield snapshot
            finally:
                self._snapshots.remove(identifier)

    @contextlib.asynccontextmanager
    async def beside(self, diff_ids: Sequence[Digest]) -> AsyncIterator[Snapshot]:
        """The same for a process that waits for steps itself: counted among them, enough of its kind would wait for ever."""
        identifier = new_id()
        snapshot = self._snapshots.prepare(identifier, diff_ids)
        try:
            yield snapshot
        finally:
            self._snapshots.remove(identifier)

    async def serve(self, step: RunStep) -> StepEnd:
        """A process whose changes nobody keeps. Raises BuildFailed when it could not be started."""
        try:
            return await self._runner.run(step)
        except RuntimeStepError as error:
            raise BuildFailed(str(error)) from error

    async def capture(self, snapshot: Snapshot) -> LayerInfo:
        """What a step has put into its directory, as a layer. The directory is gone then."""
        return await self.layers.capture(snapshot.upper, keep=False, root_entry=False)

    async def run(self, step: RunStep) -> LayerInfo:
        """The layer that the step's process made; an empty one when it changed nothing.

        Raises BuildFailed when the process could not be started or ended with anything but 0.
        """
        end = await self.serve(step)
        if end.exit_code:
            raise _failed(step, end)
        return await self.capture(step.snapshot)

    async def copy(self, snapshot: Snapshot, args: CopyArgs, spools: Sequence[int]) -> LayerInfo:
        """What COPY or ADD makes of its sources, which are in `spools` or in layers.

        Raises InvalidArgument, NotFound, Corrupt, NoSpace.
        """
        # Arguments name each file: longer than a message may be.
        memfd = os.memfd_create("onggi-copy", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(memfd), "wb") as file:
                file.write(msgspec.msgpack.encode(args))
            await self.workers.run("onggi.build.copyjob:copy", None, [memfd, *spools])
        finally:
            os.close(memfd)
        return await self.capture(snapshot)

    async def digest_sources(self, args: CopyArgs) -> str:
        """Of what COPY --from would take, by content. Raises NotFound, OSError."""
        return (await self.workers.run("onggi.build.copyjob:digest_sources", args)).decode()

    async def make_directory(self, snapshot: Snapshot, args: CopyArgs) -> LayerInfo:
        """WORKDIR: an empty layer when the directory was there."""
        await self.workers.run("onggi.build.copyjob:make_directory", args)
        return await self.capture(snapshot)


def _failed(step: RunStep, end: StepEnd) -> BuildFailed:
    command = " ".join(step.args)
    why = ": the kernel killed it, out of memory" if end.oom_killed else ""
    return BuildFailed(
        f'process "{command}" did not complete successfully: exit code: {end.exit_code}{why}',
        end.exit_code,
        classic=f"The command '{command}' returned a non-zero code: {end.exit_code}{why}",
    )


def copy_failure(word: str, error: Exception) -> BuildFailed:
    """What a copying job said, in docker's words."""
    if isinstance(error, NotFound):
        return BuildFailed(str(error))
    if isinstance(error, (InvalidArgument, Corrupt)):
        # Docker says this one without the instruction's name.
        prefix = "" if str(error).startswith(NO_OWNER) else f"{word} failed: "
        return BuildFailed(str(error), classic=f"{prefix}{error}")
    reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return BuildFailed(reason, classic=f"{word} failed: {reason}")
