"""What `onggi-runtime` remembers of its containers: a directory each below --root, as runc keeps it.

`<root>/<id>/state.json`; `config.json` as it was at the making, whatever becomes of the bundle; `exec.fifo` from create
until start. Status is never stored: it is asked of the kernel.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

import msgspec

from onggi.errors import Conflict, InvalidArgument, NotFound
from onggi.oci.runtime import Hooks, Spec, State
from onggi.runtime import wholefiles
from onggi.runtime.processes import start_time

FIFO: Final = "exec.fifo"
CONFIG: Final = "config.json"
_STATE: Final = "state.json"
_MAX_ID: Final = 1024
_MARKS: Final = frozenset("_+.-")


class ContainerState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One container. `pid_start` tells its init from another process of that number; `boot` from one of another boot."""

    id: str
    pid: int
    pid_start: int
    bundle: str
    rootfs: str
    created: str
    cgroup_path: str
    boot: str
    oci_version: str
    annotations: dict[str, str] = {}
    owner: str = "root"
    hooks: msgspec.Raw = msgspec.Raw(b"{}")
    shares_pids: bool = False
    """It has no pid namespace of its own: its other processes outlive the first one."""
    resctrl: str = ""
    """Its group there, if the spec asks for one (resctrl.py)."""
    resctrl_made: list[str] = []
    """What of it goes with the container."""

    def decoded_hooks(self) -> Hooks:
        return msgspec.json.decode(self.hooks, type=Hooks)

    def told(self, status: str) -> State:
        """What its hooks are told of it."""
        # A number that isn't the container's any more may be somebody else's.
        pid = 0 if status == "stopped" else self.pid
        return State(self.oci_version, self.id, status, pid, self.bundle, self.annotations)


def _check(container_id: str) -> None:
    """Raises InvalidArgument for what can't be an id. One that begins with a dot could hide, or lead elsewhere."""
    wrong = [letter for letter in container_id if not (letter.isascii() and letter.isalnum()) and letter not in _MARKS]
    if container_id.startswith("."):
        wrong.append(".")
    if wrong:
        raise InvalidArgument(f"invalid container ID format: invalid character {wrong[0]!r}")
    if not 0 < len(container_id) <= _MAX_ID:
        raise InvalidArgument("invalid container ID format")


class Bundles:
    """The containers below one root directory."""

    def __init__(self, root: str) -> None:
        self._root = root

    def claim(self, container_id: str) -> str:
        """Make the container's directory. Raises Conflict when the id is taken."""
        _check(container_id)
        os.makedirs(self._root, mode=0o700, exist_ok=True)
        directory = self.directory(container_id)
        try:
            os.mkdir(directory, mode=0o711)
        except FileExistsError:
            raise Conflict("container with given ID already exists") from None
        return directory

    def directory(self, container_id: str) -> str:
        return f"{self._root}/{container_id}"

    def save(self, state: ContainerState) -> None:
        """Write the state; it appears whole."""
        wholefiles.replace(f"{self.directory(state.id)}/{_STATE}", msgspec.json.encode(state))

    def load(self, container_id: str) -> ContainerState:
        """Raises NotFound, InvalidArgument for what can't be an id."""
        if not container_id:
            raise InvalidArgument("container id cannot be empty")
        _check(container_id)
        try:
            content = wholefiles.read(f"{self.directory(container_id)}/{_STATE}")
        except FileNotFoundError:
            raise NotFound("container does not exist") from None
        return msgspec.json.decode(content, type=ContainerState)

    def spec(self, state: ContainerState) -> Spec:
        """The config.json that it was made from."""
        return msgspec.json.decode(wholefiles.read(f"{self.directory(state.id)}/{CONFIG}"), type=Spec)

    def all(self) -> list[ContainerState]:
        """All that can be read, by name."""
        try:
            names = sorted(os.listdir(self._root))
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            # One that is being made or is broken must not hide the others.
            with contextlib.suppress(NotFound, InvalidArgument, msgspec.DecodeError):
                found.append(self.load(name))
        return found

    def remove(self, container_id: str) -> None:
        directory = self.directory(container_id)
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(directory):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{directory}/{name}")
            os.rmdir(directory)

    def waits_for_start(self, container_id: str) -> bool:
        return os.path.exists(f"{self.directory(container_id)}/{FIFO}")


def is_alive(state: ContainerState) -> bool:
    """Its init runs: same boot, same number, same start, and not a zombie that nobody has reaped."""
    if state.boot != boot_id() or start_time(state.pid) != state.pid_start:
        return False
    try:
        status = wholefiles.read(f"/proc/{state.pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status[status.rindex(b")") + 2 :][:1] not in {b"Z", b"X"}


def boot_id() -> str:
    """What tells this boot from all others (random(4))."""
    return wholefiles.read("/proc/sys/kernel/random/boot_id").decode("ascii").strip()
