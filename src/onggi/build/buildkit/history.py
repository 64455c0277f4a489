"""Builds of the past: a record of each with its log and provenance, kept for two days, fifty at most; pinned ones longer.

On disk a record is a file of its own below `builds/`, its blobs are in a content store beside them. What can't be read is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

from google.protobuf.message import DecodeError

from onggi.build.buildkit import filters
from onggi.build.buildkit.pb import control_pb2
from onggi.errors import NotFound
from onggi.oci.digest import Digest
from onggi.store.blocking import blocking
from onggi.store.content import Content

LOG_TYPE: Final = "application/vnd.buildkit.status.v0"
PROVENANCE_TYPE: Final = "application/vnd.in-toto+json"
_ENTRIES_LIMIT: Final = 50
_AGE_S: Final = 48 * 3600
"""Both as BuildKit's defaults."""

_SUFFIX: Final = ".record"

log = logging.getLogger(__name__)

Record = control_pb2.BuildHistoryRecord
Event = control_pb2.BuildHistoryEvent
STARTED, COMPLETE, DELETED = control_pb2.STARTED, control_pb2.COMPLETE, control_pb2.DELETED


def _name(ref: str) -> str:
    """A ref is a client's word: as a file's name it is in hexadecimal."""
    return ref.encode().hex() + _SUFFIX


class History:
    """One for an engine, below `root`."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = os.path.join(root, "builds")
        os.makedirs(self._root, mode=0o700, exist_ok=True)
        self.content = Content(self._root)
        self._active: dict[str, Record] = {}
        self._ended: dict[str, Record] = {}
        self._listeners: set[asyncio.Queue[Event]] = set()
        self._load()

    def begin(self, record: Record) -> None:
        """A build has begun."""
        self._active[record.Ref] = record
        self._tell(Event(type=STARTED, record=record))

    async def end(self, record: Record, told: Sequence[bytes], statement: bytes = b"") -> None:
        """It has ended: its record, what was told of it, its provenance. A full disk costs the record.

        Cancelled: the record is kept for as long as the engine lives.
        """
        try:
            await blocking(self._keep, record, told, statement)
        except OSError as error:
            log.warning("a build's record could not be kept", extra={"reason": str(error)})
        finally:
            self._active.pop(record.Ref, None)
            self._ended[record.Ref] = record
            self._forget_old()
            self._tell(Event(type=COMPLETE, record=record))

    def _keep(self, record: Record, told: Sequence[bytes], statement: bytes) -> None:
        """Writes it all; blocks for as long as the disk takes."""
        record.logs.CopyFrom(self._blob(LOG_TYPE, framed(told)))
        if statement:
            descriptor = self._blob(PROVENANCE_TYPE, statement)
            descriptor.annotations["in-toto.io/predicate-type"] = "https://slsa.dev/provenance/v0.2"
            record.Result.Attestations.append(descriptor)
        self._write(record)

    def has_ended(self, ref: str) -> bool:
        """Whether the record of a build is whole, and its log can be read."""
        return ref in self._ended

    def log(self, ref: str) -> list[control_pb2.StatusResponse]:
        """What was told of a build that has ended. Raises NotFound."""
        record = self._ended.get(ref)
        if record is None or not record.logs.digest:
            raise NotFound(f"no such job {ref}")
        data = self.content.read(Digest(record.logs.digest), limit=1 << 31)
        return [control_pb2.StatusResponse.FromString(part) for part in unframed(data)]

    def pin(self, ref: str, *, pinned: bool) -> None:
        """Raises NotFound."""
        record = self._found(ref)
        record.pinned = pinned
        self._write(record)
        self._tell(Event(type=COMPLETE, record=record))

    def delete(self, ref: str) -> None:
        """Raises NotFound."""
        self._drop(self._found(ref))

    async def listen(self, request: control_pb2.BuildHistoryRequest) -> AsyncIterator[Event]:
        """The builds that are asked for, oldest first; what happens after too, without EarlyExit."""
        queue: asyncio.Queue[Event] = asyncio.Queue(1024)
        wanted = filters.matcher(list(request.Filter))
        self._listeners.add(queue)
        try:
            found = [] if request.ActiveOnly else [Event(type=COMPLETE, record=each) for each in self._ended.values()]
            found += [Event(type=STARTED, record=each) for each in self._active.values()]
            found = [event for event in found if _is_of(event, request.Ref) and wanted(fields_of(event.record))]
            for event in found[-request.Limit :] if request.Limit > 0 else found:
                yield event
            while not request.EarlyExit:
                event = await queue.get()
                if _is_of(event, request.Ref) and not (request.ActiveOnly and event.type != STARTED):
                    yield event
        finally:
            self._listeners.discard(queue)

    # Records on disk

    def _found(self, ref: str) -> Record:
        record = self._ended.get(ref)
        if record is None:
            raise NotFound(f"failed to get build history record {ref}: not found")
        return record

    def _blob(self, media_type: str, data: bytes) -> control_pb2.Descriptor:
        return control_pb2.Descriptor(media_type=media_type, digest=self.content.put(data), size=len(data))

    def _write(self, record: Record) -> None:
        path = os.path.join(self._root, _name(record.Ref))
        with open(f"{path}.new", "wb") as file:
            file.write(record.SerializeToString())
        os.replace(f"{path}.new", path)

    def _load(self) -> None:
        found: list[Record] = []
        for name in os.listdir(self._root):
            path = os.path.join(self._root, name)
            if not name.endswith(_SUFFIX):
                continue
            try:
                with open(path, "rb") as file:
                    found.append(Record.FromString(file.read()))
            except (DecodeError, OSError):
                with contextlib.suppress(OSError):
                    os.unlink(path)
        found.sort(key=lambda record: record.CreatedAt.ToNanoseconds())
        self._ended = {record.Ref: record for record in found}

    def _forget_old(self) -> None:
        loose = [record for record in self._ended.values() if not record.pinned]
        oldest_ns = time.time_ns() - _AGE_S * 1_000_000_000
        for at, record in enumerate(loose):
            if len(loose) - at > _ENTRIES_LIMIT or record.CompletedAt.ToNanoseconds() < oldest_ns:
                self._drop(record)

    def _drop(self, record: Record) -> None:
        del self._ended[record.Ref]
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self._root, _name(record.Ref)))
        for digest in _blobs(record) - {digest for other in self._ended.values() for digest in _blobs(other)}:
            with contextlib.suppress(OSError, NotFound):
                self.content.delete(Digest(digest))
        self._tell(Event(type=DELETED, record=record))

    def _tell(self, event: Event) -> None:
        copy = Event.FromString(event.SerializeToString())
        for queue in self._listeners:
            if not queue.full():  # who doesn't read misses some: each event says all of its build
                queue.put_nowait(copy)


def fields_of(record: Record) -> filters.Fields:
    """What filters of histories name."""
    fields: dict[str, str | int] = {
        "ref": record.Ref,
        "status": _status(record),
        "startedAt": record.CreatedAt.seconds,
        "completedAt": record.CompletedAt.seconds,
        "repository": record.FrontendAttrs.get("vcs:source", "") or record.FrontendAttrs.get("context", ""),
    }
    if record.HasField("CompletedAt"):
        fields["duration"] = record.CompletedAt.ToNanoseconds() - record.CreatedAt.ToNanoseconds()
    return fields


def _status(record: Record) -> str:
    if not record.HasField("CompletedAt"):
        return "running"
    if not record.HasField("error"):
        return "completed"
    return "canceled" if "context canceled" in record.error.message else "error"


def _blobs(record: Record) -> set[str]:
    found = {record.logs.digest, *(each.digest for each in record.Result.Attestations)}
    return {digest for digest in found if digest}


def _is_of(event: Event, ref: str) -> bool:
    return not ref or event.record.Ref == ref


def framed(messages: Sequence[bytes]) -> bytes:
    """Each with its length before it, four bytes little-endian (moby buildkit solver/llbsolver/history.go)."""
    return b"".join(part for message in messages for part in (len(message).to_bytes(4, "little"), message))


def unframed(data: bytes) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found
