"""A container: its record on disk, its state in memory, and which moves a state allows."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
from collections.abc import Callable
from typing import Any

import msgspec

from onggi.engine.config import ContainerConfig, EndpointSettings, Extensions, HostConfig, MountPoint
from onggi.engine.extensions import ExitReason
from onggi.errors import Conflict
from onggi.runtime.handles import Shim
from onggi.store.database import Table

ZERO_TIME = "0001-01-01T00:00:00Z"


class State(enum.StrEnum):
    """Docker's words. STARTING is ours and never shown: it is committed before anything is made (R-06)."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    REMOVING = "removing"
    DEAD = "dead"


MOVES: dict[State, frozenset[State]] = {
    State.CREATED: frozenset({State.STARTING, State.REMOVING}),
    State.STARTING: frozenset({State.RUNNING, State.CREATED, State.EXITED, State.RESTARTING}),
    State.RUNNING: frozenset({State.PAUSED, State.EXITED, State.RESTARTING, State.REMOVING}),
    State.PAUSED: frozenset({State.RUNNING, State.EXITED, State.RESTARTING, State.REMOVING}),
    State.RESTARTING: frozenset({State.STARTING, State.EXITED, State.REMOVING}),
    State.EXITED: frozenset({State.STARTING, State.REMOVING}),
    State.REMOVING: frozenset({State.DEAD, State.EXITED}),
    State.DEAD: frozenset({State.REMOVING}),
}
"""starts.py, exits.py, stops.py, pauses.py and removal.py make all of them; reconcile.py those out of STARTING and REMOVING after a crash."""

ALIVE = frozenset({State.RUNNING, State.PAUSED})
"""There is a process. RESTARTING has none, though docker's `Running` is true then."""


class PublishedPort(msgspec.Struct, frozen=True):
    """A port of a running container as it was published, so that a restarted engine knows it."""

    protocol: str
    port: int
    host_ip: str
    host_port: int


class ContainerRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """What survives. Times are ns since the epoch, 0 for never."""

    id: str
    name: str
    created_ns: int
    image_id: str
    image_name: str
    config: ContainerConfig
    host_config: HostConfig
    layers: list[str]
    endpoints: dict[str, EndpointSettings]
    mounts: list[MountPoint]
    path: str
    args: list[str]
    state: str = State.CREATED
    pid: int = 0
    started_ns: int = 0
    finished_ns: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    restart_count: int = 0
    stopped_by_hand: bool = False
    was_running: bool = False
    published: list[PublishedPort] = []
    asked: ContainerConfig | None = None
    """The config as the client gave it, before the image's was merged in: a deploy takes the new image's instead."""
    stop_at_ns: int = 0
    """When a stop that is under way turns into a kill: an engine that comes later keeps to it (R-29)."""
    replaces: str = ""
    """Id of the container whose place this one is to take once it is healthy: without the engine that judged it, it goes."""
    extensions: Extensions | None = None
    exit_reason: ExitReason | None = None
    pending: list[str] = []
    """What was changed while it ran and waits for its next start."""
    previous: str = ""
    """Id of the container that this one has replaced and that rollback brings back (deploy.py)."""


TABLE = Table("containers", ContainerRow)


def time_text(ns: int) -> str:
    """RFC 3339 with nanoseconds, as Go writes it; its zero time for 0."""
    if not ns:
        return ZERO_TIME
    seconds, rest = divmod(ns, 10**9)
    text = dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{rest:09d}".rstrip("0")
    return f"{text}.{fraction}Z" if fraction else f"{text}Z"


class Health(msgspec.Struct):
    """State of the health check, in memory: docker doesn't keep it either."""

    status: str = "starting"
    streak: int = 0
    log: list[dict[str, Any]] = []


class Container:
    """One container in memory. `row` is what is committed last; `lock` is held by whoever moves it."""

    def __init__(self, row: ContainerRow) -> None:
        self.row = row
        self.lock = asyncio.Lock()
        self.shim: Shim | None = None
        self.health: Health | None = None
        self.exited = asyncio.Event()
        """Set while there is no process and no restart pending."""
        self.removed = asyncio.Event()
        self.exits = 0
        self.next_exit: asyncio.Future[int] | None = None
        self.restart_delay_s = 0.0
        self.began_s = 0.0
        """When this run began, by the loop's clock; 0 for one that was adopted."""
        self.restart_timer: asyncio.TimerHandle | None = None
        self.restarting_by_hand = False
        self.burial: asyncio.Task[Any] | None = None
        """The last run's shim is told to go, and takes the cgroup with it."""
        self.wanted_again = asyncio.Event()
        """A start waits for the burial: what doesn't go is left to it."""
        self.attaching: list[Any] = []
        self.execs: set[str] = set()
        self.documents: dict[str, bytes] = {}
        self.removal_error = ""
        self.restart_wanted = False
        """Its health ends this run, and another one follows whatever the policy says."""
        self.is_dying = False
        """SIGKILL is on its way: a cgroup that is frozen now (v1) would keep the process from ending."""
        self.act = ""
        """What the engine did to end this run, for exitreason.py."""
        self.writing = asyncio.Lock()
        """Held while files are put into it and it doesn't run: a start takes it first, before `lock`, since two mounts of one upper
        directory are undefined. A client may hold it as long as it sends."""
        self.release_layers: Callable[[], None] = lambda: None
        """Its layers stay while it is there, whatever becomes of its image."""
        self.oom_seen = False
        self._health_waiters: list[asyncio.Future[None]] = []
        if not self.is_alive:
            self.exited.set()

    def __repr__(self) -> str:
        return f"Container({self.row.name}, {self.state})"

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def state(self) -> State:
        return State(self.row.state)

    @property
    def is_alive(self) -> bool:
        return self.state in ALIVE

    @property
    def images(self) -> frozenset[str]:
        """Ids of the images that it needs: its own, and those that are mounted into it."""
        return frozenset({self.row.image_id, *(point.source for point in self.row.mounts if point.type == "image")})

    @property
    def attributes(self) -> dict[str, str]:
        """What each event of the container carries."""
        return dict(self.row.config.labels or {}) | {"image": self.row.image_name, "name": self.row.name}

    def change(self, **fields: Any) -> None:
        """The row with other values; what was rendered from it is dropped."""
        self.row = msgspec.structs.replace(self.row, **fields)
        self.documents.clear()

    def move(self, to: State, **fields: Any) -> None:
        """The row in another state. Raises Conflict when that can't follow the present one."""
        if to not in MOVES[self.state]:
            raise Conflict(f"container {self.id} is {self.state}: it can't become {to}")
        self.change(state=to, **fields)

    def must_be_alive(self) -> Shim:
        """Raises Conflict in docker's words."""
        if self.shim is None or not self.is_alive:
            raise Conflict(f"container {self.id} is not running")
        return self.shim

    def health_changed(self) -> None:
        """Wakes whoever waits for the health's next status."""
        waiting, self._health_waiters = self._health_waiters, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def next_health(self) -> None:
        """Returns at the next change of the health's status."""
        future = asyncio.get_running_loop().create_future()
        self._health_waiters.append(future)
        await future
