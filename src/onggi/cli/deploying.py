"""deploy and rollback: onggi's own."""

from __future__ import annotations

import sys

from onggi.cli.command import Command, Exit
from onggi.client import deploys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.shapes import Progress


def _show(items: Iterator[Progress]) -> None:
    for item in items:
        if "error" in item or "errorDetail" in item:
            raise Exit(1, str((item.get("errorDetail") or {}).get("message") or item.get("error")))
        if "status" in item:
            sys.stdout.write(item["status"] + "\n")
            sys.stdout.flush()


def _seconds(value: int | None) -> float | None:
    return None if value is None else value / 1e9


def _deploy(context: Context, options: Options, words: list[str]) -> None:
    changes = {}
    if options.list("env"):
        from onggi.cli.pairs import environment

        changes["Env"] = environment(options.list("env"), [])
    call = deploys.deploy(
        words[0],
        words[1],
        health_timeout_s=_seconds(options.number("health-timeout")),
        drain_s=_seconds(options.number("drain")),
        changes=changes,
    )
    _show(context.engine.stream(call))


def _rollback(context: Context, options: Options, words: list[str]) -> None:
    del options
    _show(context.engine.stream(deploys.rollback(words[0])))


COMMANDS = {
    "deploy": Command(
        _deploy, "[OPTIONS] CONTAINER IMAGE", "Replace a container by one of another image, once that is healthy",
        """
   --drain duration  Longest time for the old container to finish what it has begun (default 10s)
-e --env list  Environment variables of the new container, in place of the old one's
   --health-timeout duration  Longest time for the new container to become healthy (default 60s)
""",
        least=2, most=2,
    ),
    "rollback": Command(_rollback, "CONTAINER", "Go back to what a container was before its last deploy", least=1, most=1),
}  # fmt: skip
