"""The messages of docker's older builder, and a build that says nothing until it has failed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Aux(msgspec.Struct, frozen=True):
    """Where docker-py and the command line find the image's id."""

    id: str = msgspec.field(name="ID")


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object of the stream. Source: moby pkg/jsonmessage; docker-py reads `stream` and `aux`."""

    stream: str = ""
    aux: Aux | None = None


class Detail(msgspec.Struct, frozen=True, omit_defaults=True):
    current: int = 0
    total: int = 0


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a base image is."""

    status: str
    progress_detail: Detail | None = msgspec.field(default=None, name="progressDetail")
    id: str = ""


Output = Callable[[msgspec.Struct], None]
"""Takes a struct that encodes to one of docker's JSON messages."""


class HeldOutput:
    """Messages kept until somebody wants them."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._held: list[msgspec.Struct] = []

    def say(self, message: msgspec.Struct) -> None:
        self._held.append(message)

    def release(self) -> None:
        held, self._held = self._held, []
        for message in held:
            self._output(message)
