"""What the build cache takes of the disk, as BuildKit's records; and what goes when a client prunes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onggi.build.buildkit import filters
from onggi.build.buildkit.mirrors import Mirror, Mirrors
from onggi.build.buildkit.pb import control_pb2
from onggi.build.buildkit.tracing import timestamp

if TYPE_CHECKING:
    from onggi.build.builder import Builder
    from onggi.build.cache import CacheRecord

_LOCAL = "source.local"

UsageRecord = control_pb2.UsageRecord


def records(builder: Builder, mirrors: Mirrors) -> list[UsageRecord]:
    """Steps, and directories of clients."""
    return [_of_step(record) for record in builder.records()] + [
        _of_mirror(identifier, mirror) for identifier, mirror in mirrors.records()
    ]


def chosen(found: Sequence[UsageRecord], expressions: Sequence[str]) -> list[UsageRecord]:
    """Those that match. Raises InvalidArgument."""
    matches = filters.matcher(expressions)
    return [record for record in found if matches(_fields(record))]


async def prune(builder: Builder, mirrors: Mirrors, request: control_pb2.PruneRequest) -> list[UsageRecord]:
    """What has gone: with filters those that match, else by age and size. Raises InvalidArgument."""
    unused_since_s = int(time.time() - request.keepDuration / 1e9) if request.keepDuration else 0
    before = records(builder, mirrors)
    by_id = {record.ID: record for record in before}
    wanted = {record.ID for record in chosen(before, list(request.filter))}
    gone: list[UsageRecord] = []
    for identifier, mirror in mirrors.records():
        old_enough = not unused_since_s or mirror.used_ns < unused_since_s * 1_000_000_000
        if identifier in wanted and old_enough and not request.reservedSpace and not request.maxUsedSpace:
            mirrors.forget(identifier)
            gone.append(by_id[identifier])
    if request.filter and not any(record.RecordType == "regular" for record in before if record.ID in wanted):
        return gone
    removed, _ = await builder.prune(
        all=request.all, keep_bytes=_keep_bytes(builder, mirrors, request), until_s=unused_since_s
    )
    return gone + [by_id[key[:25]] for key in removed if key[:25] in by_id]


def _keep_bytes(builder: Builder, mirrors: Mirrors, request: control_pb2.PruneRequest) -> int:
    """How much may stay: what is reserved, what may be used at most, less what must become free."""
    keep = max(request.reservedSpace, request.maxUsedSpace)
    if request.minFreeSpace:
        missing = max(0, request.minFreeSpace - shutil.disk_usage(os.path.dirname(mirrors.directory)).free)
        total = sum(record.row.size for record in builder.records())
        keep = min(keep or total, max(1, total - missing))
    return keep


def _of_step(record: CacheRecord) -> UsageRecord:
    row = record.row
    return UsageRecord(
        ID=record.key[:25],
        Mutable=False,
        InUse=False,
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
