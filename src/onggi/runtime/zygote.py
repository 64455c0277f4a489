"""The process that shims, starters and execs are forked from: it does nothing else, so that they share what they don't write.

A page that a parent writes between two forks is a page of its own for each child forked before. The launcher's keeping of
accounts would cost every shim 0.4 MB that way; this loop touches a handful of pages.

Rights and descriptors are the launcher's.
Invariants: (1) one thread, no event loop, no lock at any fork (S-21); (2) forked processes leave by _exit (S-22); (3) it
ends with its launcher, its children don't.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import socket
import traceback
from dataclasses import dataclass
from typing import Final, Never

from onggi.kernel.clone import bare_fork
from onggi.kernel.faults import point
from onggi.runtime import execs, handover, spare, starter, waiting

# Of what `socket` wraps (doze.py).
_close: Final = _socket.socket.close

FORK_FAILED: Final = b"\0"
"""Begins what is written to a slot whose process could not be forked; the errno follows in decimal."""

SHIM: Final = b"s"
STARTER: Final = b"w"
EXEC: Final = b"x"
"""What is asked for."""

KINDS: Final = (STARTER, SHIM, EXEC)


@dataclass(frozen=True, slots=True)
class Sockets:
    """All that a forked process may need; it closes the rest."""

    starts: socket.socket
    """The engine's requests for containers, and for execs."""
    execs: socket.socket
    offers: socket.socket
    """Where a shim offers itself, and where starters find it."""
    pool: socket.socket
    orders: dict[bytes, socket.socket]
    """Where a process of each kind finds its order."""


def run(sockets: Sockets, ask: int) -> Never:
    """Fork a process for each byte in `ask`."""
    while kind := os.read(ask, 1):
        try:
            point("launcher.fork.before")
            pid = bare_fork()
        except OSError as error:
            _refuse(sockets.orders[kind], error.errno or errno.EAGAIN)
            continue
        if pid == 0:
            os.close(ask)
            _become(kind, sockets)
        point("launcher.fork.after")
    os._exit(0)


def _become(kind: bytes, sockets: Sockets) -> Never:
    try:
        waiting.leave_zygote()
        orders = sockets.orders[kind]
        if kind == SHIM:
            _keep(sockets, orders, sockets.offers)
            spare.run(orders, sockets.offers)
        elif kind == STARTER:
            _keep(sockets, orders, sockets.starts, sockets.pool)
            starter.run(sockets.starts, sockets.pool, orders)
        else:
            _keep(sockets, orders, sockets.execs)
            execs.run(sockets.execs, orders)
    except BaseException:  # noqa: BLE001 - nothing of a forked process may run on in the zygote's frames (S-22)
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        os._exit(1)


def _keep(sockets: Sockets, *kept: socket.socket) -> None:
    everything = (sockets.starts, sockets.execs, sockets.offers, sockets.pool, *sockets.orders.values())
    for one in everything:
        if one not in kept:
            _close(one)


def _refuse(orders: socket.socket, number: int) -> None:
    _, slot = handover.read_order(orders)
    with contextlib.suppress(OSError):
        os.write(slot, FORK_FAILED + b"%d" % number)
    os.close(slot)
