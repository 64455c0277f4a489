"""A build told in the words of docker's older builder: `Step 2/5 : RUN make`, in the order of the file though stages run side by side.

It listens to vertices, and reads out the script: each instruction when it is its turn, with what its vertex has said so far.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from onggi.build.dockerfile import parse_dockerfile
from onggi.build.instructions import Instruction
from onggi.build.output import Detail, Message, Output, Status
from onggi.build.vertices import Location, Vertex, Warned

_HELD_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of text kept for steps whose turn has not come; what comes after is left out, and said to be."""


class ClassicVertex:
    """`told` is called when something has changed."""

    def __init__(self, owner: Classic, name: str, digest: str) -> None:
        self._owner, self.name, self._digest = owner, name, digest
        self.held: deque[msgspec.Struct] = deque()
        self.running = self.ended = self.was_cached = self.introduced = False
        self.error = ""

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def short(self) -> str:
        return self._digest.removeprefix("sha256:")[:12]

    def start(self) -> None:
        self.running = True
        self._owner.changed(self)

    def cached(self) -> None:
        self.was_cached = self.ended = True
        self._owner.changed(self)

    def log(self, stream: int, data: bytes) -> None:
        del stream
        self._owner.heard(self, Message(stream=data.decode("utf-8", "replace")))

    def status(self, identifier: str, *, current: int = 0, total: int = 0, done: bool = False) -> None:
        detail = Detail(current, total) if total or current else None
        self._owner.heard(self, Status("Pull complete" if done else "Downloading", detail, identifier))

    def done(self, error: str = "") -> None:
        if self.ended:
            return
        self.error, self.ended = error, True
        self._owner.changed(self)


class Classic:
    """The Progress of `POST /build`. `remove`: intermediate containers are said to be removed."""

    def __init__(self, output: Output, *, remove: bool) -> None:
        self._output, self._remove = output, remove
        self._vertices: dict[str, ClassicVertex] = {}
        self._script: list[tuple[str, ClassicVertex | None]] = []
        self._at = 0
        self._opened = False
        self._last = ""
        self._held = 0
        self._starts: dict[int, str] = {}
        self._has_failed = False

    def vertex(self, name: str, *, inputs: Sequence[Vertex] = (), key: str = "", group: str = "") -> Vertex:
        del inputs, group
        digest = f"sha256:{hashlib.sha256((key or name).encode('utf-8', 'surrogatepass')).hexdigest()}"
        return self._vertices.setdefault(digest, ClassicVertex(self, name, digest))

    def warn(self, warning: Warned) -> None:
        """Old clients know one warning; the others would be lines that nobody asked for."""
        if warning.rule == "NoEmptyContinuation":
            text = "[Warning] Empty continuation lines will become errors in a future release."
            self._output(Message(stream=f"{text}\n"))

    def script(self, lines: Sequence[tuple[str, Vertex | None]], starts: dict[int, str]) -> None:
        """What will be read out. `starts`: number of each FROM's line → the short id of the image that it names, if any."""
        self._script = [(text, self._vertices[vertex.digest] if vertex else None) for text, vertex in lines]
        self._starts = starts
        self._advance()

    def broken_off(self, at: Location) -> None:
        """The build ends before there is a script, at a FROM whose image can't be had: read out with the ARGs before all stages."""
        if self._script:
            return
        file = parse_dockerfile(at.file.data)
        every: list[Instruction] = [*file.global_args]
        for stage in file.stages:
            every += [stage.start, *stage.instructions]
        for number, instruction in enumerate(every, 1):
            if number <= len(file.global_args) or instruction.line == at.first:
                self._output(Message(stream=f"Step {number}/{len(every)} : {instruction.text}\n"))

    def ended(self, image: str) -> None:
        """The last instruction is what makes the image, whose short id this is."""
        self._output(Message(stream=f" ---> {image}\n"))

    def heard(self, vertex: ClassicVertex, message: msgspec.Struct) -> None:
        if self._is_current(vertex) or not self._script:
            self._output(message)
            return
        size = len(message.stream) if isinstance(message, Message) else 256
        if self._held <= _HELD_LIMIT < self._held + size:
            vertex.held.append(Message(stream="[output clipped: an earlier step was still running]\n"))
        self._held += size
        if self._held <= _HELD_LIMIT:
            vertex.held.append(message)

    def changed(self, vertex: ClassicVertex) -> None:
        if not self._script or self._has_failed:
            return
        self._advance()
        if vertex.error:
            self._has_failed = True
            self._failed(vertex)

    def _is_current(self, vertex: ClassicVertex) -> bool:
        return self._opened and self._at < len(self._script) and self._script[self._at][1] is vertex

    def _advance(self) -> None:
        """Reads on until a step that is still running."""
        while self._at < len(self._script):
            text, vertex = self._script[self._at]
            if not self._opened:
                following = vertex or self._following()
                if following is not None and not (following.running or following.ended):
                    return
                self._open(text, following)
            if vertex is not None:
                self._release(vertex)
                if not vertex.ended or vertex.error:
                    return
                self._close(vertex)
            self._last = self._starts.get(self._at) or self._last
            if self._last and self._at + 1 < len(self._script):
                self._output(Message(stream=f" ---> {self._last}\n"))
            self._at += 1
            self._opened = False

    def _following(self) -> ClassicVertex | None:
        """The step that comes next, else the last one: whether it was cached holds for an instruction that only changes the config."""
        after = [vertex for _, vertex in self._script[self._at :] if vertex is not None]
        before = [vertex for _, vertex in self._script[: self._at] if vertex is not None]
        return after[0] if after else before[-1] if before else None

    def _open(self, text: str, following: ClassicVertex | None) -> None:
        self._opened = True
        self._output(Message(stream=f"Step {self._at + 1}/{len(self._script)} : {text}\n"))
        if self._at not in self._starts and following is not None and following.was_cached:
            self._output(Message(stream=" ---> Using cache\n"))

    def _release(self, vertex: ClassicVertex) -> None:
        if vertex.running and not vertex.was_cached and not vertex.introduced:
            vertex.introduced = True
            if " RUN " in f" {vertex.name} ":
                self._output(Message(stream=f" ---> Running in {vertex.short}\n"))
        while vertex.held:
            self._output(vertex.held.popleft())

    def _close(self, vertex: ClassicVertex) -> None:
        if vertex.introduced and " RUN " in f" {vertex.name} " and self._remove:
            self._output(Message(stream=f" ---> Removed intermediate container {vertex.short}\n"))
        self._last = vertex.short

    def _failed(self, vertex: ClassicVertex) -> None:
        """The client must see what the step said, whoever else is still running."""
        if self._is_current(vertex):
            return
        for number, (text, each) in enumerate(self._script):
            if each is vertex and number >= self._at:
                self._output(Message(stream=f"Step {number + 1}/{len(self._script)} : {text}\n"))
                while vertex.held:
                    self._output(vertex.held.popleft())
