"""The process that forks a shim for each container and each exec.

    python -I -m onggi.runtime.launcher SOCKET --exec-root=DIRECTORY

(the directory is not used: it tells whoever looks at a list of processes whose launcher and shims these are)

One spare shim is always forked ahead, and it has forked its starter, which waits for the next request at the engine's
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
import traceback
from typing import Final, Never

from onggi.kernel import process
from onggi.kernel.faults import point
from onggi.runtime import execs, handover, protocol, shim, starter, warm

OOM_SCORE: Final = -900
"""Shims go last when memory is short, after the engine (R-17); the container's own value is set in its init."""

_RETRY_MS: Final = 50


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
    while True:
        try:
            taken = _fork_spare(engine)
        except OSError as error:
            _answer_without_fork(engine, error)
            continue
        _wait_until_taken(engine, taken)


def _fork_spare(engine: socket.socket) -> int:
    """Fork one; returns a descriptor that ends when it has its request, or has died."""
    point("launcher.fork.before")
    taken, held = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError:
        os.close(taken)
        os.close(held)
        raise
    if pid == 0:
        os.close(taken)
        _spare(engine, held)
    os.close(held)
    point("launcher.fork.after")
    return taken


def _wait_until_taken(engine: socket.socket, taken: int) -> None:
    poll = select.poll()
    poll.register(engine, 0)
    poll.register(taken, select.POLLIN)
    for fd, _ in poll.poll():
        if fd == engine.fileno():
            os._exit(0)
    os.close(taken)


def _answer_without_fork(engine: socket.socket, error: OSError) -> None:
    """No process can be made now (EAGAIN, ENOMEM): the request that waits fails, instead of hanging."""
    poll = select.poll()
    poll.register(engine, select.POLLIN)
    if not poll.poll(_RETRY_MS):
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


def _spare(engine: socket.socket, held: int) -> Never:
    """Fork a starter, wait for what it has started, supervise that."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        process.set_name("onggi-shim")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        me = os.getpid()
        worker = os.fork()
        if worker == 0:
            ours.close()
            starter.run(engine, theirs, held, me)
        theirs.close()
        engine.close()
        os.close(held)
        received = protocol.receive(ours)
        os.waitpid(worker, 0)
        if received is not None:
            ours.close()
            _supervise(*received)
        os._exit(0)
    except BaseException:  # noqa: BLE001 - nothing of a forked process may run on in the launcher's frames (S-22)
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        os._exit(1)


def _supervise(payload: bytes, fds: list[int]) -> None:
    silence = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    # Held open by each shim, the engine's stderr would never end for whoever reads it.
    os.dup2(silence, 2)
    os.close(silence)
    task = handover.decode(payload)
    if isinstance(task, handover.ExecHandover):
        execs.supervise(task.pid, socket.socket(fileno=fds[0]))
        return
    point("shim.running")
    shim.Shim(task, fds).supervise()


if __name__ == "__main__":
    main()
