"""What a container can be asked for beyond docker (config.Extensions, the `Onggi` part of a create body), and why it ended.

Both are absent from every answer to a client that doesn't ask (`?onggi=1`), and change the meaning of no field of docker's. Pure.
"""

from __future__ import annotations

import msgspec

from onggi.engine.config import Extensions, go_name
from onggi.errors import InvalidArgument

_ACTIONS = frozenset({"", "none", "kill", "restart", "stop"})


class ExitReason(msgspec.Struct, rename=go_name, frozen=True, omit_defaults=True):
    """Why a container ended. `cause` is a word of CAUSES, `text` a sentence for people."""

    cause: str
    text: str
    signal: str = ""
    oom_kills: int = 0
    memory_limit: int = 0
    memory_peak: int = 0
    victim: str = ""
    """Name of the last process that the kernel killed for want of memory, where its log can be read."""
    host_wide: bool = False
    """It was the machine that had no memory left, not the container's limit."""


CAUSES = (
    "exited",
    "signal",
    "out-of-memory",
    "child-out-of-memory",
    "stopped",
    "killed",
    "unhealthy",
    "lost",
    "not-started",
)


def check(extensions: Extensions | None) -> None:
    """Raises InvalidArgument."""
    if extensions is None:
        return
    if min(extensions.restart_delay, extensions.restart_max_delay, extensions.restart_reset) < 0:
        raise InvalidArgument("Onggi: a restart's delay, its maximum and its reset time can't be negative")
    first, most = extensions.restart_delay, extensions.restart_max_delay
    if first and most and first > most:
        raise InvalidArgument("Onggi: RestartDelay is longer than RestartMaxDelay")
    if extensions.health_on_failure not in _ACTIONS:
        raise InvalidArgument(
            f'Onggi: HealthOnFailure "{extensions.health_on_failure}" is none of "none", "kill", "restart" and "stop"'
        )
