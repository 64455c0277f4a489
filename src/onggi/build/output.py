"""What a build tells its client: docker's JSON messages, in the order of the Dockerfile though stages run side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

_HELD_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of text kept for one stage while an earlier one is still speaking; what comes after is left out, and said to be."""


class Aux(msgspec.Struct, frozen=True):
    """Where docker-py and the command line find the image's id."""

    id: str = msgspec.field(name="ID")


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object of the stream. Source: moby pkg/jsonmessage; docker-py reads `stream` and `aux`."""

    stream: str = ""
    aux: Aux | None = None


Output = Callable[[msgspec.Struct], None]
"""Takes a `Message`, or what a pull reports: any struct that encodes to one of docker's JSON messages."""


class StageOutput:
    """The messages of one stage (or of a quiet build): passed on once it is its turn, kept until then."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._held: list[msgspec.Struct] = []
        self._bytes = 0
        self._live = False

    def say(self, message: msgspec.Struct) -> None:
        if self._live:
            self._output(message)
            return
        size = len(message.stream) if isinstance(message, Message) else 256
        if self._bytes <= _HELD_LIMIT < self._bytes + size:
            self._held.append(Message(stream="[output clipped: an earlier stage was still running]\n"))
        self._bytes += size
        if self._bytes <= _HELD_LIMIT:
            self._held.append(message)

    def text(self, text: str) -> None:
        self.say(Message(stream=text))

    def go_live(self) -> None:
        self._live = True
        held, self._held = self._held, []
        for message in held:
            self._output(message)


class Script:
    """Speaks for all stages of a build, one after the other: a stage is heard when those before it have ended."""

    def __init__(self, output: Output, stages: int) -> None:
        self.stages = [StageOutput(output) for _ in range(stages)]
        self._ended = [False] * stages
        self._speaking = 0
        if self.stages:
            self.stages[0].go_live()

    def ended(self, stage: int) -> None:
        """`stage` has nothing more to say, because it is done."""
        self._ended[stage] = True
        while self._speaking < len(self.stages) and self._ended[self._speaking]:
            self._speaking += 1
            if self._speaking < len(self.stages):
                self.stages[self._speaking].go_live()

    def failed(self, stage: int) -> None:
        """`stage` has failed: the client must see what it said, whoever else is still running."""
        if stage >= self._speaking:
            self.stages[stage].go_live()
