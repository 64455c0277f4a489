"""What a starter hands to its shim: a running container, and the descriptors that go with it.

Both are forks of one launcher, so this is not part of the protocol that must be understood by other versions.
"""

from __future__ import annotations

from typing import Final

import msgspec

from onggi.runtime.protocol import AttachPlan, LogPlan, ShimState, Started


class Handover(msgspec.Struct, frozen=True):
    """Descriptors, in this order: the engine's socket, the shim's directory, its listener, pidfd of init, console or
    stdin (if `has_input`) and stdout and stderr, `attach` sockets, the log server's (if `log_connected`), `dns` sockets,
    the one that tells of kills for memory (if `watches_memory`), and the ones that are only held.

    `unused` is a child that was made ahead and could not be used, to be reaped; 0 for none.
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
    unused: int = 0
    log_connected: bool = False


class SpareOrder(msgspec.Struct, frozen=True):
    """Launcher to spare. Descriptor: its slot, a pipe."""

    cgroup_parent: str


decode: Final = msgspec.msgpack.Decoder(Handover).decode
decode_order: Final = msgspec.msgpack.Decoder(SpareOrder).decode


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
