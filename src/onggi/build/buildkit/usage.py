"""What the build cache takes of the disk, as BuildKit's records; and what goes when a client prunes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onggi.build.buildkit import filters
from onggi.build.buildkit.mirrors import Mirror, Mirrors
from onggi.build.buildkit.pb import control_pb2
from onggi.build.buildkit.tracing import timestamp
from onggi.build.collecting import Rule

if TYPE_CHECKING:
    from onggi.build.builder import Builder
    from onggi.build.cache import CacheRecord

_LOCAL = "source.local"

UsageRecord = control_pb2.UsageRecord


async def records(builder: Builder, mirrors: Mirrors) -> list[UsageRecord]:
    """Steps, cache mounts, and directories of clients."""
    return [_of_step(record) for record in await builder.records()] + [
        _of_mirror(identifier, mirror) for identifier, mirror in mirrors.records()
    ]


def chosen(found: Sequence[UsageRecord], expressions: Sequence[str]) -> list[UsageRecord]:
    """Those that match. Raises InvalidArgument."""
    matches = filters.matcher(expressions)
    return [record for record in found if matches(_fields(record))]


async def prune(builder: Builder, mirrors: Mirrors, request: control_pb2.PruneRequest) -> list[UsageRecord]:
    """What has gone: with filters those that match, by age and size. Raises InvalidArgument."""
    matches = filters.matcher(list(request.filter))
    rule = Rule(
        unused_ns=request.keepDuration,
        reserved=request.reservedSpace,
        max_used=request.maxUsedSpace,
        min_free=request.minFreeSpace,
        everything=request.all,
        matches=lambda record: matches(_fields(_of_step(record))),
    )
    before_ns = time.time_ns() - request.keepDuration
    gone: list[UsageRecord] = []
    for identifier, mirror in mirrors.records():
        row = _of_mirror(identifier, mirror)
        limited = request.reservedSpace or request.maxUsedSpace or request.minFreeSpace
        if matches(_fields(row)) and mirror.used_ns <= before_ns and not limited:
            mirrors.forget(identifier)
            gone.append(row)
    removed, _ = await builder.prune(rule)
    return gone + [_of_step(record) for record in removed]


def _of_step(record: CacheRecord) -> UsageRecord:
    row = record.row
    return UsageRecord(
        ID=record.key[:25],
        Mutable=row.kind == "exec.cachemount",
        InUse=record.in_use,
        Size=row.size,
        CreatedAt=timestamp(row.made_ns),
        LastUsedAt=timestamp(row.used_ns),
        UsageCount=row.uses,
        Description=row.description,
        RecordType=row.kind,
        Shared=record.shared,
    )


def _of_mirror(identifier: str, mirror: Mirror) -> UsageRecord:
    return UsageRecord(
        ID=identifier,
        Mutable=True,
        Size=mirror.end,
        CreatedAt=timestamp(mirror.made_ns),
        LastUsedAt=timestamp(mirror.used_ns),
        UsageCount=mirror.uses,
        Description=f"local source for {mirror.name}",
        RecordType=_LOCAL,
    )


def _fields(record: UsageRecord) -> filters.Fields:
    return {
        "id": record.ID,
        "type": record.RecordType,
        "description": record.Description,
        "inuse": "true" if record.InUse else "",
        "mutable": "true" if record.Mutable else "",
        "immutable": "" if record.Mutable else "true",
        "shared": "true" if record.Shared else "",
        "private": "" if record.Shared else "true",
    }
