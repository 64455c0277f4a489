"""A shim before it has a container: it makes a child ahead of time, offers itself, and waits for what becomes of both.

It touches few pages, since what it writes stays with it for as long as its container runs: sockets are those below
`socket`'s, whose enums are made of pages, and the call that makes the child is prepared before any fork.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Final, Never

from onggi.errors import RuntimeStepError
from onggi.kernel.cgroups.cradle import Cradle
from onggi.kernel.clone import Clone, bare_fork
from onggi.kernel.faults import point
from onggi.runtime import ahead, doze, handover, protocol, shim, starting, waiting
from onggi.runtime.doze import Alarm
from onggi.runtime.handover import Errand, Handover, SpareReady
from onggi.runtime.steps import ChildLink

_KILL: Final = int(signal.SIGKILL)
# Of what `socket` wraps (doze.py).
_close: Final = _socket.socket.close
_clone: Final = Clone(ahead.MADE)

Received = tuple[bytes, list[int]]


def run(orders: socket.socket, pool: socket.socket) -> Never:
    """Find the order, offer itself in `pool`, become the shim of what is started. Ends when nobody has a use for it.

    The order has a pipe to the launcher, which sees its end when this spare is one no more.
    """
    parent, slot = handover.read_order(orders)
    _close(orders)
    child, starter, alarm = offer(pool, slot, parent)
    waiting.be_silent()
    alarm.sleep()
    received = protocol.receive(starter)
    task = handover.decode(received[0]) if received is not None else None
    if not isinstance(task, Handover):
        _end_child(child, parent)
    worker = 0
    if received is not None and isinstance(task, Errand):
        received, worker = _send_out(task, received[1], starter)
        task = handover.decode(received[0]) if received is not None else None
    starter.close()
    if received is not None and isinstance(task, Handover):
        _supervise(task, received[1], worker)
    os._exit(0)


def offer(pool: socket.socket, slot: int, cgroup_parent: str) -> tuple[int, _socket.socket, Alarm]:
    """Make a child, and say so in `pool`. Returns its pid, the end at which the starter that takes us will speak, the alarm.

    `slot` and `pool` are closed here.
    """
    ours, theirs = doze.pair()
    link, childs_end = doze.pair()
    alarm = Alarm(ours)
    me = os.getpid()
    fds = [theirs.fileno(), alarm.fileno(), slot]
    try:
        child = _clone()
    except OSError:
        # A limit is reached (namespaces, processes): the start will say so, if it is still true then.
        child = 0
    else:
        if child == 0:
            link.close()
            ahead.live(_entrance(cgroup_parent, me), ChildLink(childs_end))
        fds += [link.fileno(), _clone.pidfd]
    try:
        protocol.send(pool, SpareReady(me, child, cgroup_parent), fds)
    except OSError:
        # Launcher and starters are gone.
        _end_child(child, cgroup_parent)
        os._exit(0)
    _close(pool)
    for end in (theirs, childs_end, link):
        # The link ends with the starter's copy: a child that waits sees it then.
        end.close()
    os.close(slot)
    if child:
        os.close(_clone.pidfd)
    return child, ours, alarm


def _entrance(cgroup_parent: str, owner: int) -> Callable[[], None] | None:
    return partial(Cradle(cgroup_parent, owner).enter, starting.RULES) if cgroup_parent else None


def _end_child(child: int, cgroup_parent: str) -> None:
    if child:
        os.kill(child, _KILL)  # not reaped yet: the number is still its own
        os.waitpid(child, 0)
    if cgroup_parent:
        with contextlib.suppress(OSError):
            Cradle(cgroup_parent, os.getpid()).remove()


def _send_out(errand: Errand, fds: list[int], starter: _socket.socket) -> tuple[Received | None, int]:
    """Have a process of our own carry the request out; returns what it hands over, and its pid.

    It makes the container's process with CLONE_PARENT: we are its parent, and what the start has touched goes with the worker.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    me = os.getpid()
    try:
        worker = bare_fork()
    except OSError as error:
        with contextlib.suppress(OSError):
            protocol.send(socket.socket(fileno=fds[0]), waiting.failure(error))
        os._exit(1)
    if worker == 0:
        starter.close()
        ours.close()
        _carry_out(errand, fds, theirs, me)
    theirs.close()
    protocol.close_all(fds)
    received = protocol.receive(ours)
    ours.close()
    return received, worker


def _carry_out(errand: Errand, fds: list[int], out: socket.socket, parent: int) -> Never:
    control = socket.socket(fileno=fds[0])
    try:
        starting.start(errand.request, control, fds[1:], out, parent)
    except (RuntimeStepError, OSError) as error:
        with contextlib.suppress(OSError):
            protocol.send(control, waiting.failure(error))
    os._exit(0)


def _supervise(task: Handover, fds: list[int], worker: int) -> None:
    point("shim.running")
    subject = shim.Shim(task, fds)
    # Not waited for here: the container's output begins now.
    subject.worker = worker
    subject.supervise()
