"""logs."""

from __future__ import annotations

import os

from onggi.cli.command import Command, Exit
from onggi.cli.units import since_argument
from onggi.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options


def _logs(context: Context, options: Options, words: list[str]) -> None:
    since, until = _moment(options, "since"), _moment(options, "until")
    config = context.engine(containers.inspect(words[0]))
    stream = containers.logs(
        config["Id"], tty=config["Config"]["Tty"], follow=options.on("follow"), since=since,
        until=until, timestamps=options.on("timestamps"), details=options.on("details"),
        tail=options.text("tail"),
    )  # fmt: skip
    for number, piece in context.engine.stream(stream):
        view = memoryview(piece)
        while view:
            view = view[os.write(2 if number == 2 else 1, view) :]


def _moment(options: Options, name: str) -> str | None:
    try:
        return since_argument(options.text(name)) or None
    except ValueError as error:
        raise Exit(1, f'invalid value for "{name}": {error}') from None


COMMANDS = {
    "logs": Command(
        _logs, "[OPTIONS] CONTAINER", "Fetch the logs of a container",
        """
   --details bool  Show extra details provided to logs
-f --follow bool  Follow log output
   --since string  Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
-n --tail string=all  Number of lines to show from the end of the logs
-t --timestamps bool  Show timestamps
   --until string  Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
""",
        least=1, most=1,
    ),
}  # fmt: skip
