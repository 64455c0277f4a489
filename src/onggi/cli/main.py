"""`onggi`: from the words to a command, and from what happens to an exit code.

Exit codes as docker's: 0; 1 when a command failed; 125 for wrong use and for an engine that can't start a container,
126 and 127 when a program can't be run or isn't there; else the container's own.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from onggi.cli.configfile import ConfigFile
    from onggi.cli.contexts import Store
    from onggi.cli.flags import Flag, Options
    from onggi.client.endpoint import Endpoint, Tls
    from onggi.client.sync import Client

GLOBAL_FLAGS = """
   --config string  Directory of the client's configuration files
-c --context string  Context to use for this command, in place of DOCKER_HOST and of the one set with "context use"
-D --debug bool  Print what happens on the way
-H --host list  Engine to talk to
-l --log-level string=info  Least level of messages ("debug", "info", "warn", "error", "fatal")
   --tls bool  Use TLS; implied by --tlsverify
   --tlscacert string  Trust certificates signed by this authority only
   --tlscert string  TLS certificate of the client
   --tlskey string  TLS key of the client
   --tlsverify bool  Use TLS and verify the engine
-v --version bool  Print the version and quit
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
        hidden: bool = False,
    ) -> None:
        self.run, self.usage, self.help, self.flags = run, usage, help, flags
        self.least, self.most, self.interspersed, self.hidden = least, most, interspersed, hidden

    def usage_line(self, call: str) -> str:
        """The usage behind `call`; a second form of it stands on a line of its own."""
        return f"{call} {self.usage}".rstrip().replace("{program}", call.partition(" ")[0])


class Context:
    """What a command works with: settings, the engine, and the program's own name; each made when it is asked for first."""

    def __init__(self, program: str, options: Options | None = None, raw: list[str] | None = None) -> None:
        self.program, self._options, self.global_words = program, options, raw or []
        self._config: ConfigFile | None = None
        self._endpoint: Endpoint | None = None
        self._client: Client | None = None

    def _global(self, name: str) -> str:
        return self._options.text(name) if self._options else ""

    def switched(self, name: str) -> bool:
        return bool(self._options and self._options.on(name))

    @property
    def host(self) -> str:
        """--host. Raises Exit when it was given twice."""
        hosts = self._options.list("host") if self._options else []
        if len(hosts) > 1:
            raise Exit(1, "Specify only one -H")
        return hosts[0] if hosts else ""

    @property
    def config(self) -> ConfigFile:
        if self._config is None:
            from onggi.cli.configfile import ConfigFile

            self._config = ConfigFile(self._global("config"))
        return self._config

    @property
    def contexts(self) -> Store:
        from onggi.cli.contexts import Store

        return Store(self.config.directory)

    @property
    def context_name(self) -> str:
        from onggi.cli.contexts import current

        return current(self.config, self.host, self._global("context"))

    def _tls(self) -> Tls | None:
        """What --tls, --tlsverify and --tlscacert … say; None when none of them was given."""
        verify = self.switched("tlsverify")
        if not verify and not self.switched("tls"):
            return None
        import os

        from onggi.client.endpoint import Tls

        directory = os.environ.get("DOCKER_CERT_PATH") or self.config.directory
        files = Tls.of_directory(directory, verify=verify)
        return Tls(
            self._global("tlscacert") or files.ca, self._global("tlscert") or files.cert, self._global("tlskey") or files.key,
            verify=verify,
        )  # fmt: skip

    @property
    def endpoint(self) -> Endpoint:
        """Raises ContextError, ConnectionRefused."""
        if self._endpoint is None:
            from onggi.cli.contexts import endpoint_of

            self._endpoint = endpoint_of(self.contexts, self.context_name, self.host, self._tls())
        return self._endpoint

    @property
    def engine(self) -> Client:
        if self._client is None:
            self._client = self.connect()
        return self._client

    def connect(self) -> Client:
        """A connection of its own, for work beside the first one."""
        import os

        from onggi.client.sync import Client

        version = self._client.version if self._client else os.environ.get("DOCKER_API_VERSION", "").removeprefix("v")
        return Client(self.endpoint, version=version, headers=self.config.headers())


def main() -> None:
    words = sys.argv[1:]
    if words in (["--version"], ["-v"]):
        _print_version()
        return
    sys.exit(run(sys.argv[0].rpartition("/")[2] or "onggi", words))


def _print_version() -> None:
    from onggi import __version__

    sys.stdout.write(f"onggi version {__version__}\n")


def run(program: str, words: list[str]) -> int:
    """The exit code. What can go wrong is said on stderr, never as a traceback."""
    from onggi.cli.flags import HelpWanted, UsageError, parse, read_flags

    try:
        options, rest = parse(read_flags(GLOBAL_FLAGS), words, interspersed=False)
    except HelpWanted:
        from onggi.cli.helptexts import overview

        sys.stdout.write(overview(program))
        return 0
    except UsageError as error:
        sys.stderr.write(
            f"{error}\n\nUsage:  {program} [OPTIONS] COMMAND [ARG...]\n\nRun '{program} --help' for more information\n"
        )
        return 125
    if options.on("version"):
        _print_version()
        return 0
    if options.text("log-level") not in ("debug", "info", "warn", "warning", "error", "fatal", "panic", "trace"):
        sys.stderr.write(f"Unable to parse logging level: {options.text('log-level')}\n")
        return 1
    return _guarded(program, lambda: _dispatch(Context(program, options, words[: len(words) - len(rest)]), rest))


def _guarded(program: str, action: Callable[[], int]) -> int:
    """`action`'s exit code, or the one of what it raises."""
    from onggi.errors import OnggiError

    try:
        code = action()
        sys.stdout.flush()
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
        sys.stderr.write(f"{program}: {error}\n")
        return 1
    return code


def _dispatch(context: Context, words: list[str]) -> int:
    from onggi.cli.commands import GROUPS, TOP

    program = context.program
    if not words:
        from onggi.cli.helptexts import overview

        sys.stdout.write(overview(program))
        return 0
    name, rest = words[0], words[1:]
    if name == "help":
        return _help_about(context, rest)
    if name in GROUPS:
        return _dispatch_group(context, name, rest)
    if name in TOP:
        return _call(context, name, TOP[name], rest)
    if name in ("__complete", "__completeNoDesc"):
        from onggi.cli.completing import complete

        return complete(context, rest, described=name == "__complete")
    from onggi.cli.plugins import run_plugin

    code = run_plugin(context, name, rest)
    if code is not None:
        return code
    from onggi.cli.helptexts import near

    sys.stderr.write(
        f"{program}: unknown command: {program} {name}{near(name, [*GROUPS, *TOP])}\n\nRun '{program} --help' for more information\n"
    )
    return 1


def _help_about(context: Context, words: list[str]) -> int:
    from onggi.cli.commands import GROUPS, TOP

    if not words:
        return _dispatch(context, [])
    if (words[0] in GROUPS and (len(words) == 1 or words[1] in GROUPS[words[0]])) or words[0] in TOP:
        return _dispatch(context, [*words[:2], "--help"])
    raise Exit(1, f"unknown help topic: {' '.join(words)}")


def _dispatch_group(context: Context, name: str, words: list[str]) -> int:
    """The group's command, or help on the group."""
    from onggi.cli.commands import GROUPS
    from onggi.cli.flags import HelpWanted, UsageError, parse
    from onggi.cli.helptexts import group_help, near

    call = f"{context.program} {name}"
    tail = f"\n\nUsage:  {call}\n\nRun '{call} --help' for more information\n"
    try:
        _, rest = parse([], words, interspersed=False)
    except HelpWanted:
        rest = []
    except UsageError as error:
        sys.stderr.write(f"{error}{tail}")
        return 125
    if not rest:
        sys.stdout.write(group_help(context.program, name))
        return 0
    group = GROUPS[name]
    if rest[0] not in group:
        sys.stderr.write(f"{context.program}: unknown command: {call} {rest[0]}{near(rest[0], group)}{tail}")
        return 1
    return _call(context, f"{name} {rest[0]}", group[rest[0]], rest[1:])


def load(where: str) -> Command:
    import importlib

    module, _, function = where.partition(":")
    command: Command = importlib.import_module(f"onggi.cli.{module}").COMMANDS[function]
    return command


def _call(context: Context, name: str, where: str, words: list[str]) -> int:
    from onggi.cli.flags import HelpWanted, UsageError, parse, read_flags

    is_build = where == "building:build"
    if is_build:
        from onggi.cli.plugins import built_elsewhere

        if (code := built_elsewhere(context, words, unknown=False)) is not None:
            return code
    command = load(where)
    call = f"{context.program} {name}"
    try:
        flags = read_flags(command.flags)
        options, rest = parse(flags, words, interspersed=command.interspersed)
        _check_versions(context, [flag for flag in flags if flag.since and flag.name in options.given])
        _check_number(call, command, rest)
        command.run(context, options, rest)
    except HelpWanted:
        from onggi.cli.helptexts import command_help

        sys.stdout.write(command_help(context.program, name, where, command))
    except UsageError as error:
        if (
            is_build
            and str(error).startswith("unknown")
            and (code := built_elsewhere(context, words, unknown=True)) is not None
        ):
            return code
        sys.stderr.write(f"{error}\n\nUsage:  {command.usage_line(call)}\n\nRun '{call} --help' for more information\n")
        return 125
    return 0


def _check_versions(context: Context, flags: list[Flag]) -> None:
    """Refuses flags that the engine is too old for; it is asked only when there is such a flag. Raises Exit."""
    if not flags:
        return
    from onggi.client import system

    def number(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split("."))

    spoken = min(context.engine(system.version())["ApiVersion"], context.engine.version, key=number)
    told = [
        f'"--{flag.name}" requires API version {flag.since}, but the Docker daemon API version is {spoken}'
        for flag in flags
        if number(spoken) < number(flag.since)
    ]
    if told:
        raise Exit(1, "\n".join(told))


def words_of(error: Exception) -> str:
    """Docker's form of an engine's error."""
    from onggi.client.errors import ApiError

    return f"Error response from daemon: {error}" if isinstance(error, ApiError) else str(error)


def _check_number(call: str, command: Command, words: list[str]) -> None:
    """Raises Exit in docker's words when there are too few or too many words."""
    least, most = command.least, command.most
    if least <= len(words) and (most < 0 or len(words) <= most):
        return

    def counted(number: int) -> str:
        return f"{number} argument{'s' if number != 1 else ''}"

    see = "Run"
    if most == 0:
        quantity = "accepts no arguments"
    elif most == least:
        quantity = f"requires {counted(least)}"
    elif most < 0:
        quantity, see = f"requires at least {counted(least)}", "See"
    elif least == 0:
        quantity = f"requires at most {counted(most)}"
    else:
        quantity = f"requires at least {least} and at most {counted(most)}"
    program = call.partition(" ")[0]
    raise Exit(
        1,
        f"{program}: '{call}' {quantity}\n\nUsage:  {command.usage_line(call)}\n\n{see} '{call} --help' for more information",
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
