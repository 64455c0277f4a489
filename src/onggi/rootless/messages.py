"""What outside, inside and the engine say to each other: one message a packet on a SOCK_SEQPACKET socket. Pure but for I/O."""

from __future__ import annotations

import os
import socket
from typing import Final

import msgspec

_MOST: Final = 1 << 16


class Key(msgspec.Struct, frozen=True, array_like=True):
    """A port of the host's: `address` is the host's, 0.0.0.0 or :: for all."""

    protocol: str
    address: str
    port: int


class Target(msgspec.Struct, frozen=True, array_like=True):
    """Connections to the host's `key` go to the container's `address` and `port`."""

    key: Key
    address: str
    port: int


class Bind(msgspec.Struct, frozen=True, tag="bind"):
    """Engine → inside → outside: the answer has the bound socket."""

    key: Key


class Release(msgspec.Struct, frozen=True, tag="release"):
    """Engine → inside: what was bound isn't needed."""

    key: Key


class Change(msgspec.Struct, frozen=True, tag="change"):
    """Engine → inside: from now on. Connections under way stay."""

    remove: list[Key]
    add: list[Target]


class Keep(msgspec.Struct, frozen=True, tag="keep"):
    """Engine → inside, at its start: these and no others."""

    targets: list[Target]


class End(msgspec.Struct, frozen=True, tag="end"):
    """Engine → inside: nothing runs any more."""


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """0, or an errno."""

    errno: int = 0


Message = Bind | Release | Change | Keep | End | Answer
_decode: Final = msgspec.msgpack.Decoder(Message).decode


def send(sock: socket.socket, message: Message, fds: list[int] | None = None) -> None:
    socket.send_fds(sock, [msgspec.msgpack.encode(message)], fds or [])


def receive(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """None: the other end is closed."""
    data, fds, _, _ = socket.recv_fds(sock, _MOST, 1, socket.MSG_CMSG_CLOEXEC)
    if not data:
        for fd in fds:
            os.close(fd)
        return None
    return _decode(data), list(fds)
