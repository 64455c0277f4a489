"""`onggi`: from the words to a command, and from what happens to an exit code.

Exit codes as docker's: 0; 1 when a command failed; 125 for wrong use and for an engine that can't start a container,
126 and 127 when a program can't be run or isn't there; else the container's own.
"""

from __future__ import annotations

import os
import sys

from onggi.cli.command import GLOBAL_FLAGS, Command, Context, Exit, load, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from onggi.cli.flags import Flag


def main() -> None:
    words = sys.argv[1:]
    if words in (["--version"], ["-v"]):
        _print_version()
        return
    sys.exit(run(sys.argv[0].rpartition("/")[2] or "onggi", words))


def _print_version() -> None:
    from onggi import __version__

    sys.stdout.write(f"onggi version {__version__}\n")


def _keep_order() -> None:
    """With 2>&1 what is said on either stream is read in the order it was said."""
    try:
        if os.path.sameopenfile(1, 2):
            sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a TextIOWrapper
    except (OSError, AttributeError):  # one of them is closed
        return


def run(program: str, words: list[str]) -> int:
    """The exit code. What can go wrong is said on stderr, never as a traceback."""
    from onggi.cli.flags import HelpWanted, UsageError, parse, read_flags

    _keep_order()
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
    if context.config.group("aliases"):
        from onggi.cli.plugins import builder_alias, run_plugin

        alias = builder_alias(context.config)
        if name == "builder" and alias and (code := run_plugin(context, alias, rest)) is not None:
            return code
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
    if rest[0] not in group and name == "builder":  # buildx has more of them
        from onggi.cli.plugins import run_plugin

        if (code := run_plugin(context, "buildx", rest)) is not None:
            return code
    if rest[0] not in group:
        sys.stderr.write(f"{context.program}: unknown command: {call} {rest[0]}{near(rest[0], group)}{tail}")
        return 1
    return _call(context, f"{name} {rest[0]}", group[rest[0]], rest[1:])


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
