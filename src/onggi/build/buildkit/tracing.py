"""What is told of one build: every change of a step as one message, kept until the build is forgotten, for readers at any time."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from onggi.build.buildkit.pb import control_pb2, gateway_pb2, ops_pb2
from onggi.build.vertices import Location, Vertex, Warned

CANCELED: Final = "context canceled"
_KEPT_BYTES: Final = 64 * 1024 * 1024
"""Of logs in memory. What a build says beyond is left out, and said to be."""


def timestamp(ns: int | None = None) -> Timestamp:
    """Now, or nanoseconds since the epoch."""
    made = Timestamp()
    made.FromNanoseconds(time.time_ns() if ns is None else ns)
    return made


def source_info(location: Location) -> ops_pb2.SourceInfo:
    file = location.file
    return ops_pb2.SourceInfo(filename=file.name, data=file.data, language=file.language)


def ranges(location: Location) -> list[ops_pb2.Range]:
    return [
        ops_pb2.Range(
            start=ops_pb2.Position(line=location.first), end=ops_pb2.Position(line=max(location.first, location.last))
        )
    ]


class Step:
    """A Vertex that tells a Trace."""

    def __init__(self, trace: Trace, message: control_pb2.Vertex) -> None:
        self._trace, self._message = trace, message
        self._statuses: dict[str, control_pb2.VertexStatus] = {}

    @property
    def digest(self) -> str:
        return self._message.digest

    @property
    def message(self) -> control_pb2.Vertex:
        return self._message

    @property
    def is_open(self) -> bool:
        """Begun, and not ended."""
        return self._message.HasField("started") and not self._message.HasField("completed")

    def start(self) -> None:
        if not self._message.HasField("started"):
            self._message.started.CopyFrom(timestamp())
            self._tell()

    def cached(self) -> None:
        now = timestamp()
        self._message.cached = True
        # A step has one beginning: clients count a second one as a second run, which never ends.
        if not self._message.HasField("started"):
            self._message.started.CopyFrom(now)
        self._message.completed.CopyFrom(now)
        self._tell()

    def log(self, stream: int, data: bytes) -> None:
        self._trace.log(control_pb2.VertexLog(vertex=self.digest, timestamp=timestamp(), stream=stream, msg=data))

    def status(self, identifier: str, *, current: int = 0, total: int = 0, done: bool = False) -> None:
        now = timestamp()
        status = self._statuses.get(identifier)
        if status is None:
            status = control_pb2.VertexStatus(ID=identifier, vertex=self.digest, name=identifier, started=now)
            self._statuses[identifier] = status
        status.current, status.total = current, total
        status.timestamp.CopyFrom(now)
        if done:
            status.completed.CopyFrom(now)
        self._trace.tell(control_pb2.StatusResponse(statuses=[status]))

    def done(self, error: str = "") -> None:
        if self._message.HasField("completed"):
            return
        now = timestamp()
        if not self._message.HasField("started"):
            self._message.started.CopyFrom(now)
        self._message.completed.CopyFrom(now)
        self._message.error = error
        self._tell()

    def _tell(self) -> None:
        self._trace.tell(control_pb2.StatusResponse(vertexes=[self._message]))


class Trace:
    """The `Progress` of one build, and its readers."""

    def __init__(self, ref: str) -> None:
        self._ref = ref
        self._told: list[bytes] = []
        self._log_bytes = 0
        self._steps: dict[str, Step] = {}
        self._ended = False
        self._news = asyncio.Event()
        self.warnings = 0

    # Progress

    def vertex(self, name: str, *, inputs: Sequence[Vertex] = (), key: str = "", group: str = "") -> Step:
        # Clients that follow several builds take steps of one digest for one step: without a key it is this build's own.
        words = key or f"{self._ref} {name}"
        digest = "sha256:" + hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()
        known = self._steps.get(digest)
        if known is not None:
            return known
        message = control_pb2.Vertex(digest=digest, name=name, inputs=[each.digest for each in inputs])
        if group:
            message.progressGroup.id = message.progressGroup.name = group
        step = self._steps[digest] = Step(self, message)
        self.tell(control_pb2.StatusResponse(vertexes=[message]))
        return step

    def operation(
        self, digest: str, name: str, inputs: Sequence[Vertex], group: ops_pb2.ProgressGroup | None = None
    ) -> Step:
        """A step of a graph that the client has made, which it knows by this digest."""
        known = self._steps.get(digest)
        if known is not None:
            return known
        message = control_pb2.Vertex(
            digest=digest, name=name, inputs=[each.digest for each in inputs], progressGroup=group
        )
        step = self._steps[digest] = Step(self, message)
        self.tell(control_pb2.StatusResponse(vertexes=[message]))
        return step

    def warn(self, warning: Warned) -> None:
        self.warnings += 1
        message = control_pb2.VertexWarning(
            vertex=warning.vertex.digest if warning.vertex else "",
            level=warning.level,
            short=warning.message.encode(),
            detail=[line.encode() for line in warning.detail],
            url=warning.url,
        )
        if warning.location is not None:
            message.info.CopyFrom(source_info(warning.location))
            message.ranges.extend(ranges(warning.location))
        self.tell(control_pb2.StatusResponse(warnings=[message]))

    def pass_on(self, warning: gateway_pb2.WarnRequest) -> None:
        """A warning of the client's own frontend."""
        self.warnings += 1
        self.tell(
            control_pb2.StatusResponse(
                warnings=[
                    control_pb2.VertexWarning(
                        vertex=warning.digest,
                        level=warning.level,
                        short=warning.short,
                        detail=warning.detail,
                        url=warning.url,
                        info=warning.info,
                        ranges=warning.ranges,
                    )
                ]
            )
        )

    # Of steps

    def tell(self, message: control_pb2.StatusResponse) -> None:
        self._told.append(message.SerializeToString())
        self._news.set()

    def log(self, message: control_pb2.VertexLog) -> None:
        size = len(message.msg)
        if self._log_bytes <= _KEPT_BYTES < self._log_bytes + size:
            message.msg = b"[output clipped: more than 64 MiB of log]\n"
        elif self._log_bytes > _KEPT_BYTES:
            return
        self._log_bytes += size
        self.tell(control_pb2.StatusResponse(logs=[message]))

    # The end, and readers

    def end(self) -> None:
        """Nothing more will be told; steps that are still open were cancelled."""
        for step in self._steps.values():
            if step.is_open:
                step.done(CANCELED)
        self._ended = True
        self._news.set()

    def counts(self) -> tuple[int, int, int]:
        """Steps: all, those that have ended, those that were cached."""
        messages = [step.message for step in self._steps.values()]
        ended = sum(each.HasField("completed") for each in messages)
        return len(messages), ended, sum(each.cached for each in messages)

    @property
    def told(self) -> Sequence[bytes]:
        """Each a StatusResponse."""
        return self._told

    async def follow(self) -> AsyncIterator[control_pb2.StatusResponse]:
        """Everything from the beginning, what is there at once in one message, until the end."""
        at = 0
        while True:
            if at < len(self._told):
                part = self._told[at : at + 1000]
                at += len(part)
                # Messages one after the other are one message (protobuf's encoding, "Last One Wins": repeated fields add up).
                yield control_pb2.StatusResponse.FromString(b"".join(part))
                continue
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()
