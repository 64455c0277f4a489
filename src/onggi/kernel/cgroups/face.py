"""What both versions can do."""

from __future__ import annotations

from typing import Protocol, Self

import msgspec

from onggi.kernel.cgroups.resources import Resources


class BlockEntry(msgspec.Struct):
    """One line of block I/O accounting."""

    major: int
    minor: int
    op: str
    value: int


class CgroupStats(msgspec.Struct):
    """Counters of one cgroup: nanoseconds, bytes, numbers. `memory_detail` holds the names that the version has."""

    cpu_total_ns: int = 0
    cpu_user_ns: int = 0
    cpu_system_ns: int = 0
    percpu_ns: list[int] = []
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0
    memory_usage: int = 0
    memory_max_usage: int = 0
    memory_failures: int = 0
    memory_limit: int = 0
    memory_detail: dict[str, int] = {}
    pids_current: int = 0
    pids_limit: int = 0
    block_bytes: list[BlockEntry] = []
    block_operations: list[BlockEntry] = []


class Cgroup(Protocol):
    """One container's group.

    All raise OSError with the file's name when the kernel refuses. A group that is gone reads as empty and zero.
    """

    unified: bool

    def exists(self) -> bool:
        """Whether any of its directories is there."""

    def make(self) -> None:
        """Makes the directories; those that are there stay."""

    def apply(self, resources: Resources) -> None:
        """Writes the limits that `resources` names, in an order in which no step is refused for the next one's sake."""

    def below(self, path: str, controllers: list[str]) -> Self:
        """The groups `path` below it, which must be there: for `controllers` alone (v1), else wherever there is one."""

    def hands_down(self) -> bool:
        """v2: it gives controllers to groups below it, and takes no process itself (the rule of no inner processes)."""

    def add(self, pid: int) -> None:
        """Moves a process in, with all its threads."""

    def clone_fd(self) -> int | None:
        """Descriptor for CLONE_INTO_CGROUP, None where the version hasn't got it."""

    def view(self) -> dict[str, str]:
        """v1: hierarchy's mount name → the group's directory, for the container to see. Empty on v2."""

    def pids(self) -> list[int]:
        """Processes in the group and below."""

    def freeze(self) -> None:
        """Stops all of them; returns when they are stopped. Raises OSError ETIMEDOUT after 10 s."""

    def thaw(self) -> None:
        """Lets them go on."""

    def is_frozen(self) -> bool:
        """Whether they are stopped, or about to be."""

    def kill_all(self) -> None:
        """SIGKILL to every process, those born meanwhile included. Returns when none is left, after 5 s at most."""

    def oom_kills(self) -> int:
        """Processes that the kernel has killed here for memory."""

    def memory_peak(self) -> int:
        """The most bytes that were ever used; 0 where the kernel doesn't tell."""

    def oom_events(self) -> int | None:
        """A descriptor that the caller owns: POLLIN or POLLPRI when the kernel kills here for memory, about that time.

        None when the kernel has no memory controller.
        """

    def stats(self) -> CgroupStats:
        """Counters now."""

    def remove(self) -> None:
        """Removes the directories; waits up to 2 s for the kernel to let go of the last process."""
