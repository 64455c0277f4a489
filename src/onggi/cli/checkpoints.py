"""checkpoint: asked of the engine, whose answer says whether it can."""

from __future__ import annotations

import sys

from onggi.cli.command import Command
from onggi.cli.tables import table
from onggi.client.call import Call, Request, json_body, nothing, parsed, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.command import Context
    from onggi.cli.flags import Options


def _create(context: Context, options: Options, words: list[str]) -> None:
    body = {
        "CheckpointID": words[1],
        "CheckpointDir": options.text("checkpoint-dir"),
        "Exit": not options.on("leave-running"),
    }
    context.engine(Call(Request("POST", f"/containers/{quote(words[0])}/checkpoints", body=json_body(body)), nothing))
    sys.stdout.write(words[1] + "\n")


def _ls(context: Context, options: Options, words: list[str]) -> None:
    query = {"dir": options.text("checkpoint-dir") or None}
    found: Any = context.engine(Call(Request("GET", f"/containers/{quote(words[0])}/checkpoints", query), parsed)) or []
    sys.stdout.write(table(["CHECKPOINT NAME"], [[one["Name"]] for one in found]))


def _rm(context: Context, options: Options, words: list[str]) -> None:
    query = {"dir": options.text("checkpoint-dir") or None}
    context.engine(
        Call(Request("DELETE", f"/containers/{quote(words[0])}/checkpoints/{quote(words[1])}", query), nothing)
    )


_DIRECTORY = "   --checkpoint-dir string  Directory of the checkpoints, in place of the engine's own\n"
COMMANDS = {
    "create": Command(
        _create, "[OPTIONS] CONTAINER CHECKPOINT", "Create a checkpoint of a running container",
        _DIRECTORY + "   --leave-running bool  Let the container run on", least=2, most=2,
    ),
    "ls": Command(_ls, "[OPTIONS] CONTAINER", "List the checkpoints of a container", _DIRECTORY, least=1, most=1),
    "rm": Command(_rm, "[OPTIONS] CONTAINER CHECKPOINT", "Remove a checkpoint", _DIRECTORY, least=2, most=2),
}  # fmt: skip
