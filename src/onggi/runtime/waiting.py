"""How a spare waits for the engine's next request: several do, and one of them gets it. Shared by starter.py and execs.py."""

from __future__ import annotations

import _signal  # what `signal` wraps in enums: their members are made of pages (protocol.py)
import contextlib
import errno
import os
import select
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Final

from onggi.errors import RuntimeStepError
from onggi.runtime import protocol
from onggi.runtime.protocol import Failed

BUSY: Final = b"+"
FREE: Final = b"-"
"""Lines in a slot begin with one of these; BUSY is followed by the parent of the container's cgroup."""

Until = Callable[[Mapping[int, int]], set[int]]
"""Waits for descriptors (`until_ready`), and may do something else meanwhile."""

_CHILD: Final = int(signal.SIGCHLD)
_DEFAULT: Final = int(signal.SIG_DFL)


def leave_zygote() -> None:
    """A forked spare's first steps: its children are its own to wait for, and the engine's terminal isn't its own."""
    _signal.signal(_CHILD, _DEFAULT)
    os.setsid()


def be_silent() -> None:
    """Held open by each shim, the engine's stderr would never end for whoever reads it."""
    silence = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(silence, 2)
    os.close(silence)


def say(slot: int, words: bytes) -> None:
    """Tell the launcher what this process is at; without one the work goes on (R-05)."""
    with contextlib.suppress(BrokenPipeError):
        os.write(slot, words + b"\n")


def until_ready(wanted: Mapping[int, int]) -> set[int]:
    """Those of `wanted` (descriptor → poll's events) that are ready, as soon as one is."""
    poll = select.poll()
    for fd, events in wanted.items():
        poll.register(fd, events)
    return {fd for fd, _ in poll.poll()}


def next_request(engine: socket.socket, slot: int, until: Until = until_ready) -> tuple[bytes, list[int]] | None:
    """Wait for a request. None: the engine has closed its end, or the launcher has no use for this process any more."""
    while True:
        ready = until({engine.fileno(): select.POLLIN, slot: 0})
        if engine.fileno() in ready:
            with contextlib.suppress(BlockingIOError):
                # Others wait too, and one of them may have been quicker.
                return protocol.receive(engine)
        elif slot in ready:
            return None


def has_hung_up(control: socket.socket) -> bool:
    """The engine has gone, or has given this request up, before anybody took it."""
    poll = select.poll()
    poll.register(control, 0)
    return bool(poll.poll(0))


def failure(error: RuntimeStepError | OSError) -> Failed:
    """What the engine is told of a start that failed."""
    if isinstance(error, RuntimeStepError):
        return Failed(error.step, error.errno, str(error), error.exit_code)
    return Failed("shim", error.errno or errno.EIO, str(error.strerror or error))
