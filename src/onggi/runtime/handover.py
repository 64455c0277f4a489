"""What launcher, starters and spare shims say to each other.

All are forks of one launcher, so this is not part of the protocol that must be understood by other versions.
"""

from __future__ import annotations

import _socket
import os
import socket
import struct
from typing import Final

import msgspec

from onggi.runtime.protocol import AttachPlan, LogPlan, ShimState, StartContainer, Started

_ONE_FD: Final = struct.Struct("=i")
_ORDER_BYTES: Final = 4096
_ORDER_SPACE: Final = socket.CMSG_SPACE(_ONE_FD.size)
_SOCKET_LEVEL: Final = int(socket.SOL_SOCKET)
_RIGHTS: Final = int(socket.SCM_RIGHTS)
_CLOSE_ON_EXEC: Final = int(socket.MSG_CMSG_CLOEXEC)


class Handover(msgspec.Struct, frozen=True, tag="container"):
    """Starter to shim: the container runs. Descriptors, in this order: the engine's socket, the shim's directory, its listener, pidfd of init, console or
    stdin (if `has_input`) and stdout and stderr, `attach` sockets, the log server's (if `log_connected`), `dns` sockets,
    the one that tells of kills for memory (if `watches_memory`), and the ones that are only held.

    """

    directory: str
    state: ShimState
    log: LogPlan
    tty: bool
    has_input: bool
    stdin_once: bool
    attach: list[AttachPlan]
    dns: int
    watches_memory: bool = False
    log_connected: bool = False


class Errand(msgspec.Struct, frozen=True, tag="errand"):
    """Starter to shim: its child can't be used for this one, it starts the container itself. Descriptors: the request's."""

    request: StartContainer


class SpareReady(msgspec.Struct, frozen=True, tag="ready"):
    """Shim to whichever starter reads it. Descriptors: the other end of its socket, its alarm, its slot; the link to its
    child and the child's pidfd.

    Without a child (`child` 0) there are only the first three. `cgroup_parent` is where the child's cradle is; "" for none.
    """

    shim: int
    child: int
    cgroup_parent: str


class NoSpare(msgspec.Struct, frozen=True, tag="none"):
    """Launcher to the starter that waits: no process can be made now."""

    errno: int


decode: Final = msgspec.msgpack.Decoder(Handover | Errand).decode
decode_spare: Final = msgspec.msgpack.Decoder(SpareReady | NoSpare).decode


def send_order(orders: _socket.socket, cgroup_parent: str, slot: int) -> None:
    """Launcher to whichever process of a kind reads it: its slot, and where the next container will belong ("" for unknown)."""
    rights = [(_SOCKET_LEVEL, _RIGHTS, _ONE_FD.pack(slot))]
    orders.sendmsg([cgroup_parent.encode() or b"/"], rights)


def read_order(orders: _socket.socket) -> tuple[str, int]:
    """What `send_order` sent; the process ends when there is nobody who sends.

    Not a message of the protocol: decoding one writes 0.1 MB of pages, which every shim would have for its own.
    """
    payload, rights, _, _ = orders.recvmsg(_ORDER_BYTES, _ORDER_SPACE, _CLOSE_ON_EXEC)
    if not rights:
        os._exit(0)
    return ("" if payload == b"/" else payload.decode()), _ONE_FD.unpack(rights[0][2])[0]


def started_report(state: ShimState, *, dns: int, pidfd: bool = True) -> Started:
    """What an engine is told of a container."""
    return Started(
        pid=state.pid,
        pid_start=state.pid_start,
        started_at_ns=state.started_at_ns,
        shim_pid=state.shim_pid,
        pidfd=pidfd,
        dns=dns,
    )
