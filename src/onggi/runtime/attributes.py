"""What a process has beside its rights: resource limits, scheduling, memory nodes, execution domain.

Read and checked before the clone (`Attributes`), applied in the child while it is still root (`apply`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from onggi.errors import InvalidArgument
from onggi.kernel import process, scheduling
from onggi.oci.runtime import IOPriority, Linux, MemoryPolicy, Personality, Process, Scheduler

_IO_CLASSES: Final = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_NICE: Final = {"SCHED_OTHER", "SCHED_BATCH"}
_RUNTIME_NS: Final = (1024, 2**63 - 1)
"""The kernel's own bounds (__checkparam_dl in kernel/sched/deadline.c)."""
_PRIORITY: Final = {"SCHED_FIFO", "SCHED_RR"}


class Attributes:
    """The steps, in their order."""

    __slots__ = ("_steps",)

    def __init__(self, spec: Process, linux: Linux | None) -> None:
        """Raises InvalidArgument in runc's words."""
        self._steps: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        for limit in spec.rlimits:
            if limit.type not in process.RLIMITS:
                raise InvalidArgument(f"invalid rlimit type: {limit.type}")
            self._steps.append((process.set_rlimit, (process.RLIMITS[limit.type], limit.soft, limit.hard)))
        if spec.scheduler is not None:
            self._steps.append((_schedule(spec.scheduler).apply, ()))
        if spec.io_priority is not None:
            self._steps.append((process.set_io_priority, (_io_priority(spec.io_priority),)))
        if linux is not None and linux.memory_policy is not None:
            self._steps.append((scheduling.set_memory_policy, _memory_policy(linux.memory_policy)))
        if linux is not None and linux.personality is not None:
            self._steps.append((process.set_personality, (_domain(linux.personality),)))

    def apply(self) -> None:
        for step, arguments in self._steps:
            step(*arguments)


def _schedule(given: Scheduler) -> scheduling.Schedule:
    name = given.policy
    if not name:
        raise InvalidArgument("scheduler policy is required")
    if name not in scheduling.POLICIES:
        raise InvalidArgument(f"invalid scheduler.policy: {name}")
    if name in _NICE and not -20 <= given.nice <= 19:
        raise InvalidArgument(f"invalid scheduler.nice: {given.nice} when scheduler.policy is {name}")
    if given.priority and name not in _PRIORITY:
        raise InvalidArgument("scheduler.priority can only be specified for SchedFIFO or SchedRR policy")
    if (given.runtime or given.deadline or given.period) and name != "SCHED_DEADLINE":
        raise InvalidArgument("scheduler runtime/deadline/period can only be specified for SchedDeadline policy")
    if name == "SCHED_DEADLINE":
        _check_deadline(given)
    flags = _flags(given.flags, scheduling.SCHED_FLAGS, "scheduler.flags")
    return scheduling.Schedule(
        scheduling.POLICIES[name], flags=flags, nice=given.nice, priority=given.priority,
        runtime=given.runtime or 0, deadline=given.deadline or 0, period=given.period or 0,
    )  # fmt: skip


def _check_deadline(given: Scheduler) -> None:
    """What the kernel calls an invalid argument without saying which (sched(7), "SCHED_DEADLINE"), in crun's words."""
    what = "sched_setattr: `SCHED_DEADLINE`"
    runtime, deadline = given.runtime, given.deadline
    if runtime is None or deadline is None:
        raise InvalidArgument(f"{what} requires `{'runtime' if runtime is None else 'deadline'}`")
    if runtime <= 0:
        raise InvalidArgument(f"{what} runtime must be greater than 0")
    if not _RUNTIME_NS[0] <= runtime <= _RUNTIME_NS[1]:
        raise InvalidArgument(f"{what} runtime {runtime} must be between {_RUNTIME_NS[0]} and {_RUNTIME_NS[1]} ns")
    if runtime > deadline:
        raise InvalidArgument(f"{what} runtime {runtime} must be <= deadline {deadline}")
    if given.period and deadline > given.period:
        raise InvalidArgument(f"{what} deadline {deadline} must be <= period {given.period}")


def _flags(names: list[str], known: dict[str, int], what: str) -> int:
    found = 0
    for name in names:
        if name not in known:
            raise InvalidArgument(f"invalid {what}: {name}")
        found |= known[name]
    return found


def _io_priority(given: IOPriority) -> int:
    if not 0 <= given.priority <= 7:
        raise InvalidArgument(f"invalid ioPriority.Priority: {given.priority}")
    if given.class_ not in _IO_CLASSES:
        raise InvalidArgument(f"invalid ioPriority.Class: {given.class_}")
    return _IO_CLASSES[given.class_] << 13 | given.priority


def _memory_policy(given: MemoryPolicy) -> tuple[int, list[int]]:
    if given.mode not in scheduling.MEMORY_MODES:
        raise InvalidArgument(f"invalid memory policy mode: {given.mode!r}")
    mode = scheduling.MEMORY_MODES[given.mode] | _flags(given.flags, scheduling.MEMORY_FLAGS, "memory policy flag")
    try:
        nodes = scheduling.parse_list(given.nodes)
    except ValueError as error:
        raise InvalidArgument(f"invalid memory policy nodes: {error}") from None
    if given.mode in ("MPOL_DEFAULT", "MPOL_LOCAL") and nodes:
        raise InvalidArgument(f"memory policy mode {given.mode} takes no nodes")
    return mode, nodes


def _domain(given: Personality) -> int:
    if given.domain not in scheduling.DOMAINS:
        raise InvalidArgument(f"invalid personality domain: {given.domain}")
    if given.flags:
        # The spec names none (config-linux.md, "Personality").
        raise InvalidArgument("personality flags are not supported")
    return scheduling.DOMAINS[given.domain]


def affinity(text: str, what: str) -> set[int]:
    """CPUs of `execCPUAffinity`. Raises InvalidArgument."""
    try:
        return set(scheduling.parse_list(text))
    except ValueError as error:
        raise InvalidArgument(f"invalid {what} CPU affinity: {error}") from None
