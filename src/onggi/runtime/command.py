"""`onggi-runtime`: containers from OCI bundles, with runc's command line, texts and exit codes.

Rights: root's, or a user's with user namespaces. Descriptors expected: stdio, and those of --preserve-fds. Begins in
entry.py, by which what makes a process for a container runs from a sealed copy of the interpreter (S-01).
"""

from __future__ import annotations

import sys
from typing import Final

from onggi.runtime.commandtable import COMMANDS, GLOBAL
from onggi.runtime.flags import Command, Given, UsageError, command_help, flags_help, parse
from onggi.runtime.runtimelog import Log

PROGRAM: Final = "onggi-runtime"
OWN_FAILURE_OF_EXEC: Final = 255
"""An exit code that no process of the container gave."""
HANDLERS: Final = {
    "checkpoint": ("checkpoints", "refuse"),
    "create": ("making", "create"),
    "delete": ("ending", "delete"),
    "events": ("events", "events"),
    "exec": ("entering", "exec_process"),
    "features": ("reports", "features"),
    "kill": ("ending", "kill"),
    "list": ("reports", "list_containers"),
    "pause": ("operations", "pause"),
    "ps": ("reports", "ps"),
    "restore": ("checkpoints", "refuse"),
    "resume": ("operations", "resume"),
    "run": ("making", "run"),
    "spec": ("reports", "spec"),
    "start": ("operations", "start"),
    "state": ("reports", "state"),
    "update": ("operations", "update"),
}
"""Command → module and function: what a command doesn't need isn't imported, which is most of the time that it takes."""


def run(words: list[str]) -> int:
    """Carry out one command line; returns the exit code."""
    try:
        options = parse(GLOBAL, words)
    except UsageError as error:
        sys.stderr.write(f"Incorrect Usage: {error}\n\n{_help()}")
        return 1
    if "version" in options.switches:
        sys.stdout.write(_version())
        return 0
    if "help" in options.switches or not options.rest or options.rest[0] in {"help", "h"}:
        sys.stdout.write(_help())
        return 0
    try:
        log = Log.of(options)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return _run_command(options, log)


def _run_command(options: Given, log: Log) -> int:
    name = options.rest[0]
    command = next((command for command in COMMANDS if name in (command.name, *command.aliases)), None)
    if command is None:
        log.error(f"No help topic for '{name}'")
        return 3
    try:
        given = parse(command.flags, options.rest[1:], anywhere=command.flags_anywhere)
        if "help" in given.switches:
            sys.stdout.write(command_help(PROGRAM, command))
            return 0
        _check_count(command, given)
    except UsageError as error:
        sys.stdout.write(f"Incorrect Usage.\n\n{command_help(PROGRAM, command)}")
        log.error(str(error))
        return 1
    return _carry_out(command, options, given, log)


def _carry_out(command: Command, options: Given, given: Given, log: Log) -> int:
    from onggi.errors import OnggiError

    module, function = HANDLERS[command.name]
    log.debug(f"{command.name} {' '.join(given.rest)}")
    try:
        # importlib.import_module does the same, once importlib has been imported: half a millisecond.
        handler = getattr(__import__(f"onggi.runtime.{module}", fromlist=[function]), function)
        code: int = handler(options, given)
    except (OnggiError, UsageError) as error:
        log.error(str(error))
    except OSError as error:
        log.error(f"{error.strerror or error}")
    else:
        return code
    return OWN_FAILURE_OF_EXEC if command.name == "exec" else 1


def _check_count(command: Command, given: Given) -> None:
    count = len(given.rest)
    if command.most is not None and command.least == command.most != count:
        raise UsageError(f'{PROGRAM}: "{command.name}" requires exactly {command.least} argument(s)')
    if count < command.least:
        raise UsageError(f'{PROGRAM}: "{command.name}" requires a minimum of {command.least} argument(s)')
    if command.most is not None and count > command.most:
        raise UsageError(f'{PROGRAM}: "{command.name}" requires a maximum of {command.most} argument(s)')


def _version() -> str:
    from onggi import __version__

    return f"{PROGRAM} version {__version__}\nspec: 1.3.0\n"


def _help() -> str:
    width = max(len(command.name) for command in COMMANDS) + 2
    commands = "".join(f"   {command.name:<{width}}{command.summary}\n" for command in COMMANDS)
    return (
        f"NAME:\n   {PROGRAM} - Open Container Initiative runtime\n\n"
        f"USAGE:\n   {PROGRAM} [global options] command [command options] [arguments...]\n\n"
        f"COMMANDS:\n{commands}\nGLOBAL OPTIONS:\n{flags_help(GLOBAL)}"
    )
