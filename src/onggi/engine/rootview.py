"""A container's files as the engine sees them, for `cp`, `export` and the like: running or not, volumes included.

A running container is seen through the root of its process: all its mounts are there. One that isn't is its merged tree as a
detached mount, and what would be mounted is joined in by path, a descriptor for each: nothing is mounted or made for a copy
(CVE-2026-41568 and CVE-2026-42306 raced such mounts).
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator
from dataclasses import dataclass, field

from onggi.errors import Conflict
from onggi.store.snapshots import Snapshot, Snapshots


@dataclass(frozen=True, slots=True)
class Mounted:
    """Something mounted in the container: a volume, a bind, one of the engine's files (/etc/hosts…), a tmpfs (no source)."""

    destination: str
    source: str | None
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class RootView:
    """What there is to see. `pid` and `pidfd` are the container's first process, None when it isn't running."""

    container_id: str
    snapshot: Snapshot
    mounts: list[Mounted] = field(default_factory=list)
    read_only_root: bool = False
    pid: int | None = None
    pidfd: int | None = None


@dataclass(frozen=True, slots=True)
class OpenView:
    """Descriptors of a view, for a job: the root, then one for each of `joined`."""

    root: int
    joined: list[tuple[Mounted, int]]
    seen: list[Mounted]
    """Mounts that are in the root already."""
    user_namespace: int | None = None
    """For a job to enter, so that owners are the container's own."""

    @property
    def fds(self) -> list[int]:
        entered = [] if self.user_namespace is None else [self.user_namespace]
        return [self.root, *entered, *(fd for _, fd in self.joined)]


@contextlib.contextmanager
def open_view(
    view: RootView, snapshots: Snapshots, *, writable: bool = False, volumes: bool = True, ids: bool = True
) -> Iterator[OpenView]:
    """`ids`: owners matter. Holds: the container can't change between running and not (its lock), until the block's begin at least.

    Raises Conflict when the process ended under our hands, OSError when the merged tree can't be had.
    """
    with contextlib.ExitStack() as opened:
        if view.pid is not None:
            root = opened.enter_context(open_process_root(view.pid, view.pidfd, view.container_id))
            namespace = _user_namespace(view.pid) if ids else None
            if namespace is not None:
                opened.callback(os.close, namespace)
            yield OpenView(root, [], view.mounts if volumes else [], namespace)
            return
        merged = snapshots.mounted(view.snapshot, writable=writable)
        opened.callback(merged.close)
        joined = []
        for mount in view.mounts if volumes else ():
            if mount.source is None:
                continue
            # A bind whose source is missing fails a start, not a copy.
            with contextlib.suppress(OSError):
                fd = os.open(mount.source, os.O_PATH | os.O_CLOEXEC)
                opened.callback(os.close, fd)
                joined.append((mount, fd))
        yield OpenView(merged.fileno(), joined, [])


def _user_namespace(pid: int) -> int | None:
    """Of a process that isn't in ours: its files have other ids for us than for itself."""
    fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    if os.path.samestat(os.fstat(fd), os.stat("/proc/self/ns/user")):
        os.close(fd)
        return None
    return fd


@contextlib.contextmanager
def open_process_root(pid: int, pidfd: int | None, container_id: str) -> Iterator[int]:
    """The root of a container's first process, by which paths can be found. Raises Conflict when it has ended, OSError."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # The number may be another process's by now: it is the container's only if that lived after the root was opened.
        if pidfd is None or _has_ended(pidfd):
            raise Conflict(f"container {container_id} has just stopped (try again)")
        yield root
    finally:
        os.close(root)


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
