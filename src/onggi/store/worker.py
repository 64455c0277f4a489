"""The process that does heavy file work: one forked child for each job.

    python -I -m onggi.store.worker FD

FD is a SOCK_SEQPACKET socket from the engine (workers.py). Each message is a `Request` with descriptors: the first is a
stream socket for the answer, the others are the job's. The child is single-threaded at its birth, has nothing of the engine's
memory or descriptors, and can be killed at any moment; the engine's loop never shares its interpreter lock with a tar.

Rights: root, as files of any owner are made; no network, no terminal. Ends when the engine's socket does; its children are
killed with it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final

import msgspec

from onggi.errors import OnggiError
from onggi.kernel.process import set_pdeathsig

Report = Callable[[int], None]
"""Tells how far a job is; what the number counts is the job's affair."""

Job = Callable[[bytes, list[int], Report], bytes]

FRAME: Final = struct.Struct("!cI")
"""Before each answer: its kind and length. P: the child runs, its pidfd is beside it. N: progress. R: result. E: error."""

MESSAGE_LIMIT: Final = 128 * 1024
DESCRIPTOR_LIMIT: Final = 128

PRELOADED: Final = ("onggi.store.jobs",)


class Request(msgspec.Struct, frozen=True):
    """`job` is `module:function` of ours."""

    job: str
    args: bytes


class Failure(msgspec.Struct, frozen=True):
    """An OnggiError by its class, or an OSError by its number."""

    kind: str
    message: str
    errno: int = 0


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_pdeathsig(signal.SIGKILL)
    os.umask(0)
    # Walks hold a descriptor for each level.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for module in PRELOADED:
        importlib.import_module(module)
    # What is loaded by now never goes away: children need not touch (and so copy) its pages.
    gc.collect()
    gc.freeze()
    serve(control)


def serve(control: socket.socket) -> None:
    """Forks a child for each request until the engine closes its end."""
    while True:
        try:
            data, fds, _, _ = socket.recv_fds(control, MESSAGE_LIMIT, DESCRIPTOR_LIMIT, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return
        if not data:
            return
        _load(data)
        pid = os.fork()
        if pid == 0:
            control.close()
            _child(data, fds)
        # Before the engine hears of the child: once that is killed, nobody may hold the job's descriptors.
        for fd in fds[1:]:
            os.close(fd)
        _announce(pid, fds[0])
        os.close(fds[0])


def _load(data: bytes) -> None:
    """Imports a job's module here, the first time: a child that did it would do it again for each job (40 ms for the build's)."""
    with contextlib.suppress(Exception):
        module = msgspec.msgpack.decode(data, type=Request).job.partition(":")[0]
        if module.startswith("onggi.") and module not in sys.modules:
            importlib.import_module(module)
            gc.collect()
            gc.freeze()


def _announce(pid: int, reply_fd: int) -> None:
    """The engine gets the child's pidfd. Gone already, child or engine: then nobody needs it."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(reply_fd)) as reply:
        pidfd = os.pidfd_open(pid)
        try:
            socket.send_fds(reply, [FRAME.pack(b"P", 0)], [pidfd])
        finally:
            os.close(pidfd)


def _child(data: bytes, fds: list[int]) -> None:
    """Never returns."""
    code = 1
    try:
        set_pdeathsig(signal.SIGKILL)
        reply = socket.socket(fileno=fds[0])

        def send(kind: bytes, body: bytes) -> None:
            reply.sendall(FRAME.pack(kind, len(body)) + body)

        kind, body = _run(data, fds[1:], lambda count: send(b"N", count.to_bytes(8, "big")))
        send(kind, body)
        code = 0
    finally:
        os._exit(code)


def _run(data: bytes, fds: list[int], report: Report) -> tuple[bytes, bytes]:
    try:
        request = msgspec.msgpack.decode(data, type=Request)
        module, _, function = request.job.partition(":")
        if not module.startswith("onggi."):
            raise ValueError(f"job {request.job!r}")
        job: Job = getattr(importlib.import_module(module), function)
        return b"R", job(request.args, fds, report)
    except OnggiError as error:
        failure = Failure(type(error).__name__, str(error))
    except OSError as error:
        failure = Failure("OSError", error.strerror or str(error), error.errno or 0)
    except Exception as error:  # noqa: BLE001 - the engine logs it, with the job's name
        failure = Failure("Exception", f"{type(error).__name__}: {error}")
    return b"E", msgspec.msgpack.encode(failure)


if __name__ == "__main__":
    main()
