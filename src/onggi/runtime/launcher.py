"""The process that has shims forked, and those who start containers and execs.

    python -I -m onggi.runtime.launcher STARTS EXECS --exec-root=DIRECTORY

(two sockets by number; the directory is not used: it tells whoever looks at a list of processes whose launcher and shims
these are)

It keeps a few processes waiting, forked by its zygote (zygote.py): starters, which read requests and live on; shims, each
with a child made ahead, of which every start takes one; and processes for execs, which live on too. The launcher itself
reads no request. So a start pays for no fork and no import, and what a request does to its reader it does to few others.

Rights: root's, all of them; a shim needs them for its container. Descriptors expected: the sockets, and stdio.
Invariants: (1) one thread, no event loop, no lock at the fork (S-21); (2) everything a start needs is imported before it;
(3) a shim with a container doesn't die with its launcher; all others end when the engine's socket does.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import time
from typing import Final, Never

from onggi.kernel import (
    cgroups,
    process,
    seccomp,  # noqa: F401 - of all processes that it forks (become.py)
)
from onggi.kernel.cgroups.cradle import sweep
from onggi.runtime import handover, protocol, warm, zygote
from onggi.runtime.handover import NoSpare, SpareReady
from onggi.runtime.lines import Line

OOM_SCORE: Final = -900
"""Shims go last when memory is short, after the engine (R-17); the container's own value is set in its init."""

_MOST: Final = 4
_ENDED: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL
_LAST_SPARE_S: Final = 2.0


def main() -> Never:
    """Have processes forked until the engine's end of the sockets is closed."""
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
    pool, offers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pool.setblocking(False)
    orders = {kind: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for kind in zygote.KINDS}
    process.set_name("onggi-shim")
    if os.fork() == 0:
        for ours, _ in orders.values():
            ours.close()
        os.close(ask)
        theirs = {kind: pair[1] for kind, pair in orders.items()}
        zygote.run(zygote.Sockets(starts, execs, offers, pool, theirs), asked)
    process.set_name("onggi-launcher")
    for _, theirs_alone in orders.values():
        theirs_alone.close()
    os.close(asked)
    most = min(_MOST, max(2, os.cpu_count() or 1))
    lines = {
        kind: Line(kind, ours, ask, idle=0 if kind == zygote.EXEC else 1, most=most)
        for kind, (ours, _) in orders.items()
    }
    try:
        _Launcher(starts, execs, pool, offers, lines).keep()
    except (BrokenPipeError, ConnectionResetError):
        # The zygote was killed.
        os._exit(1)


def _engine_socket(fd: int) -> socket.socket:
    engine = socket.socket(fileno=fd)
    engine.set_inheritable(False)
    # All starters wait for it, and one gets the request.
    engine.setblocking(False)
    return engine


class _Launcher:
    """The loop, and what one kind of process means for another."""

    def __init__(
        self,
        starts: socket.socket,
        execs: socket.socket,
        pool: socket.socket,
        offers: socket.socket,
        lines: dict[bytes, Line],
    ) -> None:
        self._engine = (starts, execs)
        self._pool, self._offers = pool, offers
        self._lines = list(lines.values())
        self._starters, self._shims, self._execs = lines[zygote.STARTER], lines[zygote.SHIM], lines[zygote.EXEC]
        self._leaving = 0
        """Shims that were dismissed, and have not gone yet."""

    def keep(self) -> Never:
        """Until the engine's ends are closed."""
        starts, execs = self._engine
        while True:
            self._answer_the_refused()
            self._fill()
            poll = select.poll()
            # A request that nobody waits for: there are no processes while there is no work.
            poll.register(starts, 0 if self._starters.slots else select.POLLIN)
            poll.register(execs, 0 if self._execs.slots else select.POLLIN)
            waits_s = [wait for line in self._lines for wait in line.watch(poll)]
            ready = dict(poll.poll(min(waits_s) * 1000 if waits_s else None))
            if any(ready.get(one.fileno(), 0) & _ENDED for one in self._engine):
                self._end()
            if any(line.orders.fileno() in ready for line in self._lines):
                # The zygote was killed. The engine starts a launcher anew, with a zygote of its own.
                os._exit(1)
            for engine, line in ((starts, self._starters), (execs, self._execs)):
                if engine.fileno() in ready:
                    line.work()
            self._notice(ready)

    def _fill(self) -> None:
        self._starters.fill(self._starters.wanted)
        self._starters.dismiss(self._starters.wanted)
        # One that hangs has a shim too, which nobody else can have.
        shims = self._starters.wanted + self._starters.hung
        self._shims.fill(shims)
        while len(self._shims.slots) - self._leaving > shims and self._dismiss_shim():
            self._leaving += 1
        self._execs.fill(self._execs.wanted)
        self._execs.dismiss(self._execs.wanted)

    def _dismiss_shim(self) -> int:
        """Its pid; 0 when none waits. Whoever takes a shim out of the pool has it: none is dismissed that a starter has."""
        try:
            received = protocol.receive(self._pool)
        except BlockingIOError:
            return 0
        if received is None:
            return 0
        protocol.close_all(received[1])
        told = handover.decode_spare(received[0])
        return told.shim if isinstance(told, SpareReady) else 0

    def _notice(self, ready: dict[int, int]) -> None:
        before = self._shims.cgroup_parent
        for line in (self._starters, self._execs):
            line.notice(ready)
        self._leaving = max(0, self._leaving - self._shims.notice(ready))
        if not cgroups.is_unified():
            self._shims.cgroup_parent = self._starters.cgroup_parent
            if before != self._shims.cgroup_parent:
                sweep(self._shims.cgroup_parent)

    def _answer_the_refused(self) -> None:
        """No process can be made now (EAGAIN, ENOMEM): who waits for one fails, instead of hanging."""
        starts, execs = self._engine
        if self._shims.refused and not self._shims.slots and len(self._starters.free) < len(self._starters.slots):
            protocol.send(self._offers, NoSpare(self._shims.refused))
        for line, engine in ((self._starters, starts), (self._execs, execs)):
            if line.refused and not line.free:
                _answer_without_fork(engine, line.refused)

    def _end(self) -> Never:
        """The engine has closed its end, which all see too: gone when they are, with what they had made."""
        deadline = time.monotonic() + _LAST_SPARE_S
        poll = select.poll()
        # A shim that was ordered just now has yet to offer itself.
        poll.register(self._pool, select.POLLIN)
        waiting_for = set()
        for line in self._lines:
            for slot in line.slots:
                poll.register(slot.fd, 0)
                waiting_for.add(slot.fd)
        while True:
            while shim := self._dismiss_shim():
                with contextlib.suppress(ProcessLookupError):
                    pidfd = os.pidfd_open(shim)
                    poll.register(pidfd, select.POLLIN)
                    waiting_for.add(pidfd)
            if not waiting_for:
                os._exit(0)
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                os._exit(0)
            for fd, _ in ready:
                if fd != self._pool.fileno():
                    poll.unregister(fd)
                    waiting_for.discard(fd)


def _answer_without_fork(engine: socket.socket, number: int) -> None:
    try:
        received = protocol.receive(engine)
    except BlockingIOError:
        return
    if received is None:
        os._exit(0)
    _, fds = received
    control = socket.socket(fileno=fds.pop(0))
    with contextlib.suppress(OSError):
        protocol.send(control, protocol.Failed("fork shim", number, f"fork shim: {os.strerror(number)}"))
    control.close()
    protocol.close_all(fds)


if __name__ == "__main__":
    main()
