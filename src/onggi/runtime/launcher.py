"""The process that forks a shim for each container and each exec.

    python -I -m onggi.runtime.launcher STARTS EXECS --exec-root=DIRECTORY

(two sockets by number; the directory is not used: it tells whoever looks at a list of processes whose launcher and shims
these are)

It keeps a few spares, forked by its zygote (zygote.py): shims, each with its starter, which waits for the next start, and
processes that wait for the next exec. The launcher itself reads no request. So a start pays for no fork and no import,
and what a request does to its reader it does to one container.

Rights: root's, all of them; a shim needs them for its container. Descriptors expected: the sockets, and stdio.
Invariants: (1) one thread, no event loop, no lock at the fork (S-21); (2) everything a start needs is imported before it;
(3) a starter dies with its shim; a shim doesn't with its launcher: a spare ends when the engine's socket does.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Never

from onggi.kernel import cgroups, process
from onggi.kernel.cgroups.cradle import sweep
from onggi.runtime import protocol, warm, zygote
from onggi.runtime.handover import SpareOrder

OOM_SCORE: Final = -900
"""Shims go last when memory is short, after the engine (R-17); the container's own value is set in its init."""

_RETRY_S: Final = 0.05
_MOST_SPARES: Final = 4
_IDLE_S: Final = 30.0
"""After this long without a start one spare is kept, and without an exec none: they are 8 and 5 MB each."""

_ENDED: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL
_PATIENCE_S: Final = 0.25
_LAST_SPARE_S: Final = 2.0


def main() -> Never:
    """Fork spares until the engine's end of the sockets is closed."""
    starts, execs = (_engine_socket(int(number)) for number in sys.argv[1:3])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # The terminal's signals are the engine's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with contextlib.suppress(PermissionError):
        process.set_oom_score_adj(OOM_SCORE)
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError("the launcher has more than one thread")
    gc.disable()
    warm.warm_up()
    gc.collect()
    # Shims share these pages as long as nobody writes to them.
    gc.freeze()
    asked, ask = os.pipe2(os.O_CLOEXEC)
    start_orders, start_line = _line(starts)
    exec_orders, exec_line = _line(execs)
    process.set_name("onggi-shim")
    if os.fork() == 0:
        start_orders.close()
        exec_orders.close()
        os.close(ask)
        zygote.run(start_line, exec_line, asked)
    process.set_name("onggi-launcher")
    start_line.orders.close()
    exec_line.orders.close()
    os.close(asked)
    try:
        _keep(
            _Spares(starts, start_orders, ask, zygote.START, idle=1),
            _Spares(execs, exec_orders, ask, zygote.EXEC, idle=0),
        )
    except (BrokenPipeError, ConnectionResetError):
        # The zygote was killed.
        os._exit(1)


def _engine_socket(fd: int) -> socket.socket:
    engine = socket.socket(fileno=fd)
    engine.set_inheritable(False)
    # All spares wait for it, and one gets the request.
    engine.setblocking(False)
    return engine


def _line(engine: socket.socket) -> tuple[socket.socket, zygote.Line]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return ours, zygote.Line(engine, theirs)


def _keep(*lines: _Spares) -> Never:
    """Until the engine's ends are closed."""
    while True:
        for line in lines:
            line.fill()
        poll = select.poll()
        waits_s = [wait for line in lines for wait in line.watch(poll)]
        ready = dict(poll.poll(min(waits_s) * 1000 if waits_s else None))
        if any(ready.get(line.engine.fileno(), 0) & _ENDED for line in lines):
            _end([slot.fd for line in lines for slot in line.slots])
        if any(line.orders.fileno() in ready for line in lines):
            # The zygote was killed. The engine starts a launcher anew, with a zygote of its own.
            os._exit(1)
        for line in lines:
            line.notice(ready)


@dataclass(slots=True)
class _Slot:
    """A spare, from our side: `fd` says when it has a request (and for which cgroup parent) and when it is done."""

    fd: int
    taken_at: float | None = None


class _Spares:
    """Keeps a few spares of one kind waiting, `idle` of them when nothing has been asked for a while.

    A new one is forked when a start is done, not beside it: it would take its CPU.
    """

    def __init__(self, engine: socket.socket, orders: socket.socket, ask: int, kind: bytes, *, idle: int) -> None:
        self.engine, self.orders = engine, orders
        self.slots: list[_Slot] = []
        self._ask, self._kind, self._idle = ask, kind, idle
        self._refused: OSError | None = None
        self._cgroup_parent = ""
        self._most = min(_MOST_SPARES, max(2, os.cpu_count() or 1))
        self._last_taken: float | None = None

    def fill(self) -> None:
        """Order as many as are wanted, or dismiss those that are not any more: few are enough while nothing is started."""
        if self._refused is not None and not self._free():
            _answer_without_fork(self.engine, self._refused)
        self._refused = None
        wanted = self._idle if self._idle_in() is None else self._most
        while sum(self._counts(slot) for slot in self.slots) < wanted:
            self.slots.append(_Slot(self._order()))
        for slot in self._free()[wanted:]:
            # Its starter sees the end of the pipe.
            os.close(slot.fd)
            self.slots.remove(slot)

    def _free(self) -> list[_Slot]:
        return [slot for slot in self.slots if slot.taken_at is None]

    def _idle_in(self) -> float | None:
        """Seconds until nothing has been started for a while; None when that is so."""
        if self._last_taken is None:
            return None
        left = self._last_taken + _IDLE_S - time.monotonic()
        return left if left > 0 else None

    @staticmethod
    def _counts(slot: _Slot) -> bool:
        # One that takes long (a hanging file system) gets a substitute, or such ones would hold up all others.
        return slot.taken_at is None or time.monotonic() - slot.taken_at < _PATIENCE_S

    def _order(self) -> int:
        """Have one forked; returns its slot."""
        ours, slot = os.pipe2(os.O_CLOEXEC)
        try:
            protocol.send(self.orders, SpareOrder(self._cgroup_parent), [slot])
            os.write(self._ask, self._kind)
        finally:
            os.close(slot)
        return ours

    def watch(self, poll: select.poll) -> Iterator[float]:
        """Register what says that something has changed; yields the times, in seconds from now, when something will."""
        # A request that no spare waits for: there are none while nothing is asked.
        poll.register(self.engine, 0 if self.slots else select.POLLIN)
        poll.register(self.orders, 0)
        for slot in self.slots:
            poll.register(slot.fd, select.POLLIN)
            if slot.taken_at is not None and self._counts(slot):
                yield max(0.0, slot.taken_at + _PATIENCE_S - time.monotonic()) + 0.001
        idle_s = self._idle_in()
        if idle_s is not None:
            yield idle_s + 0.001

    def notice(self, ready: dict[int, int]) -> None:
        """What the descriptors that were watched say."""
        if self.engine.fileno() in ready:
            self._last_taken = time.monotonic()
        for slot in [slot for slot in self.slots if slot.fd in ready]:
            told = os.read(slot.fd, 4096)
            if told.startswith(zygote.FORK_FAILED):
                number = int(told.removeprefix(zygote.FORK_FAILED))
                self._refused = OSError(number, f"fork shim: {os.strerror(number)}")
                slot.taken_at = 0.0
            elif told:
                slot.taken_at = self._last_taken = time.monotonic()
                self._learn(told.decode())
            else:
                os.close(slot.fd)
                self.slots.remove(slot)

    def _learn(self, cgroup_parent: str) -> None:
        """Where the next container will belong, most likely where this one does."""
        if self._kind == zygote.START and cgroup_parent != self._cgroup_parent:
            self._cgroup_parent = cgroup_parent
            if not cgroups.is_unified():
                sweep(cgroup_parent)


def _end(slots: list[int]) -> Never:
    """The engine has closed its end, which every spare sees too: gone when they are, with what they had made."""
    deadline = time.monotonic() + _LAST_SPARE_S
    poll = select.poll()
    for fd in slots:
        poll.register(fd, 0)
    left = len(slots)
    while left and (ready := poll.poll(max(0.0, deadline - time.monotonic()) * 1000)):
        for fd, _ in ready:
            poll.unregister(fd)
            left -= 1
    os._exit(0)


def _answer_without_fork(engine: socket.socket, error: OSError) -> None:
    """No process can be made now (EAGAIN, ENOMEM): the request that waits fails, instead of hanging."""
    poll = select.poll()
    poll.register(engine, select.POLLIN)
    if not poll.poll(_RETRY_S * 1000):
        return
    try:
        received = protocol.receive(engine)
    except BlockingIOError:
        return
    if received is None:
        os._exit(0)
    _, fds = received
    control = socket.socket(fileno=fds.pop(0))
    number = error.errno or errno.EAGAIN
    with contextlib.suppress(OSError):
        protocol.send(control, protocol.Failed("fork shim", number, f"fork shim: {os.strerror(number)}"))
    control.close()
    protocol.close_all(fds)


if __name__ == "__main__":
    main()
