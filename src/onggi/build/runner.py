"""What a RUN step asks for, and who carries it out: the engine, which knows containers."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from onggi.build.runmounts import RunDevice
from onggi.oci.runtime import Mount
from onggi.store.snapshots import Snapshot


@dataclass(frozen=True, slots=True)
class StepLimits:
    """As in docker's HostConfig: 0 and "" mean none was asked for. `memory_swap_bytes` is memory and swap, -1 without limit."""

    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    shm_bytes: int = 0
    ulimits: tuple[tuple[str, int, int], ...] = ()
    """Name, soft, hard."""
    cgroup_parent: str = ""


@dataclass(frozen=True, slots=True)
class RunStep:
    """One process over the layers of a stage; what it writes lands in `snapshot.upper`, which becomes a layer.

    `container_id` is unique, and its directory is the builder's (it has upper and work; files beside them are welcome).
    `env` has no HOSTNAME or HOME; `user` is docker's "name|uid[:group|gid]". `network` is docker's NetworkMode.
    `output` gets what the process writes, with its stream (1, 2), as it comes, on the engine's loop.
    `privileged`: all capabilities and devices, no filter.
    """

    container_id: str
    snapshot: Snapshot
    args: tuple[str, ...]
    env: tuple[str, ...]
    user: str
    cwd: str
    output: Callable[[int, bytes], None]
    network: str = "default"
    extra_hosts: tuple[str, ...] = ()
    limits: StepLimits = field(default_factory=StepLimits)
    mounts: tuple[Mount, ...] = ()
    """What is mounted over the layers; their places are in the lowest layer."""
    hostname: str = "buildkitsandbox"
    privileged: bool = False
    talk: Callable[[socket.socket], Awaitable[None]] | None = None
    """Speaks with the process in `output`'s stead: what is sent is its stdin, what comes are its streams in docker's frames
    (api/types/container, attach), until they end. None: its stdin is empty."""
    devices: tuple[RunDevice, ...] = ()
    """CDI devices by the names that a Dockerfile has for them."""


@dataclass(frozen=True, slots=True)
class StepEnd:
    """How the process ended. By a signal: 128 + its number."""

    exit_code: int
    oom_killed: bool = False


class StepRunner(Protocol):
    """Runs steps in containers with docker's default rights, unless a step says `privileged`."""

    async def run(self, step: RunStep) -> StepEnd:
        """Starts the process and waits for its end.

        When this returns or raises, no process, mount, address, cgroup of it is left, and nothing writes to the upper directory.
        Cancelled: all of it is killed first. Raises RuntimeStepError when it could not be started (the program isn't there).
        """
