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
from onggi.oci.digest import Digest
from onggi.store.layers import LayerInfo, Layers
from onggi.store.snapshots import Snapshot, Snapshots
from onggi.store.workers import Workers

_AT_ONCE: Final = max(2, os.cpu_count() or 2)
"""Steps of one engine that run side by side: each may take a core."""


def new_id() -> str:
    return secrets.token_hex(32)


class Layering:
    """One for an engine."""

    def __init__(self, layers: Layers, snapshots: Snapshots, workers: Workers, runner: StepRunner) -> None:
        self.layers, self._snapshots, self.workers, self._runner = layers, snapshots, workers, runner
        self._slots = asyncio.Semaphore(_AT_ONCE)

    @contextlib.asynccontextmanager
    async def step(self, diff_ids: Sequence[Digest]) -> AsyncIterator[Snapshot]:
        """Directories for one step over `diff_ids`."""
        async with self._slots:
            identifier = new_id()
            snapshot = self._snapshots.prepare(identifier, diff_ids)
            try:
                yield snapshot
            finally:
                self._snapshots.remove(identifier)

    async def run(self, step: RunStep) -> LayerInfo | None:
        """The layer that the step's process made; None when it changed nothing.

        Raises BuildFailed when the process could not be started or ended with anything but 0.
        """
        before = _root_of(step.snapshot.upper)
        try:
            end = await self._runner.run(step)
        except RuntimeStepError as error:
            raise BuildFailed(str(error)) from error
        if end.exit_code:
            raise BuildFailed(_returned(step, end), end.exit_code)
        if not os.listdir(step.snapshot.upper) and _root_of(step.snapshot.upper) == before:
            return None
        return await self.layers.capture(step.snapshot.upper, keep=False)

    async def copy(self, snapshot: Snapshot, args: CopyArgs, spool: int) -> LayerInfo:
        """What COPY or ADD makes of its sources. Raises InvalidArgument, NotFound, Corrupt, NoSpace."""
        # Arguments name each file: longer than a message may be.
        memfd = os.memfd_create("onggi-copy", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(memfd), "wb") as file:
                file.write(msgspec.msgpack.encode(args))
            await self.workers.run("onggi.build.copyjob:copy", None, [memfd, spool])
        finally:
            os.close(memfd)
        return await self.layers.capture(snapshot.upper, keep=False)

    async def digest_sources(self, args: CopyArgs) -> str:
        """Of what COPY --from would take, by content. Raises NotFound, OSError."""
        return (await self.workers.run("onggi.build.copyjob:digest_sources", args)).decode()

    async def make_directory(self, snapshot: Snapshot, args: CopyArgs) -> LayerInfo | None:
        """WORKDIR: None when the directory was there."""
        made = await self.workers.run("onggi.build.copyjob:make_directory", args)
        return await self.layers.capture(snapshot.upper, keep=False) if made else None


def _root_of(upper: str) -> tuple[int, int, int]:
    status = os.stat(upper)
    return status.st_mode, status.st_uid, status.st_gid


def _returned(step: RunStep, end: StepEnd) -> str:
    text = f"The command '{' '.join(step.args)}' returned a non-zero code: {end.exit_code}"
    return f"{text} (the kernel killed it: out of memory)" if end.oom_killed else text


def copy_failure(word: str, error: Exception) -> BuildFailed:
    """What a copying job said, in docker's words."""
    if isinstance(error, NotFound):
        return BuildFailed(str(error))
    if isinstance(error, (InvalidArgument, Corrupt)):
        # Docker says this one without the instruction's name.
        prefix = "" if str(error).startswith(NO_OWNER) else f"{word} failed: "
        return BuildFailed(f"{prefix}{error}")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return BuildFailed(f"{word} failed: {reason}")
