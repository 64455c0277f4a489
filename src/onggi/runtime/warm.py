"""Goes a shim's daily way once, in the launcher, over pipes that nobody uses.

What CPython writes at first use (method caches, specialised bytecode, counters) is then written before the forks and is
shared by all shims: private memory of an idle one falls from 1.3 MB to 0.9.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import Final

from onggi.runtime import doze, handover, protocol, shim, spare
from onggi.runtime.handover import Handover
from onggi.runtime.protocol import AttachPlan, Hello, LogPlan, Resize, ShimState

_ROUNDS: Final = 12
"""CPython 3.11 specialises a function at its eighth call or loop."""


def warm_up() -> None:
    """Leaves nothing open and nothing on disk."""
    state = ShimState("", os.getpid(), 0, 0, 0, "")
    plan = Handover(
        directory="",
        state=state,
        log=LogPlan(path="/dev/null"),
        tty=False,
        has_input=False,
        stdin_once=False,
        attach=[AttachPlan(patience_s=1)],
        dns=0,
    )
    for _ in range(_ROUNDS):
        _wait_for_work()
        starter, shims_end = _pair(socket.SOCK_SEQPACKET)
        engine, engines_end = _pair(socket.SOCK_SEQPACKET)
        client, clients_end = _pair(socket.SOCK_STREAM)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        out, stdout = os.pipe2(os.O_CLOEXEC)
        err, stderr = os.pipe2(os.O_CLOEXEC)
        directory = os.open("/", os.O_DIRECTORY | os.O_CLOEXEC)
        pidfd = os.pidfd_open(os.getpid())
        rights = [engines_end.fileno(), directory, listener.fileno(), pidfd, out, err, clients_end.fileno()]
        protocol.send(starter, plan, rights)
        received = protocol.receive(shims_end)
        if received is not None:
            payload, fds = received
            _live(shim.Shim(handover.decode(payload), fds), engine, (stdout, stderr))
        for sock in (starter, shims_end, engine, engines_end, client, clients_end, listener):
            sock.close()
        protocol.close_all([out, stdout, err, stderr, directory, pidfd])


def _wait_for_work() -> None:
    """What a shim does before it has a container (spare.py), with a child that is gone at once."""
    pool, offers = _pair(socket.SOCK_SEQPACKET)
    orders, theirs = _pair(socket.SOCK_SEQPACKET)
    handover.send_order(orders, "", pool.fileno())
    _, slot = handover.read_order(theirs)
    child, starter, alarm = spare.offer(offers, slot, "")
    os.kill(child, signal.SIGKILL)  # the launcher ignores SIGCHLD: nothing is to be reaped
    taken = protocol.receive(pool)
    if taken is not None:
        doze.set_alarm(taken[1][1], {taken[1][0]: doze.AT_ONCE})
        alarm.sleep()
        protocol.close_all(taken[1])
    for sock in (pool, orders, theirs, starter):
        sock.close()


def _live(subject: shim.Shim, engine: socket.socket, outputs: tuple[int, int]) -> None:
    for fd in outputs:
        os.write(fd, b"a line\nand the beginning of another")
    protocol.send(engine, Hello())
    protocol.send(engine, Resize(1, 24, 80))
    for _ in range(3):
        subject.step(timeout_ms=0)
    for client in subject.clients:
        client.end(time.monotonic())
    subject.abandon()


def _pair(kind: int) -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, kind)
