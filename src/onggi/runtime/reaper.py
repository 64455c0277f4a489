"""Process 1 of a container with --init: starts the program, passes signals on, reaps orphans, ends as it ended.

Runs in the container after every right is dropped; what is left of us here is this loop.
"""

from __future__ import annotations

import _signal as signal  # lean.py
import os

from onggi.kernel import process

_TITLE = b"onggi-init"


def split(words: process.Words, *, keep_open: int) -> None:
    """Returns in the child, which goes on to exec; the parent never returns."""
    everything = set(range(1, signal.NSIG)) - {signal.SIGKILL, signal.SIGSTOP, *range(32, 34)}
    signal.pthread_sigmask(signal.SIG_BLOCK, everything)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, everything)
        os.setpgid(0, 0)
        return
    # The host's words are none of the container's business.
    words.replace(_TITLE)
    process.set_name(_TITLE.decode())
    # The link to our parent must end at the child's exec alone, and the program's pipes with the program.
    process.close_range(keep_open, on_exec=False)
    while True:
        number = signal.sigwait(everything)
        if number != signal.SIGCHLD:
            try:
                os.kill(child, number)
            except ProcessLookupError:
                pass
            continue
        _reap(child)


def _reap(child: int) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            os._exit(0)
        if pid == 0:
            return
        if pid == child:
            os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status))
