"""Small truths about processes that shims and `onggi-runtime` need."""

from __future__ import annotations

import os
import select


def wait_status(pid: int) -> tuple[int, int]:
    """Wait for a child: its exit code (128 + n after signal n) and the signal, or 0."""
    return exit_of(os.waitpid(pid, 0)[1])


def exit_of(status: int) -> tuple[int, int]:
    """A wait status as exit code and signal, as above."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return 128 + number, number
    return os.waitstatus_to_exitcode(status), 0


def start_time(pid: int) -> int:
    """When `pid` began, in clock ticks since the boot: field 22 of /proc/PID/stat (proc_pid_stat(5)). 0: it is gone.

    With the boot's id it tells a process from all others that ever have its number.
    """
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        content = os.read(fd, 4096)
    except ProcessLookupError:
        return 0
    finally:
        os.close(fd)
    # The command's name may hold spaces and parentheses: fields are counted from its last one.
    return int(content[content.rindex(b")") + 2 :].split()[19])


def wait_readable(fd: int, timeout_s: float | None) -> bool:
    """Wait until `fd` can be read (a pidfd: until the process has ended)."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
