"""`onggi-runtime`: containers from OCI bundles, with runc's command line, texts and exit codes.

Rights: root's. Descriptors expected: stdio, and those of --preserve-fds. What makes a process for a container runs from a
sealed copy of the interpreter (S-01): the program starts itself anew from it, before anything is read.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Final, NoReturn

from onggi.runtime.flags import Command, Flag, Given, UsageError, command_help, flags_help, parse

PROGRAM: Final = "onggi-runtime"
DEFAULT_ROOT: Final = "/run/onggi-runtime"

_GLOBAL: Final = (
    Flag("debug", "enable debug logging"),
    Flag("log", "set the log file to write logs to", "text", default="/dev/stderr"),
    Flag("log-format", "set the log format ('text' or 'json')", "text", default="text"),
    Flag("root", "root directory for storage of container state (on a tmpfs)", "text", default=DEFAULT_ROOT),
    Flag("systemd-cgroup", "not supported: cgroups are made directly"),
    Flag("rootless", "accepted for compatibility ('true', 'false', or 'auto')", "text", default="auto"),
    Flag("version", "print the version", short="v"),
)

_BUNDLE: Final = Flag(
    "bundle", "path to the root of the bundle directory, defaults to the current directory", "text", "b"
)
_CONSOLE: Final = Flag(
    "console-socket", "path to an AF_UNIX socket which will receive the master end of the console", "text"
)
_PIDFD: Final = Flag("pidfd-socket", "path to an AF_UNIX socket which will receive a pidfd of the process", "text")
_PID_FILE: Final = Flag("pid-file", "specify the file to write the process id to", "text")
_PRESERVE: Final = Flag("preserve-fds", "pass N additional file descriptors to the container", "text", default="0")
_DETACH: Final = Flag("detach", "detach from the container's process", short="d")
_FORMAT: Final = Flag("format", "select one of: table or json", "text", "f", "table")
_MAKING: Final = (
    _BUNDLE,
    _CONSOLE,
    _PIDFD,
    _PID_FILE,
    Flag("no-pivot", "not supported: the root is always pivoted"),
    Flag("no-new-keyring", "do not create a new session keyring for the container"),
    _PRESERVE,
)

_ID: Final = "<container-id>"
COMMANDS: Final = (
    Command("create", "create a container", f"create [command options] {_ID}", _MAKING),
    Command(
        "delete",
        "delete any resources held by the container",
        f"delete [command options] {_ID}",
        (Flag("force", "forcibly delete the container if it is still running (uses SIGKILL)", short="f"),),
    ),
    Command(
        "exec",
        "execute new process inside the container",
        f"exec [command options] {_ID} <command> [command options]  || -p process.json {_ID}",
        (
            _CONSOLE,
            _PIDFD,
            Flag("cwd", "current working directory in the container", "text"),
            Flag("env", "set environment variables", "list", "e"),
            Flag("tty", "allocate a pseudo-TTY", short="t"),
            Flag("user", "UID (format: <uid>[:<gid>])", "text", "u"),
            Flag("additional-gids", "additional gids", "list", "g"),
            Flag("process", "path to the process.json", "text", "p"),
            _DETACH,
            _PID_FILE,
            Flag("no-new-privs", "set the no new privileges value for the process"),
            Flag("cap", "add a capability to the bounding set for the process", "list", "c"),
            _PRESERVE,
            Flag("ignore-paused", "allow exec in a paused container"),
        ),
        most=None,
        flags_anywhere=False,
    ),
    Command("features", "show the enabled features", "features", least=0, most=0),
    Command(
        "kill",
        "send the specified signal (default: SIGTERM) to the container's init process",
        f"kill [command options] {_ID} [signal]",
        (Flag("all", "send the signal to all processes inside the container", short="a"),),
        most=2,
    ),
    Command(
        "list",
        "list containers started with the given root",
        "list [command options]",
        (_FORMAT, Flag("quiet", "display only container IDs", short="q")),
        least=0,
        most=0,
    ),
    Command("pause", "pause suspends all processes inside the container", f"pause {_ID}"),
    Command(
        "ps",
        "display the processes running inside a container",
        f"ps [command options] {_ID} [ps options]",
        (_FORMAT,),
        most=None,
        flags_anywhere=False,
    ),
    Command("resume", "resume all processes that have been previously paused", f"resume {_ID}"),
    Command(
        "run",
        "create and run a container",
        f"run [command options] {_ID}",
        (
            *_MAKING,
            _DETACH,
            Flag("keep", "do not delete the container after it exits"),
            Flag("no-subreaper", "ignored"),
        ),
    ),
    Command("spec", "create a new specification file", "spec [command options]", (_BUNDLE,), least=0, most=0),
    Command("start", "execute the user defined process in a created container", f"start {_ID}"),
    Command("state", "output the state of a container", f"state {_ID}"),
    Command(
        "update",
        "update container resource constraints",
        f"update [command options] {_ID}",
        (
            Flag("resources", "path to the file with the resources to update, '-' for standard input", "text", "r"),
            Flag("memory", "memory limit (in bytes)", "text"),
            Flag("memory-swap", "total memory usage (memory + swap), -1 for unlimited", "text"),
            Flag("memory-reservation", "memory reservation or soft limit (in bytes)", "text"),
            Flag("cpu-period", "CPU CFS period to be used for hardcapping (in usecs)", "text"),
            Flag("cpu-quota", "CPU CFS hardcap limit (in usecs)", "text"),
            Flag("cpu-shares", "CPU shares (relative weight vs. other containers)", "text", aliases=("cpu-share",)),
            Flag("cpuset-cpus", "CPU(s) to use", "text"),
            Flag("cpuset-mems", "memory node(s) to use", "text"),
            Flag("pids-limit", "maximum number of pids allowed in the container", "text"),
        ),
    ),
)

_SEALED: Final = frozenset({"create", "run", "exec"})


def main() -> NoReturn:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Carry out one command line; returns the exit code."""
    try:
        options = parse(_GLOBAL, words)
    except UsageError as error:
        sys.stderr.write(f"Incorrect Usage: {error}\n\n{_help()}")
        return 1
    if "version" in options.switches:
        sys.stdout.write(_version())
        return 0
    if "help" in options.switches or not options.rest or options.rest[0] in {"help", "h"}:
        sys.stdout.write(_help())
        return 0
    name = options.rest[0]
    command = next((command for command in COMMANDS if command.name == name), None)
    if command is None:
        return _fail(options, f"No help topic for '{name}'", code=3)
    try:
        given = parse(command.flags, options.rest[1:], anywhere=command.flags_anywhere)
        if "help" in given.switches:
            sys.stdout.write(command_help(PROGRAM, command))
            return 0
        _check_count(command, given)
    except UsageError as error:
        sys.stdout.write(f"Incorrect Usage.\n\n{command_help(PROGRAM, command)}")
        return _fail(options, str(error))
    if name in _SEALED:
        _run_sealed()
    return _carry_out(command, options, given)


def _carry_out(command: Command, options: Given, given: Given) -> int:
    # msgspec asks for it and does without; it takes as long to import as a container to start.
    sys.modules.setdefault("typing_extensions", None)  # type: ignore[arg-type]
    from onggi.errors import OnggiError
    from onggi.runtime import operations, reports

    handlers = {**operations.COMMANDS, **reports.COMMANDS}
    try:
        if "systemd-cgroup" in options.switches:
            raise UsageError("--systemd-cgroup is not supported: start without it, cgroups are made directly")
        return handlers[command.name](options, given)
    except operations.ExecFailed as error:
        return _fail(options, str(error), code=255)
    except (OnggiError, UsageError) as error:
        return _fail(options, str(error))
    except OSError as error:
        return _fail(options, f"{error.strerror or error}")


def _check_count(command: Command, given: Given) -> None:
    count = len(given.rest)
    if command.most is not None and command.least == command.most != count:
        raise UsageError(f'{PROGRAM}: "{command.name}" requires exactly {command.least} argument(s)')
    if count < command.least:
        raise UsageError(f'{PROGRAM}: "{command.name}" requires a minimum of {command.least} argument(s)')
    if command.most is not None and count > command.most:
        raise UsageError(f'{PROGRAM}: "{command.name}" requires a maximum of {command.most} argument(s)')


def _run_sealed() -> None:
    """Go on as the same program in a sealed copy of the interpreter, unless this is it (CVE-2019-5736)."""
    if os.readlink("/proc/self/exe").startswith("/memfd:"):
        return
    from onggi.kernel.process import sealed_copy

    interpreter = sealed_copy(sys.executable)
    # -I: nothing of the environment or the working directory is believed (S-23).
    words = [sys.executable, "-I", "-m", "onggi.runtime.command", *sys.argv[1:]]
    os.execve(f"/proc/self/fd/{interpreter.fileno()}", words, os.environ)  # noqa: S606 - this program itself


def _fail(options: Given, message: str, code: int = 1) -> int:
    """Say why, as runc does: one line on stderr (or in --log, and then on stderr for a person too)."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if options.text("log-format") == "json":
        import json

        line = json.dumps({"level": "error", "msg": message, "time": now}, separators=(",", ":"))
    else:
        escaped = message.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        line = f'time="{now}" level=error msg="{escaped}"'
    path = options.text("log")
    if path in {"", "/dev/stderr"}:
        sys.stderr.write(line + "\n")
        return code
    try:
        with open(path, "a", encoding="utf-8") as log:
            log.write(line + "\n")
    except OSError:
        sys.stderr.write(line + "\n")
    else:
        sys.stderr.write(message + "\n")
    return code


def _version() -> str:
    from importlib.metadata import version

    return f"{PROGRAM} version {version('onggi')}\nspec: 1.2.1\n"


def _help() -> str:
    width = max(len(command.name) for command in COMMANDS) + 2
    commands = "".join(f"   {command.name:<{width}}{command.summary}\n" for command in COMMANDS)
    return (
        f"NAME:\n   {PROGRAM} - Open Container Initiative runtime\n\n"
        f"USAGE:\n   {PROGRAM} [global options] command [command options] [arguments...]\n\n"
        f"COMMANDS:\n{commands}\nGLOBAL OPTIONS:\n{flags_help(_GLOBAL)}"
    )


if __name__ == "__main__":
    main()
