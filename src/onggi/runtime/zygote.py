"""The process that all shims are forked from: it does nothing else, so that they share what they don't write.

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
from onggi.runtime import execs as exec_
from onggi.runtime import handover, protocol, shim, starter, waiting
from onggi.runtime.doze import Alarm, pair, whole

# Of what `socket` wraps (doze.py).
_close: Final = _socket.socket.close

FORK_FAILED: Final = b"\0"
"""Begins what is written to a slot whose spare could not be forked; the errno follows in decimal."""

START: Final = b"s"
EXEC: Final = b"x"
"""What is asked for: a spare for a container, or for an exec."""


@dataclass(frozen=True, slots=True)
class Line:
    """Spares of one kind wait at `requests` (the engine's) and find their orders in `orders` (the launcher's)."""

    requests: socket.socket
    orders: socket.socket


def run(starts: Line, execs: Line, ask: int) -> Never:
    """Fork one spare for each byte in `ask`."""
    while asked := os.read(ask, 1):
        try:
            point("launcher.fork.before")
            pid = bare_fork()
        except OSError as error:
            _refuse((starts if asked == START else execs).orders, error.errno or errno.EAGAIN)
            continue
        if pid == 0:
            os.close(ask)
            _become_spare(starts, execs, asked)
        point("launcher.fork.after")
    os._exit(0)


def _become_spare(starts: Line, execs: Line, asked: bytes) -> Never:
    try:
        waiting.leave_zygote()
        mine, other = (starts, execs) if asked == START else (execs, starts)
        _close(other.requests)
        _close(other.orders)
        if asked == START:
            _wait_as_shim(mine)
        else:
            exec_.run(mine.requests, mine.orders)
    except BaseException:  # noqa: BLE001 - nothing of a forked process may run on in the zygote's frames (S-22)
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        os._exit(1)


def _refuse(orders: socket.socket, number: int) -> None:
    received = protocol.receive(orders)
    if received is not None:
        with contextlib.suppress(OSError):
            os.write(received[1][0], FORK_FAILED + b"%d" % number)
        protocol.close_all(received[1])


def _wait_as_shim(line: Line) -> Never:
    """Fork a starter, wait for what it has started, supervise that."""
    ours, theirs = pair()
    me = os.getpid()
    alarm = Alarm(ours)
    try:
        worker = bare_fork()
    except OSError as error:
        _refuse(line.orders, error.errno or errno.EAGAIN)
        os._exit(1)
    if worker == 0:
        starter.run(line.requests, line.orders, whole(theirs), me, alarm)
    theirs.close()
    _close(line.requests)
    _close(line.orders)
    waiting.be_silent()
    ended = alarm.sleep(worker)
    received = protocol.receive(whole(ours))
    if received is not None:
        _supervise(handover.decode(received[0]), received[1], 0 if ended else worker)
    os._exit(0)


def _supervise(task: handover.Handover, fds: list[int], worker: int) -> None:
    point("shim.running")
    subject = shim.Shim(task, fds)
    # Not waited for here: the container's output begins now.
    subject.helpers = {worker, task.unused} - {0}
    subject.supervise()
