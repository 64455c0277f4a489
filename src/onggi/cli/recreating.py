"""recreate: a container made anew with other words; what isn't said stays as it was (B-04)."""

from __future__ import annotations

import sys

from onggi.cli.command import Command, Exit
from onggi.cli.config_words import container_config
from onggi.cli.flags import UsageError
from onggi.cli.runflags import FLAGS
from onggi.client import deploys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.shapes import Json, Progress

_FIXED = frozenset({"AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce"})
"""What `run` says of itself, not of the container."""


def said(options: Options, image: str, command: list[str]) -> Json:
    """The parts of a create body that the user gave. Raises UsageError."""
    body = container_config(options, image, command)
    host = {
        name: value
        for name, value in body.pop("HostConfig").items()
        if value not in (None, "", [], {}, False, 0, [0, 0])
    }
    networks = body.pop("NetworkingConfig")
    if "network" not in options.given:
        host.pop("NetworkMode", None)
        networks = None
    if "restart" not in options.given:
        host.pop("RestartPolicy", None)
    if host.get("LogConfig") == {"Type": "", "Config": {}}:
        del host["LogConfig"]
    found = {
        name: value for name, value in body.items() if name not in _FIXED and value not in (None, "", [], {}, False)
    }
    return found | {"HostConfig": host} | ({"NetworkingConfig": networks} if networks else {})


def _recreate(context: Context, options: Options, words: list[str]) -> None:
    name, *rest = words
    if options.on("undo"):
        _show(context.engine.stream(deploys.undo(name)))
        return
    try:
        changes = said(options, rest[0] if rest else "", rest[1:])
    except UsageError as error:
        raise Exit(125, f"{context.program}: {error}") from None
    wait = options.number("health-wait")
    _show(context.engine.stream(deploys.recreate(name, changes, health_timeout_s=None if wait is None else wait / 1e9)))


def _show(items: Iterable[Progress]) -> None:
    """Raises Exit when it was refused: the old one is back then."""
    for item in items:
        if item.get("error"):
            raise Exit(1, f"Error: {item['error']}")
        if item.get("status"):
            sys.stdout.write(f"{item['status']}\n")
            sys.stdout.flush()


_OWN = """
   --health-wait duration  Longest time for the new container to become healthy (default 60s)
   --undo bool  Go back to the container that was there before
"""
_NOT_HERE = frozenset(
    {"--name", "--cidfile", "--detach", "--detach-keys", "--pull", "--quiet", "--rm", "--sig-proxy", "--platform"}
)
_FLAGS = "\n".join(line for line in FLAGS.strip("\n").split("\n") if not _NOT_HERE & set(line.split()[:2]))

COMMANDS = {
    "recreate": Command(
        _recreate, "[OPTIONS] CONTAINER [IMAGE [COMMAND] [ARG...]]",
        "Make a container anew with other options; its name, volumes and networks stay", f"{_FLAGS}{_OWN}", least=1, interspersed=False,
    ),
}  # fmt: skip
