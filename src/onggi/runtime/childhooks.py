"""Hooks that run in the container's namespaces: createContainer before the pivot, startContainer right before exec.

The child runs them, so nothing here formats, imports or looks anything up by name but the hook itself. Source: config.md,
"POSIX-platform Hooks"; the state goes to a hook's stdin.
"""

from __future__ import annotations

import _signal as signal  # lean.py
import errno
import os
import select
from collections.abc import Sequence

import msgspec

from onggi.kernel import process
from onggi.oci.runtime import Hook, State
from onggi.runtime.steps import StepFailed


def run(kind: str, hooks: Sequence[Hook], state: State) -> None:
    """Each in order. Raises StepFailed at the first that fails or takes too long."""
    told = msgspec.json.encode(state)
    for number, hook in enumerate(hooks):
        problem = _run_one(hook, told)
        if problem:
            raise StepFailed(errno.EIO, f"error running {kind} hook #{number}: {problem}")


def _run_one(hook: Hook, told: bytes) -> str:
    """What went wrong, or nothing."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _become(hook, reader)
    os.close(reader)
    with process.pidfd_open(pid) as pidfd:
        try:
            os.write(writer, told)  # a pipe takes 64 KiB at once
        except BrokenPipeError:
            pass  # it didn't want to know
        finally:
            os.close(writer)
        poll = select.poll()
        poll.register(pidfd.fileno(), select.POLLIN)
        late = not poll.poll(None if not hook.timeout else hook.timeout * 1000)
        if late:
            process.pidfd_send_signal(pidfd, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if late:
        return f"timed out after {hook.timeout}s"
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code else ""


def _become(hook: Hook, stdin: int) -> None:
    try:
        os.dup2(stdin, 0, inheritable=True)
        process.close_range(3, on_exec=True)
        environment = dict(word.partition("=")[::2] for word in hook.env)
        os.execve(hook.path, hook.args or [hook.path], environment)  # noqa: S606 - the spec names the program
    finally:
        os._exit(127)
