"""Health checks: a probe at each interval, and what its results say (E-304 to E-306).

Times are the loop's clock: a jump of the wall clock, or an engine that was stopped for minutes, makes no probe late (R-18, R-19).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import TYPE_CHECKING

from onggi.engine import healthprobes
from onggi.engine.config import HealthConfig
from onggi.engine.container import Container, Health
from onggi.engine.healthprobes import NetworkProbe
from onggi.errors import InvalidArgument, OnggiError, RuntimeStepError

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_OUTPUT = 4096
_KEPT = 5
_SECOND = 10**9


def check(health: HealthConfig | None) -> None:
    """Raises InvalidArgument in dockerd's words."""
    if health is None:
        return
    healthprobes.parse(health.test)
    for name, value in (
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ):
        if value and value < 10**6:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if health.retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")


def command(health: HealthConfig | None, shell: list[str] | None) -> list[str]:
    """What a probe runs; empty for no check."""
    if health is None or not health.test or health.test[0] == "NONE":
        return []
    if health.test[0] == "CMD":
        return health.test[1:]
    if health.test[0] == "CMD-SHELL":
        return [*(shell or ["/bin/sh", "-c"]), " ".join(health.test[1:])]
    return []


class HealthChecks:
    """One task for each running container that has a check."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, container: Container, *, keep: bool = False) -> None:
        """`keep` goes on from where a pause left it; a start begins anew."""
        config = container.row.config
        words = command(config.healthcheck, config.shell)
        asks = healthprobes.parse(config.healthcheck.test) if config.healthcheck else None
        if not words and asks is None:
            container.health = None
            return
        if not keep or container.health is None:
            container.health = Health()
        container.documents.clear()
        self._tasks[container.id] = self._engine.tasks.begin(
            self._probe(container, asks or words), f"health of {container.name}"
        )

    def stop(self, container: Container, *, keep: bool = False) -> None:
        task = self._tasks.pop(container.id, None)
        if task is not None:
            task.cancel()
        if not keep and container.health is not None:
            container.health.status = "unhealthy"  # what isn't looked at any more, as dockerd tells it

    async def _probe(self, container: Container, words: list[str] | NetworkProbe) -> None:
        config = container.row.config.healthcheck
        health = container.health
        if config is None or health is None:
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        interval = (config.interval or 30 * _SECOND) / 1e9
        start_period = config.start_period / 1e9
        start_interval = (config.start_interval or 5 * _SECOND) / 1e9
        while True:
            starting = health.status == "starting" and loop.time() - began < start_period
            await asyncio.sleep(min(start_interval, interval) if starting else interval)
            await self._once(container, health, config, words, in_start_period=loop.time() - began < start_period)

    async def _once(
        self,
        container: Container,
        health: Health,
        config: HealthConfig,
        words: list[str] | NetworkProbe,
        *,
        in_start_period: bool,
    ) -> None:
        timeout_s = (config.timeout or 30 * _SECOND) / 1e9
        start = time.time_ns()
        try:
            if isinstance(words, NetworkProbe):
                code, output = await healthprobes.ask(words, container.row.pid, timeout_s)
                output = output[:_OUTPUT]
            else:
                code, output = await self._engine.execs.probe(container, words, timeout_s, _OUTPUT)
            if code == -1:
                output = f"Health check exceeded timeout ({_go_duration(timeout_s)})" + (
                    f": {output}" if output else ""
                )
        except RuntimeStepError as error:
            code, output = -1, str(error)
        except OnggiError:
            return  # the container is going: its exit tells the rest
        health.log = [
            *health.log,
            {"Start": _text(start), "End": _text(time.time_ns()), "ExitCode": code, "Output": output},
        ][-_KEPT:]
        before = health.status
        if code == 0:
            health.streak, health.status = 0, "healthy"
        elif not (in_start_period and before == "starting"):
            health.streak += 1
            if health.streak >= (config.retries or 3):
                health.status = "unhealthy"
        container.documents.clear()
        if health.status != before:
            self._engine.events.emit("container", f"health_status: {health.status}", container.id, container.attributes)
            container.health_changed()
            action = container.row.extensions.health_on_failure if container.row.extensions else ""
            if health.status == "unhealthy" and action not in ("", "none"):
                ending = self._engine.stops.end_unhealthy(container, action)
                self._engine.tasks.begin(ending, f"{container.name} is unhealthy")


def _text(ns: int) -> str:
    seconds, rest = divmod(ns, _SECOND)
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09d}Z"


def _go_duration(seconds: float) -> str:
    """As Go prints a time.Duration: 200ms, 1.5s, 1m30s, 1h0m0s."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else "") + f"{rest:g}s"
