"""Starts containers, one after the other, each with a spare shim and the child that it has made ahead.

A starter lives on: all that a start needs in memory is there, written once and warm, and the container's process is
another one's child already. The next start waits for it only when all starters are busy (launcher.py).

Invariants: (1) it forks nothing: after a fork every page would be written at the price of a new one; (2) no descriptor of
a start outlives it; (3) a request that has been read is answered, or its control socket ends.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket
import time
from typing import Final, Never, Self

from onggi.errors import RuntimeStepError
from onggi.kernel.cgroups.cradle import Cradle
from onggi.kernel.faults import point
from onggi.kernel.fds import Fd
from onggi.runtime import ahead, doze, handover, inside, protocol, starting, waiting
from onggi.runtime.ahead import Ahead
from onggi.runtime.example import example_spec
from onggi.runtime.handover import Errand, NoSpare, SpareReady, started_report
from onggi.runtime.parent import Spawned
from onggi.runtime.plan import InitPlan, RootfsPlan
from onggi.runtime.processes import start_time
from onggi.runtime.protocol import ShimState, StartContainer
from onggi.runtime.rootfs import CgroupView
from onggi.runtime.steps import ParentLink

_SAMPLE: Final = protocol.encode(
    StartContainer("rehearsal", InitPlan(spec=example_spec(), rootfs=RootfsPlan(lower=["/"], upper="/", work="/")), "/")
)


def run(requests: socket.socket, pool: socket.socket, orders: socket.socket) -> Never:
    """Wait for requests at `requests`, and for spares in `pool`. Ends with the engine or the launcher, or when dismissed.

    The order has a pipe to the launcher, which is told what this one is at.
    """
    _, slot = handover.read_order(orders)
    orders.close()
    _rehearse()
    # What lives long collects its garbage; all that was there before the fork is frozen, and not looked at.
    gc.enable()
    while (received := waiting.next_request(requests, slot)) is not None:
        payload, fds = received
        try:
            _serve(payload, fds, pool, slot)
        finally:
            protocol.close_all(fds)
            waiting.say(slot, waiting.FREE)
    os._exit(0)


def _serve(payload: bytes, fds: list[int], pool: socket.socket, slot: int) -> None:
    """`fds` stay the caller's."""
    control = socket.socket(fileno=os.dup(fds[0]))
    with control:
        point("shim.request.read")
        if waiting.has_hung_up(control):
            return
        request = protocol.decode_launcher_request(payload)
        if not isinstance(request, StartContainer):
            raise TypeError(f"{type(request).__name__} among starts")
        waiting.say(slot, waiting.BUSY + os.path.dirname(request.cgroup_path).encode()[:4000])
        try:
            spare = _next_spare(pool, control)
            if spare is not None:
                with spare:
                    _start(request, control, fds, spare)
        except (RuntimeStepError, OSError) as error:
            with contextlib.suppress(OSError):
                protocol.send(control, waiting.failure(error))


def _start(request: StartContainer, control: socket.socket, fds: list[int], spare: Spare) -> None:
    if spare.made is not None and ahead.fits(request.plan) and spare.made.is_ready():
        shim = spare.ready.shim
        starting.start(request, control, fds[1:], spare.shim, shim, spare.made, spare.cradle, spare.alarm)
    else:
        protocol.send(spare.shim, Errand(request), fds)
        doze.set_alarm(spare.alarm, {control.fileno(): doze.AT_ONCE})


class Spare:
    """A shim that is ours now. It sees the end of its socket, and the launcher that of its slot, when we have done with it."""

    def __init__(self, ready: SpareReady, fds: list[int]) -> None:
        self.ready = ready
        self.shim = socket.socket(fileno=fds[0])
        self.alarm, self._slot = fds[1:3]
        self.made: Ahead | None = None
        if ready.child:
            link = ParentLink(socket.socket(fileno=fds[3]))
            self.made = Ahead(link, Spawned(ready.child, Fd(fds[4])))
        self.cradle = Cradle(ready.cgroup_parent, ready.shim) if ready.cgroup_parent else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shim.close()
        os.close(self.alarm)
        os.close(self._slot)
        if self.made is not None:
            self.made.link.close()
            self.made.spawned.pidfd.close()


def _next_spare(pool: socket.socket, control: socket.socket) -> Spare | None:
    """Waits until there is one. None: nobody wants the start any more. Raises OSError when no process can be made."""
    poll = select.poll()
    poll.register(pool, select.POLLIN)
    poll.register(control, 0)
    while True:
        try:
            received = protocol.receive(pool)
        except BlockingIOError:
            if any(fd == control.fileno() for fd, _ in poll.poll()):
                return None
            continue
        if received is None:
            os._exit(0)  # launcher and zygote are gone
        told = handover.decode_spare(received[0])
        if isinstance(told, NoSpare):
            raise OSError(told.errno, f"fork shim: {os.strerror(told.errno)}")
        spare = Spare(told, received[1])
        if not waiting.has_hung_up(spare.shim):
            return spare
        with spare:  # killed while it waited
            pass


def _rehearse() -> None:
    """Everything of a start that has no effect, while nobody waits.

    After a fork each page costs a fault when it is first written (a reference count is enough), 2 µs on a virtual machine.
    """
    request = protocol.decode_launcher_request(_SAMPLE)
    if isinstance(request, StartContainer):
        stdio, ours = starting.pipes(request)
        inside.Start(request.plan, stdio, CgroupView({}, unified=False), tty=False, exec_fifo=None, supervised=True)
        first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        state = ShimState("", os.getpid(), start_time(os.getpid()), time.time_ns(), 0, "")
        protocol.send(first, started_report(state, dns=0), ours)
        received = protocol.receive(second)
        protocol.close_all([*stdio, *ours, *(received[1] if received is not None else ())])
        first.close()
        second.close()
