"""The process that forks a shim for each container and each exec.

    python -I -m onggi.runtime.launcher SOCKET --exec-root=DIRECTORY

(the directory is not used: it tells whoever looks at a list of processes whose launcher and shims these are)

A few spare shims are always forked ahead, and each has forked its starter, which waits for the next request at the engine's
socket; the launcher itself reads none. So a start pays for no fork and no import, and what a request does to its reader
it does to one container.

Rights: root's, all of them; a shim needs them for its container. Descriptors expected: the socket, and stdio.
Invariants: (1) one thread, no event loop, no lock at any fork (S-21); (2) everything a start needs is imported before the
first fork; (3) a starter dies with its shim; a shim doesn't with its launcher: a spare ends when the engine's socket
does; (4) forked processes leave by _exit.
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
import traceback
from dataclasses import dataclass
from typing import Final, Never

from onggi.kernel import cgroups, process
from onggi.kernel.cgroups.cradle import remove_spare
from onggi.kernel.faults import point
from onggi.runtime import execs, handover, protocol, shim, starter, warm
from onggi.runtime.processes import reap_others

OOM_SCORE: Final = -900
"""Shims go last when memory is short, after the engine (R-17); the container's own value is set in its init."""

_RETRY_S: Final = 0.05
_MOST_SPARES: Final = 4
_PATIENCE_S: Final = 0.25
_LAST_SPARE_S: Final = 2.0


def main() -> Never:
    """Fork spares until the engine's end of the socket is closed."""
    engine = socket.socket(fileno=int(sys.argv[1]))
    engine.set_inheritable(False)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # The terminal's signals are the engine's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    process.set_name("onggi-launcher")
    with contextlib.suppress(PermissionError):
        process.set_oom_score_adj(OOM_SCORE)
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError("the launcher has more than one thread")
    gc.disable()
    warm.warm_up()
    gc.collect()
    # Shims share these pages as long as nobody writes to them.
    gc.freeze()
    _Spares(engine).keep()


@dataclass(slots=True)
class _Slot:
    """A spare, from our side: `fd` says when it has a request (and for which cgroup parent) and when it is done."""

    fd: int
    taken_at: float | None = None


class _Spares:
    """Keeps a few spares waiting. A new one is forked when a start is done, not beside it: it would take its CPU."""

    def __init__(self, engine: socket.socket) -> None:
        self._engine = engine
        self._slots: list[_Slot] = []
        self._cgroup_parent = ""
        self._wanted = min(_MOST_SPARES, max(2, os.cpu_count() or 1))

    def keep(self) -> Never:
        """Until the engine's end is closed."""
        while True:
            error = self._fill()
            if error is not None and all(slot.taken_at is not None for slot in self._slots):
                _answer_without_fork(self._engine, error)
            self._wait(None if error is None else _RETRY_S)

    def _fill(self) -> OSError | None:
        """Fork as many as are wanted; the error when that can't be done now."""
        try:
            while sum(self._counts(slot) for slot in self._slots) < self._wanted:
                self._slots.append(_Slot(self._fork()))
        except OSError as error:
            return error
        return None

    @staticmethod
    def _counts(slot: _Slot) -> bool:
        # One that takes long (a hanging file system) gets a substitute, or such ones would hold up all others.
        return slot.taken_at is None or time.monotonic() - slot.taken_at < _PATIENCE_S

    def _fork(self) -> int:
        """Fork one; returns its slot. What can be done for the child is done here: a page it doesn't write is shared."""
        point("launcher.fork.before")
        ours, slot = os.pipe2(os.O_CLOEXEC)
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process.set_name("onggi-shim")
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            pid = os.fork()
            if pid == 0:
                _spare(self._engine, slot, ends, [ours, *(slot.fd for slot in self._slots)], self._cgroup_parent)
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(slot)
            for end in ends:
                end.close()
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            process.set_name("onggi-launcher")
        _reap()
        point("launcher.fork.after")
        return ours

    def _wait(self, most_s: float | None) -> None:
        """Until a slot changes, a busy one has taken too long, or `most_s` is over."""
        poll = select.poll()
        poll.register(self._engine, 0)
        for slot in self._slots:
            poll.register(slot.fd, select.POLLIN)
        waits = [
            max(0.0, slot.taken_at + _PATIENCE_S - time.monotonic()) + 0.001
            for slot in self._slots
            if slot.taken_at is not None and self._counts(slot)
        ]
        if most_s is not None:
            waits.append(most_s)
        ready = {fd for fd, _ in poll.poll(min(waits) * 1000 if waits else None)}
        if self._engine.fileno() in ready:
            self._end()
        for slot in [slot for slot in self._slots if slot.fd in ready]:
            told = os.read(slot.fd, 4096)
            if told:
                slot.taken_at = time.monotonic()
                self._cgroup_parent = told.decode()
            else:
                os.close(slot.fd)
                self._slots.remove(slot)

    def _end(self) -> Never:
        """The engine has closed its end, which every spare sees too: gone when they are, with what they had made."""
        deadline = time.monotonic() + _LAST_SPARE_S
        poll = select.poll()
        for slot in self._slots:
            poll.register(slot.fd, 0)
        left = len(self._slots)
        while left and (ready := poll.poll(max(0.0, deadline - time.monotonic()) * 1000)):
            for fd, _ in ready:
                poll.unregister(fd)
                left -= 1
        os._exit(0)


def _reap() -> None:
    """Shims that ended while their signal was not ignored."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _answer_without_fork(engine: socket.socket, error: OSError) -> None:
    """No process can be made now (EAGAIN, ENOMEM): the request that waits fails, instead of hanging."""
    poll = select.poll()
    poll.register(engine, select.POLLIN)
    if not poll.poll(_RETRY_S * 1000):
        return
    received = protocol.receive(engine)
    if received is None:
        os._exit(0)
    _, fds = received
    control = socket.socket(fileno=fds.pop(0))
    number = error.errno or errno.EAGAIN
    with contextlib.suppress(OSError):
        protocol.send(control, protocol.Failed("fork shim", number, f"fork shim: {os.strerror(number)}"))
    control.close()
    protocol.close_all(fds)


def _spare(
    engine: socket.socket,
    slot: int,
    ends: tuple[socket.socket, socket.socket],
    others: list[int],
    cgroup_parent: str,
) -> Never:
    """Fork a starter, wait for what it has started, supervise that."""
    try:
        protocol.close_all(others)
        os.setsid()
        ours, theirs = ends
        me = os.getpid()
        worker = os.fork()
        if worker == 0:
            ours.close()
            starter.run(engine, theirs, slot, me, cgroup_parent)
        theirs.close()
        engine.close()
        received = protocol.receive(ours)
        os.waitpid(worker, 0)
        ours.close()
        task = None if received is None else handover.decode(received[0])
        if not isinstance(task, handover.ContainerHandover) and cgroup_parent and not cgroups.is_unified():
            with contextlib.suppress(OSError):
                remove_spare(cgroup_parent, worker)
        os.close(slot)
        if task is None:
            _reap()  # of a start that failed
        elif isinstance(task, handover.ExecHandover) and task.unused:
            os.waitpid(task.unused, 0)
        if task is not None and received is not None:
            _supervise(task, received[1])
        os._exit(0)
    except BaseException:  # noqa: BLE001 - nothing of a forked process may run on in the launcher's frames (S-22)
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        os._exit(1)


def _supervise(task: handover.Handover, fds: list[int]) -> None:
    silence = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    # Held open by each shim, the engine's stderr would never end for whoever reads it.
    os.dup2(silence, 2)
    os.close(silence)
    if isinstance(task, handover.ExecHandover):
        execs.supervise(task.pid, socket.socket(fileno=fds[0]))
        return
    # The child that its starter had made ahead, if it could not be used.
    reap_others(task.state.pid)
    point("shim.running")
    shim.Shim(task, fds).supervise()


if __name__ == "__main__":
    main()
