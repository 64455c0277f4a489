"""Flags that docker's command line doesn't have: of run and create, and of update (beyond docker's API, in its `Onggi` parts)."""

from __future__ import annotations

import re

from onggi.cli.flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.flags import Options
    from onggi.client.shapes import Json

UPDATE_FLAGS = """
   --env list:env  Set environment variables (from the next start on)
   --env-rm list  Remove environment variables (from the next start on)
   --label list:label  Set meta data on the container
   --label-rm list  Remove meta data
   --mount-add mount  Attach a filesystem mount, at once where that can be
   --mount-rm list  Detach what is mounted at a path of the container
   --publish-add list  Publish a container's port to the host, at once
   --publish-rm list  Withdraw a container's port (PORT[/PROTO])
"""
_TESTS = {"health-http": "HTTP", "health-tcp": "TCP", "health-grpc": "GRPC"}
_TIMES = {"delay": "RestartDelay", "max": "RestartMaxDelay", "reset": "RestartReset"}
_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)", re.ASCII)
_NANOSECONDS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def health_test(options: Options) -> list[str] | None:
    """The Test of a check that needs no program. Raises UsageError for two of them."""
    found = [[kind, options.text(flag)] for flag, kind in _TESTS.items() if options.text(flag)]
    if len(found) + bool(options.text("health-cmd")) > 1:
        raise UsageError("one check at most: --health-cmd, --health-http, --health-tcp or --health-grpc")
    return found[0] if found else None


def split_restart(text: str) -> tuple[str, Json]:
    """`on-failure:5,delay=1s,max=30s,reset=60s` → docker's word, and the times. Raises UsageError."""
    policy, *words = text.split(",")
    times: Json = {}
    for word in words:
        name, _, value = word.partition("=")
        found = _TIME.fullmatch(value)
        if name not in _TIMES or not found:
            raise UsageError(
                f"invalid restart policy: {word}: want delay=, max= or reset= with a time like 500ms or 30s"
            )
        times[_TIMES[name]] = int(float(found[1]) * _NANOSECONDS[found[2]])
    return policy, times


def extensions(options: Options) -> Json:
    """The `Onggi` part of a create body."""
    _, times = split_restart(options.text("restart"))
    action = options.text("health-on-failure")
    if action not in ("", "none", "kill", "restart", "stop"):
        raise UsageError("--health-on-failure: want none, kill, restart or stop")
    return times | ({"HealthOnFailure": action} if action else {})


def changes(options: Options) -> Json:
    """The `Onggi` part of an update body. Raises UsageError."""
    from onggi.cli import mountwords, ports
    from onggi.cli.pairs import environment, labels

    found: dict[str, Any] = {
        "Env": environment(options.list("env"), []), "EnvRemove": options.list("env-rm"),
        "Labels": labels(options.list("label"), []), "LabelsRemove": options.list("label-rm"),
        "PublishRemove": options.list("publish-rm"), "MountsRemove": options.list("mount-rm"),
        "Mounts": [mountwords.mount(text) for text in options.list("mount-add")],
    }  # fmt: skip
    bindings: dict[str, list[Json]] = {}
    try:
        for word in options.list("publish-add"):
            for port, wanted in ports.publish(word).items():
                bindings.setdefault(port, []).extend(wanted)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return {name: value for name, value in (found | {"Publish": bindings}).items() if value}
