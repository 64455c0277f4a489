"""From an ordinary user's `onggid --rootless` to the engine: the same process, as root of the user's own namespaces.

The namespaces are those that are there already (an engine before this one has left its containers in them), or new ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Final, Never

from onggi.errors import OnggiError
from onggi.kernel import process
from onggi.kernel.namespaces import NamespaceKind, open_of
from onggi.rootless import INSIDE, delegation
from onggi.rootless.outside import PIDFILE

_KINDS: Final = (NamespaceKind.USER, NamespaceKind.IPC, NamespaceKind.NETWORK, NamespaceKind.MOUNT)


def enter(program: Sequence[str], directory: str) -> Never:
    """Become `program` in there; `directory` is the exec-root. Raises OnggiError, with what mends it where that is known."""
    os.makedirs(directory, 0o700, exist_ok=True)
    with open(os.path.join(directory, "enter.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two engines at once: the second finds what the first has made
        pid = _inside(directory)
        if pid is None:
            _make(directory)
            pid = _inside(directory)
    if pid is None:
        raise OnggiError("rootless: the namespaces are gone again")
    own = delegation.find()
    for warning in own.warnings:
        sys.stderr.write(f"onggid: rootless: {warning}\n")
    environment, here = dict(os.environ) | {INSIDE: own.parent}, os.getcwd()
    try:
        for fd, kind in [(open_of(pid, kind), kind) for kind in _KINDS]:
            with fd:
                process.setns(fd, kind.flag)
        os.chdir(here)  # the mount namespace has put us at its root
        os.setgroups([])
    except OSError as error:
        raise OnggiError(f"rootless: entering the namespaces of process {pid}: {error.strerror}") from None
    os.execve(program[0], list(program), environment)  # noqa: S606 - no shell is wanted


def _inside(directory: str) -> int | None:
    """The process that holds the namespaces, if it lives."""
    with contextlib.suppress(OSError, ValueError), open(os.path.join(directory, PIDFILE), encoding="ascii") as file:
        pid = int(file.read())
        with open(f"/proc/{pid}/comm", encoding="ascii") as comm:
            if comm.read() == "onggi-inside\n" and os.stat(f"/proc/{pid}").st_uid in (os.geteuid(), 65534):
                return pid
    return None


def _make(directory: str) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "onggi.rootless.outside", directory],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, timeout=60,
    )  # fmt: skip
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode != 0:
        raise OnggiError(said or "rootless: no namespaces")
    if said:
        sys.stderr.write(f"onggid: rootless: {said}\n")
