"""Named places in the code where a test makes something break.

    ONGGI_FAULT="store.commit.before=kill@3;net.veth.add=EIO;shim.exit.after_rename=sleep:2"

Actions: `kill` (SIGKILL to this process), `stop` (SIGSTOP), `raise` (RuntimeError), an errno's name (OSError),
`sleep:SECONDS`. `@n` acts at the nth time only, `%p` each time with probability p (0 to 1, seeded by ONGGI_FAULT_SEED).
Hits are counted for each process apart; a forked one goes on from its parent's count.

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
    "init.cgroup.added": "the child is in its cgroup, it has no links yet and waits",
    "init.links.made": "the child's links are made, it waits",
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


_faults = parse(os.environ.get("ONGGI_FAULT", ""))
_seed = int(os.environ.get("ONGGI_FAULT_SEED", "1"))


def _chance() -> float:
    """0 to 1, the same row of numbers for the same seed (Lehmer's generator: random costs the launcher its import)."""
    global _seed
    _seed = _seed * 48271 % 0x7FFFFFFF
    return _seed / 0x7FFFFFFF


def _act(name: str) -> None:
    fault = _faults.get(name)
    if fault is None:
        return
    fault.hits += 1
    if (fault.at and fault.hits != fault.at) or (fault.probability < 1 and _chance() >= fault.probability):
        return
    match fault.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
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


point = _act if _faults else _nothing
