"""The process that all shims are forked from: it does nothing else, so that they share what they don't write.

A page that a parent writes between two forks is a page of its own for each child forked before. The launcher's keeping of
accounts would cost every shim 0.4 MB that way; this loop touches a handful of pages.

Rights and descriptors are the launcher's.
Invariants: (1) one thread, no event loop, no lock at any fork (S-21); (2) forked processes leave by _exit (S-22); (3) it
ends with its launcher, its children don't.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import traceback
from typing import Final, Never

from onggi.kernel.faults import point
from onggi.runtime import execs, handover, protocol, shim, starter

FORK_FAILED: Final = b"\0"
"""Begins what is written to a slot whose spare could not be forked; the errno follows in decimal."""

_DEFAULT: Final = int(signal.SIG_DFL)
_CHILD: Final = int(signal.SIGCHLD)
# The function that signal.signal wraps: members of enums are made of pages (protocol.py).
_set_signal: Final = getattr(signal.signal, "__wrapped__", signal.signal)


def run(engine: socket.socket, orders: socket.socket, ask: int) -> Never:
    """Fork one spare for each byte in `ask`; it finds its order in `orders`."""
    while os.read(ask, 1):
        try:
            point("launcher.fork.before")
            pid = os.fork()
        except OSError as error:
            _refuse(orders, error.errno or errno.EAGAIN)
            continue
        if pid == 0:
            os.close(ask)
            _spare(engine, orders)
        point("launcher.fork.after")
    os._exit(0)


def _refuse(orders: socket.socket, number: int) -> None:
    received = protocol.receive(orders)
    if received is not None:
        with contextlib.suppress(OSError):
            os.write(received[1][0], FORK_FAILED + b"%d" % number)
        protocol.close_all(received[1])


def _spare(engine: socket.socket, orders: socket.socket) -> Never:
    """Fork a starter, wait for what it has started, supervise that."""
    try:
        _set_signal(_CHILD, _DEFAULT)
        os.setsid()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        me = os.getpid()
        try:
            worker = os.fork()
        except OSError as error:
            _refuse(orders, error.errno or errno.EAGAIN)
            os._exit(1)
        if worker == 0:
            starter.run(engine, orders, theirs, me)
        theirs.close()
        engine.close()
        orders.close()
        received = protocol.receive(ours)
        if received is not None:
            _supervise(handover.decode(received[0]), received[1], worker)
        os._exit(0)
    except BaseException:  # noqa: BLE001 - nothing of a forked process may run on in the zygote's frames (S-22)
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        os._exit(1)


def _supervise(task: handover.Handover, fds: list[int], worker: int) -> None:
    silence = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    # Held open by each shim, the engine's stderr would never end for whoever reads it.
    os.dup2(silence, 2)
    os.close(silence)
    if isinstance(task, handover.ExecHandover):
        execs.supervise(task.pid, socket.socket(fileno=fds[0]))
        return
    point("shim.running")
    subject = shim.Shim(task, fds)
    # Not waited for here: it is in the container's cgroup, and whoever pauses that stops it too.
    subject.helpers = {worker, task.unused} - {0}
    subject.supervise()
