"""Restart policies: whether, and after how long (E-277, E-278). Pure."""

from __future__ import annotations

from onggi.engine.config import RestartPolicy
from onggi.engine.container import Container
from onggi.errors import InvalidArgument
from onggi.runtime.protocol import ExitRecord

FIRST_S = 0.1
LONGEST_S = 60.0
GOOD_RUN_S = 10
"""A run of this length or longer makes the next delay the first one again."""


def check(policy: RestartPolicy, *, auto_remove: bool) -> None:
    """Raises InvalidArgument in dockerd's words."""
    if policy.name not in ("", "no", "always", "unless-stopped", "on-failure"):
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{policy.name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    text, count = "invalid restart policy: maximum retry count", policy.maximum_retry_count
    if count and policy.name != "on-failure":
        also = " and cannot be negative" if count < 0 else ""
        raise InvalidArgument(f"{text} can only be used with 'on-failure'{also}")
    if count < 0:
        raise InvalidArgument(f"{text} cannot be negative")
    if auto_remove and policy.name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")


def wants_another(container: Container, exit_code: int | None = None) -> bool:
    """Whether the policy starts it again after it ended by itself with `exit_code`."""
    policy = container.row.host_config.restart_policy
    code = container.row.exit_code if exit_code is None else exit_code
    match policy.name:
        case "always" | "unless-stopped":
            return True
        case "on-failure":
            return code != 0 and (
                policy.maximum_retry_count == 0 or container.row.restart_count < policy.maximum_retry_count
            )
        case _:
            return False


def next_delay(container: Container, record: ExitRecord, now_s: float) -> float | None:
    """Seconds until the next start, None for none: stopped by hand, or the policy has had enough.

    `now_s` is the loop's clock: a wall clock that jumps makes no run longer (R-18). A run that an earlier engine began is
    measured by the wall clock, for want of another.
    """
    if container.row.stopped_by_hand or container.restarting_by_hand:
        return None
    if not container.restart_wanted and not wants_another(container, record.exit_code):
        return None
    first_s, longest_s, good_run_s = timing(container)
    if container.began_s:
        ran_s = now_s - container.began_s
    else:
        ran_s = (record.finished_at_ns - container.row.started_ns) / 1e9
    if not container.restart_delay_s or ran_s >= good_run_s:
        return first_s
    return min(container.restart_delay_s * 2, longest_s)


def timing(container: Container) -> tuple[float, float, float]:
    """Seconds: first delay, longest delay, and the run after which the next delay is the first again."""
    own = container.row.extensions
    if own is None:
        return FIRST_S, LONGEST_S, GOOD_RUN_S
    first = own.restart_delay / 1e9 or FIRST_S
    return first, max(first, own.restart_max_delay / 1e9 or LONGEST_S), own.restart_reset / 1e9 or GOOD_RUN_S


def at_engine_start(container: Container) -> bool:
    """Whether a container that isn't running is to be started when the engine comes up (E-278)."""
    row = container.row
    match row.host_config.restart_policy.name:
        case "always":
            return row.started_ns > 0
        case "unless-stopped":
            return row.started_ns > 0 and not row.stopped_by_hand
        case "on-failure":
            return row.was_running and not row.stopped_by_hand and wants_another(container)
        case _:
            return False
