"""A build's record in the history, from its beginning to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from onggi.build.buildkit import provenance
from onggi.build.buildkit.history import History, Record
from onggi.build.buildkit.jobs import Job
from onggi.build.buildkit.rpc import status_of
from onggi.build.buildkit.tracing import timestamp

_DISK_S: Final = 30.0
"""How long the answer waits for a disk that is busy; clients read the record next."""


@asynccontextmanager
async def recorded(history: History, job: Job) -> AsyncIterator[Record]:
    """The record of `job`, kept at the block's end with the error that ends it. Internal builds leave none."""
    request = job.request
    started_ns = job.started_ns
    record = Record(
        Ref=request.Ref,
        Frontend=request.Frontend,
        FrontendAttrs=dict(request.FrontendAttrs),
        Exporters=request.Exporters,
        CreatedAt=timestamp(started_ns),
    )
    if not request.Internal:
        history.begin(record)
    try:
        yield record
    except BaseException as error:
        record.error.CopyFrom(status_of(error))
        raise
    finally:
        job.trace.end()
        ended_ns = time.time_ns()
        record.CompletedAt.CopyFrom(timestamp(ended_ns))
        record.numTotalSteps, record.numCompletedSteps, record.numCachedSteps = job.trace.counts()
        record.numWarnings = job.trace.warnings
        if not request.Internal:
            async with asyncio.timeout(_DISK_S):
                await history.end(record, list(job.trace.told), _statement(job, started_ns, ended_ns))


def _statement(job: Job, started_ns: int, ended_ns: int) -> bytes:
    """The provenance of what was built; nothing for a build that came to nothing."""
    if not job.outcome_images:
        return b""
    predicate = provenance.predicate(
        job.ref, job.attrs, job.outcome_images, started_ns=started_ns, ended_ns=ended_ns, is_max=False
    )
    return provenance.encoded(predicate)
