"""Named places in the code where a test makes something break.

    ONGGI_FAULT="store.commit.before=kill@3;net.veth.add=EIO;shim.exit.after_rename=sleep:2"

Actions: `kill` (SIGKILL to this process), `stop` (SIGSTOP), `raise` (RuntimeError), an errno's name (OSError),
`sleep:SECONDS`. `@n` acts at the nth time only, `%p` each time with probability p (0 to 1, seeded by ONGGI_FAULT_SEED).
Hits are counted for each process apart; a forked one goes on from its parent's count.

`@PATH` instead of faults: the file's first line has them now, and may be another at each hit (`Board`). Who writes it also
learns there which points were ever hit. It is a mapping: a process sees it in whatever mount namespace it is.

Unset, `point` is a function with nothing in it. All names of all rooms stand in `POINTS`, in the order of what happens: a
misspelt one in the variable ends the program at import, so that no test passes because its fault never came. Whoever
sets a variable in root's environment can kill root's processes anyway: there is nothing to protect here.
"""

from __future__ import annotations

import _signal as signal  # lean.py
import errno
import os
import time
from typing import Final

POINTS: Final[dict[str, str]] = {
    "launcher.fork.before": "a spare shim is about to be forked",
    "launcher.fork.after": "a spare shim has been forked",
    "shim.request.read": "the shim has its request, nothing is done yet",
    "shim.clone.before": "directory and socket are there, the container's process isn't",
    "start.cgroup.named": "the cgroup has its name or is made, its limits aren't set",
    "init.cgroup.added": "the child is in its cgroup, it has no links yet and waits",
    "init.links.made": "the child's links are made, it waits",
    "init.ahead.made": "a child made ahead has its namespaces and the kernel's file systems, and waits for a plan next",
    "init.root.mount": "the child is in its mount namespace, its root is about to be mounted",
    "init.root.mounted": "root, mounts and devices are there",
    "init.network.configure": "the child's links are about to get their addresses and routes",
    "init.pivot": "everything is in place, the host's tree is still there",
    "init.rights": "the child is in its root, its rights are about to be dropped",
    "init.filter": "the system call filter is about to be loaded",
    "init.exec": "the program is about to be executed",
    "shim.clone.after": "the container's process runs, nobody knows",
    "shim.running": "the engine has been told that the container runs",
    "shim.log.write": "a chunk of output is about to be logged",
    "shim.exit.dead": "the container's process has ended, nothing is written",
    "shim.exit.before_rename": "the exit record is written under its temporary name",
    "shim.exit.after_rename": "the exit record is in place, the engine isn't told",
    "shim.exit.told": "the engine has been told of the exit",
    "shim.forget": "the engine has committed the exit; directory and cgroup are still there",
    "exec.clone.before": "the exec shim is about to enter the container",
    "exec.clone.after": "the exec's process runs, nobody knows",
    "store.commit.before": "changes are handed to the writer, no transaction has begun",
    "store.commit.after": "changes are durable, nobody has been told",
    "store.sync": "bytes, names or a whole file system are about to be synced",
    "store.blob.write": "a piece of a blob is about to be written",
    "store.blob.written": "a blob's bytes are written and agree with its digest, nothing is synced",
    "store.blob.renamed": "a blob has its name, its directory isn't synced",
    "store.layer.unpacked": "a layer is unpacked and agrees with its diff id, nothing is synced",
    "store.layer.synced": "a layer is durable under its temporary name",
    "store.layer.renamed": "a layer has its name, its directory isn't synced",
    "store.snapshot.renamed": "a container's directory has its name for deletion, nothing is deleted",
    "build.received": "a build's context has come whole, nothing of it is read",
    "build.step.prepared": "a step's directories are there, nothing is done in them",
    "build.step.made": "a step's layer is whole and has its name, no row names it",
    "build.solved": "all steps of a build are done, its image isn't made",
    "volumes.copy.copied": "an image's content is copied for a volume under a temporary name",
    "volumes.copy.renamed": "the copied content is the volume's, the directory isn't synced",
    "network.port.bind": "a port of the host is about to be bound",
    "network.rules.add": "rules of published ports are about to be written",
    "network.rules.remove": "rules of published ports are about to be taken away",
    "network.link.delete": "the host's end of a container's link is about to be deleted",
    "cgroup.remove": "a cgroup's directories are about to be removed",
}
"""Name → what is true there."""


class _Fault:
    __slots__ = ("action", "at", "hits", "probability")

    def __init__(self, action: str) -> None:
        self.action = action
        self.at = 0
        self.probability = 1.0
        self.hits = 0


def parse(text: str) -> dict[str, _Fault]:
    """The variable's meaning. Raises ValueError on what can't be read."""
    faults: dict[str, _Fault] = {}
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        name, equals, action = part.partition("=")
        if not equals or not action:
            raise ValueError(f"fault {part!r} is not name=action")
        fault = _Fault(action)
        if "@" in action:
            fault.action, _, count = action.partition("@")
            fault.at = int(count)
        elif "%" in action:
            fault.action, _, share = action.partition("%")
            fault.probability = float(share)
        if name not in POINTS:
            raise ValueError(f"fault {part!r}: no point has this name")
        if not _known(fault.action):
            raise ValueError(f"fault {part!r}: unknown action")
        faults[name] = fault
    return faults


def _known(action: str) -> bool:
    return action in {"kill", "stop", "raise"} or action.startswith("sleep:") or action in errno.errorcode.values()


class Board:
    """A file that tells all processes of one engine which faults there are now, and is told which points were hit.

    Its first `TEXT_BYTES` are the faults, ended by a NUL; then one byte for each of POINTS, in their order, 1 when it was hit.
    """

    TEXT_BYTES: Final = 4096
    SIZE: Final = TEXT_BYTES + len(POINTS)

    def __init__(self, path: str) -> None:
        """Makes the file if there is none. Raises OSError."""
        import mmap  # only for a board: the launcher does without

        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.truncate(fd, self.SIZE)
            self._shared = mmap.mmap(fd, self.SIZE)
        finally:
            os.close(fd)
        self._text, self._known = b"", dict[str, _Fault]()

    def write(self, text: str) -> None:
        """From now on, in all processes. Raises ValueError on what can't be read."""
        parse(text)
        self._shared[: self.TEXT_BYTES] = text.encode().ljust(self.TEXT_BYTES, b"\0")

    def hit(self) -> set[str]:
        """Points that any process has come to since the file was made."""
        return {name for name, flag in zip(POINTS, self._shared[self.TEXT_BYTES :], strict=True) if flag}

    def fault(self, name: str) -> _Fault | None:
        self._shared[self.TEXT_BYTES + list(POINTS).index(name)] = 1
        text = self._shared[: self.TEXT_BYTES].rstrip(b"\0")
        if text != self._text:
            self._text, self._known = text, parse(text.decode())
        return self._known.get(name)


_variable = os.environ.get("ONGGI_FAULT", "")
_board = Board(_variable[1:]) if _variable.startswith("@") else None
_faults = {} if _board is not None else parse(_variable)
_seed = int(os.environ.get("ONGGI_FAULT_SEED", "1"))


def _chance() -> float:
    """0 to 1, the same row of numbers for the same seed (Lehmer's generator: random costs the launcher its import)."""
    global _seed
    _seed = _seed * 48271 % 0x7FFFFFFF
    return _seed / 0x7FFFFFFF


def _act(name: str) -> None:
    fault = _faults.get(name) if _board is None else _board.fault(name)
    if fault is None:
        return
    fault.hits += 1
    if (fault.at and fault.hits != fault.at) or (fault.probability < 1 and _chance() >= fault.probability):
        return
    match fault.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
            os._exit(128 + signal.SIGKILL)  # the first of a PID namespace: no signal from inside reaches it
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raise":
            raise RuntimeError(f"fault at {name}")
        case action if action.startswith("sleep:"):
            time.sleep(float(action.removeprefix("sleep:")))
        case action:
            number = getattr(errno, action)
            raise OSError(number, f"fault at {name}: {os.strerror(number)}")


def _nothing(name: str) -> None:
    """No fault is set."""


point = _act if _faults or _board is not None else _nothing
