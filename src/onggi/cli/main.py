"""`onggi`: from the words to a command, and from what happens to an exit code.

Exit codes as docker's: 0; 1 when a command failed; 125 for wrong use and for an engine that can't start a container,
126 and 127 when a program can't be run or isn't there; else the container's own.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from onggi.cli.flags import Options
    from onggi.client.sync import Client

GLOBAL_FLAGS = """
   --config string  Location of client config files
-c --context string  Name of the context to use to connect to the daemon
-D --debug bool  Enable debug mode
-H --host string  Daemon socket to connect to
-l --log-level string=info  Set the logging level
   --tls bool  Use TLS
   --tlscacert string  Trust certs signed only by this CA
   --tlscert string  Path to TLS certificate file
   --tlskey string  Path to TLS key file
   --tlsverify bool  Use TLS and verify the remote
-v --version bool  Print version information and quit
"""


class Exit(Exception):
    """Ends the program with `code`; `message` goes to stderr."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Command:
    """One command: `run(context, options, words)`. `most` -1 is any number of words."""

    def __init__(
        self,
        run: Callable[[Context, Options, list[str]], None],
        usage: str,
        help: str,
        flags: str = "",
        *,
        least: int = 0,
        most: int = -1,
        interspersed: bool = True,
    ) -> None:
        self.run, self.usage, self.help, self.flags = run, usage, help, flags
        self.least, self.most, self.interspersed = least, most, interspersed


class Context:
    """What a command works with: the engine, made when it is asked for first, and the program's own name."""

    def __init__(self, program: str, host: str | None, config: str | None) -> None:
        self.program, self._host, self.config_dir = program, host, config
        self._client: Client | None = None

    @property
    def engine(self) -> Client:
        if self._client is None:
            self._client = self.connect()
        return self._client

    def connect(self) -> Client:
        """A connection of its own, for work beside the first one."""
        from onggi.client.sync import Client

        return Client(self._host)


def main() -> None:
    words = sys.argv[1:]
    if words in (["--version"], ["-v"]):
        from onggi import __version__

        sys.stdout.write(f"onggi version {__version__}\n")
        return
    sys.exit(run(sys.argv[0].rpartition("/")[2] or "onggi", words))


def run(program: str, words: list[str]) -> int:
    """The exit code. What can go wrong is said on stderr, never as a traceback."""
    from onggi.cli.flags import HelpWanted, UsageError, parse, read_flags

    try:
        options, rest = parse(read_flags(GLOBAL_FLAGS), words, interspersed=False)
    except HelpWanted:
        sys.stdout.write(_overview(program))
        return 0
    except UsageError as error:
        sys.stderr.write(
            f"{error}\n\nUsage:  {program} [OPTIONS] COMMAND [ARG...]\n\nRun '{program} --help' for more information\n"
        )
        return 125
    if options.on("version"):
        from onggi import __version__

        sys.stdout.write(f"onggi version {__version__}\n")
        return 0
    context = Context(program, options.text("host") or None, options.text("config") or None)
    return _dispatch(context, rest)


def _dispatch(context: Context, words: list[str]) -> int:
    from onggi.cli.commands import GROUPS, TOP

    if not words:
        sys.stdout.write(_overview(context.program))
        return 0
    name, rest = words[0], words[1:]
    if name == "help":
        return _dispatch(context, [*rest, "--help"]) if rest else _dispatch(context, [])
    if name in GROUPS:
        group = GROUPS[name]
        if not rest or rest[0] in ("--help", "-h"):
            sys.stdout.write(_group_help(context.program, name))
            return 0
        if rest[0] not in group:
            sys.stderr.write(
                f"{context.program}: unknown command: {context.program} {name} {rest[0]}\n\nUsage:  {context.program} {name} COMMAND\n\nRun '{context.program} {name} --help' for more information\n"
            )
            return 1
        return _call(context, f"{name} {rest[0]}", group[rest[0]], rest[1:])
    if name in TOP:
        return _call(context, name, TOP[name], rest)
    sys.stderr.write(
        f"{context.program}: unknown command: {context.program} {name}\n\nRun '{context.program} --help' for more information\n"
    )
    return 1


def load(where: str) -> Command:
    import importlib

    module, _, function = where.partition(":")
    command: Command = importlib.import_module(f"onggi.cli.{module}").COMMANDS[function]
    return command


def _call(context: Context, name: str, where: str, words: list[str]) -> int:
    from onggi.cli.flags import HelpWanted, UsageError, parse, read_flags
    from onggi.errors import OnggiError

    command = load(where)
    call = f"{context.program} {name}"
    try:
        options, rest = parse(read_flags(command.flags), words, interspersed=command.interspersed)
        _check_number(call, command, rest)
        command.run(context, options, rest)
        sys.stdout.flush()
    except HelpWanted:
        sys.stdout.write(_help(call, command))
        return 0
    except UsageError as error:
        sys.stderr.write(f"{error}\n\nUsage:  {call} {command.usage}\n\nRun '{call} --help' for more information\n")
        return 125
    except Exit as error:
        sys.stdout.flush()
        if error.message:
            sys.stderr.write(error.message + "\n")
        return error.code
    except BrokenPipeError:
        # The reader has had enough (`onggi logs | head`): nothing more to say, not even at exit.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except KeyboardInterrupt:
        return 130
    except OnggiError as error:
        sys.stdout.flush()
        sys.stderr.write(words_of(error) + "\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{context.program}: {error}\n")
        return 1
    return 0


def words_of(error: Exception) -> str:
    """Docker's form of an engine's error."""
    from onggi.client.errors import ApiError

    return f"Error response from daemon: {error}" if isinstance(error, ApiError) else str(error)


def _check_number(call: str, command: Command, words: list[str]) -> None:
    plural = "s" if command.least != 1 else ""
    if len(words) < command.least and command.most == command.least:
        quantity = f"requires {command.least} argument{plural}"
    elif len(words) < command.least:
        quantity = f"requires at least {command.least} argument{plural}"
    elif 0 <= command.most < len(words):
        quantity = (
            "accepts no arguments" if command.most == 0
            else f"requires {command.most} argument{'s' if command.most != 1 else ''}" if command.most == command.least
            else f"requires at most {command.most} argument{'s' if command.most != 1 else ''}"
        )  # fmt: skip
    else:
        return
    what = call.split(" ", 1)[1]
    raise Exit(
        1,
        f"{call.split(' ', maxsplit=1)[0]}: '{call}' {quantity}\n\nUsage:  {call} {command.usage}\n\n"
        f"See '{call} --help' for more information"
        if what
        else quantity,
    )


def _help(call: str, command: Command) -> str:
    from onggi.cli.flags import read_flags

    flags = sorted(read_flags(command.flags), key=lambda flag: flag.name)
    text = f"\nUsage:  {call} {command.usage}\n\n{command.help}\n"
    if not flags:
        return text
    kinds = {
        "bool": "",
        "list": " list",
        "map": " map",
        "string": " string",
        "int": " int",
        "decimal": " decimal",
        "bytes": " bytes",
        "duration": " duration",
    }
    names = [(f"-{flag.short}, " if flag.short else "    ") + f"--{flag.name}{kinds[flag.kind]}" for flag in flags]
    column = max(map(len, names)) + 3
    lines = [f"  {name:{column}}{flag.help}{_default(flag.default)}" for name, flag in zip(names, flags, strict=True)]
    return text + "\nOptions:\n" + "\n".join(lines) + "\n"


def _default(value: object) -> str:
    if value in (False, None, "", []):
        return ""
    return (
        f" (default {value!r})".replace("'", '"').replace("True", "true")
        if isinstance(value, str)
        else f" (default {str(value).lower()})"
    )


def _overview(program: str) -> str:
    from onggi.cli.commands import GROUPS, TOP

    groups = "\n".join(f"  {name:11} {_GROUP_HELP[name]}" for name in sorted(GROUPS))
    commands = "\n".join(f"  {name:11} {load(where).help}" for name, where in sorted(TOP.items()))
    return (
        f"Usage:  {program} [OPTIONS] COMMAND\n\nA container platform: build, ship, run\n\n"
        f"Management Commands:\n{groups}\n\nCommands:\n{commands}\n\n"
        f"Run '{program} COMMAND --help' for more information on a command.\n"
    )


_GROUP_HELP = {
    "builder": "Manage builds", "container": "Manage containers", "image": "Manage images",
    "network": "Manage networks", "system": "Manage Docker", "volume": "Manage volumes",
}  # fmt: skip


def _group_help(program: str, name: str) -> str:
    from onggi.cli.commands import GROUPS

    commands = "\n".join(f"  {word:11} {load(where).help}" for word, where in sorted(GROUPS[name].items()))
    return (
        f"\nUsage:  {program} {name} COMMAND\n\n{_GROUP_HELP[name]}\n\nCommands:\n{commands}\n\n"
        f"Run '{program} {name} COMMAND --help' for more information on a command.\n"
    )


def each(words: list[str], action: Callable[[str], None], *, echo: bool = True, tail: str = "") -> None:
    """`action` on each name; a name that worked is echoed, errors are said at the end, all are tried. Exit code 1 if any failed.

    `tail` is what docker says after the errors; {} in it are the names that failed.
    """
    from onggi.errors import OnggiError

    failed: dict[str, str] = {}
    for word in words:
        try:
            action(word)
        except OnggiError as error:
            failed[word] = words_of(error)
        else:
            if echo:
                sys.stdout.write(word + "\n")
                sys.stdout.flush()
    if failed:
        raise Exit(1, "\n".join([*failed.values(), *([tail.format(", ".join(failed))] if tail else [])]))
