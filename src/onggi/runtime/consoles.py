"""The terminal of `onggi-runtime run` and `exec`, and waiting for what was started, with signals passed on."""

from __future__ import annotations

import _signal as signal  # lean.py
import contextlib
import os
import select
from collections.abc import Iterator
from typing import Final

from onggi.errors import InvalidArgument
from onggi.kernel import process
from onggi.runtime.init import Spawned
from onggi.runtime.processes import wait_readable, wait_status

Console = int
"""Descriptor of a terminal's master, which whoever holds it owns."""

_NOT_PASSED_ON: Final = {signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGKILL, signal.SIGSTOP, signal.SIGWINCH}
_BLOCK: Final = 64 * 1024


def check(*, tty: bool, detached: bool, socket_path: str) -> None:
    """Who gets the terminal must be clear before there is one."""
    if detached and tty and not socket_path:
        raise InvalidArgument(
            "cannot allocate tty if runtime will detach without setting console socket (use --console-socket)"
        )
    if socket_path and not (detached and tty):
        raise InvalidArgument("cannot use console socket if runtime will not detach or allocate tty")


def hand_over(spawned: Spawned, socket_path: str) -> Console | None:
    """Send the terminal to `socket_path`, or return it to be followed here. None: there is none here."""
    if spawned.console is None:
        return None
    if not socket_path:
        return spawned.console.detach()
    _send_descriptor(socket_path, spawned.console.fileno(), b"/dev/ptmx")
    spawned.console.close()
    return None


def send_pidfd(spawned: Spawned, socket_path: str) -> None:
    """Send a pidfd of what was started to `socket_path`, if there is one."""
    if socket_path:
        _send_descriptor(socket_path, spawned.pidfd.fileno(), b"pidfd")


def _send_descriptor(path: str, fd: int, name: bytes) -> None:
    import array
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(path)
        sock.sendmsg([name], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])


def follow(pid: int, console: Console | None) -> int:
    """Wait for a child, passing signals on, and with a terminal what is typed and shown. Returns its exit code."""
    with process.pidfd_open(pid) as pidfd, _signals_to(pidfd.fileno(), console):
        if console is None:
            wait_readable(pidfd.fileno(), None)
        else:
            _proxy(console, pidfd.fileno())
    code, _ = wait_status(pid)
    return code


@contextlib.contextmanager
def _signals_to(pidfd: int, console: Console | None) -> Iterator[None]:
    def pass_on(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)

    def resize(_: int, __: object) -> None:
        if console is not None:
            _copy_size(console)

    before = {}
    for number in signal.valid_signals() - _NOT_PASSED_ON:
        with contextlib.suppress(OSError, ValueError):
            before[number] = signal.signal(number, pass_on)
    before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, resize)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def _copy_size(console: Console) -> None:
    import fcntl
    import termios

    size = bytearray(8)
    try:
        fcntl.ioctl(0, termios.TIOCGWINSZ, size)
        fcntl.ioctl(console, termios.TIOCSWINSZ, bytes(size))
    except OSError:
        # Our stdin is no terminal: the container's keeps its size.
        return


def _proxy(console: Console, pidfd: int) -> None:
    """Copy between our stdio and the container's terminal until its process has ended and all is shown."""
    import termios
    import tty

    saved = None
    if os.isatty(0):
        saved = termios.tcgetattr(0)
        tty.setraw(0)
        _copy_size(console)
    try:
        poll = select.poll()
        for fd in (0, console, pidfd):
            poll.register(fd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if console in ready and not _copy(console, 1):
                poll.unregister(console)
                ready.discard(console)
            if 0 in ready and not _copy(0, console):
                poll.unregister(0)
            if pidfd in ready and console not in ready:
                return
    finally:
        if saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
        os.close(console)


def _copy(source: int, target: int) -> bool:
    """Copy one block; False at the end (EIO: nobody has the terminal open any more)."""
    try:
        block = os.read(source, _BLOCK)
        while block:
            written = os.write(target, block)
            if written == len(block):
                return True
            block = block[written:]
    except OSError:
        return False
    return False
