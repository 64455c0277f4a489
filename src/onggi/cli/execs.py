"""exec."""

from __future__ import annotations

import contextlib
import sys

from onggi.cli import session, terminal
from onggi.cli.command import Command, Exit, words_of
from onggi.cli.pairs import environment
from onggi.client import containers, execs
from onggi.client.errors import ApiError
from onggi.errors import OnggiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.shapes import Json


def _exec(context: Context, options: Options, words: list[str]) -> None:
    tty, stdin, detach = options.on("tty"), options.on("interactive"), options.on("detach")
    keys = session.keys_of(options, context)
    context.engine(containers.inspect(words[0]))  # a missing container is told of before a missing terminal
    session.check_tty(tty=tty, interactive=stdin and not detach)
    config: Json = {
        "Cmd": words[1:], "Tty": tty, "AttachStdin": stdin and not detach, "AttachStdout": not detach, "AttachStderr": not detach,
        "Env": environment(options.list("env"), options.list("env-file")), "User": options.text("user"), "Privileged": options.on("privileged"),
        "WorkingDir": options.text("workdir"), "DetachKeys": keys,
    }  # fmt: skip
    identifier = context.engine(execs.create(words[0], config))["Id"]
    if detach:
        context.engine(execs.start_detached(identifier, tty=tty))
        return
    rows, columns = terminal.size() if tty else (0, 0)
    try:
        connection = context.connect().hijack(
            execs.start(identifier, tty=tty, console_size=[rows, columns] if rows else None)
        )
    except ApiError as error:
        code = context.engine(execs.inspect(identifier)).get("ExitCode")
        raise Exit(code or 126, words_of(error)) from None
    with connection, contextlib.ExitStack() as stack:
        raw = tty and stdin
        if tty and terminal.is_terminal(sys.stdin.fileno()):
            sizes = context.connect()

            def resize(rows: int, columns: int) -> None:
                with contextlib.suppress(OnggiError):
                    sizes(execs.resize(identifier, rows, columns))

            stack.enter_context(terminal.following_size(resize))
        if raw:
            stack.enter_context(terminal.raw_mode(sys.stdin.fileno()))
        try:
            session.pump(connection, tty=tty, stdin=stdin, detach_keys=keys, raw=raw)
        except session.Detached:
            raise Exit(1, "read escape sequence") from None
    code = context.engine(execs.inspect(identifier))["ExitCode"]
    if code:
        raise Exit(code)


COMMANDS = {
    "exec": Command(
        _exec, "[OPTIONS] CONTAINER COMMAND [ARG...]", "Execute a command in a running container",
        """
-d --detach bool  Detached mode: run command in the background
   --detach-keys string  Override the key sequence for detaching a container
-e --env list:env  Set environment variables
   --env-file list  Read in a file of environment variables
-i --interactive bool  Keep STDIN open even if not attached
   --privileged bool  Give extended privileges to the command
-t --tty bool  Allocate a pseudo-TTY
-u --user string  Username or UID (format: "<name|uid>[:<group|gid>]")
-w --workdir string  Working directory inside the container
""",
        least=2, interspersed=False,
    ),
}  # fmt: skip
