"""Commands that are one call a container: stop, kill, rm, wait, rename, update, port, top, diff, export, commit …"""

from __future__ import annotations

import sys

from onggi.cli import beyond
from onggi.cli.command import Command, Exit, each, words_of
from onggi.client import containers
from onggi.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options


def _stop(context: Context, options: Options, words: list[str]) -> None:
    timeout, signal = options.number("timeout"), options.text("signal") or None
    if len(words) == 1:
        each(words, lambda name: context.engine(containers.stop(name, timeout_s=timeout, signal=signal)))
        return
    # All at once, as docker does: each waits for its own container.
    import threading

    errors: dict[str, Exception] = {}

    def stop(name: str) -> None:
        try:
            with context.connect() as engine:
                engine(containers.stop(name, timeout_s=timeout, signal=signal))
        except Exception as error:  # noqa: BLE001 - told at the end, with its name
            errors[name] = error

    threads = [threading.Thread(target=stop, args=(name,), name=f"stop {name}") for name in words]
    for thread in threads:
        thread.start()
    for name, thread in zip(words, threads, strict=True):
        thread.join()
        if name not in errors:
            sys.stdout.write(name + "\n")
    if errors:
        raise Exit(1, "\n".join(words_of(error) for error in errors.values()))


def _restart(context: Context, options: Options, words: list[str]) -> None:
    each(
        words,
        lambda name: context.engine(
            containers.restart(name, timeout_s=options.number("timeout"), signal=options.text("signal") or None)
        ),
    )


def _kill(context: Context, options: Options, words: list[str]) -> None:
    each(words, lambda name: context.engine(containers.kill(name, signal=options.text("signal") or None)))


def _pause(context: Context, options: Options, words: list[str]) -> None:
    del options
    each(words, lambda name: context.engine(containers.pause(name)))


def _unpause(context: Context, options: Options, words: list[str]) -> None:
    del options
    each(words, lambda name: context.engine(containers.unpause(name)))


def _rm(context: Context, options: Options, words: list[str]) -> None:
    force = options.on("force")

    def remove(name: str) -> None:
        try:
            context.engine(
                containers.remove(name.strip("/"), force=force, volumes=options.on("volumes"), link=options.on("link"))
            )
        except ApiError as error:
            if not (force and error.code == 404):
                raise
            sys.stderr.write(words_of(error) + "\n")
            return
        sys.stdout.write(name + "\n")

    each(words, remove, echo=False)


def _wait(context: Context, options: Options, words: list[str]) -> None:
    del options

    def wait(name: str) -> None:
        for status in context.connect().stream(containers.wait(name)):
            sys.stdout.write(f"{status['StatusCode']}\n")
            return

    each(words, wait, echo=False)


def _rename(context: Context, options: Options, words: list[str]) -> None:
    del options
    old, new = words[0].strip(), words[1].strip()
    if not old or not new:
        raise Exit(1, "Error: Neither old nor new names may be empty")
    try:
        context.engine(containers.rename(old, new))
    except ApiError as error:
        raise Exit(1, f"{words_of(error)}\nError: failed to rename container named {old}") from None


def _update(context: Context, options: Options, words: list[str]) -> None:
    from onggi.cli.config_words import resources, restart_policy

    changes = resources(options)
    if onggi := beyond.changes(options):
        changes["Onggi"] = onggi
    if "restart" in options.given:
        changes["RestartPolicy"] = restart_policy(options.text("restart"))
        if beyond.split_restart(options.text("restart"))[1]:
            raise Exit(1, "delays of a restart are the container's from its creation: use recreate")
    if not changes:
        raise Exit(1, "you must provide one or more flags when using this command")

    def update(name: str) -> None:
        answer = context.engine(containers.update(name, changes))
        for warning in answer.get("Warnings") or []:
            sys.stderr.write(f"{warning}\n")
        for part in (answer.get("Onggi") or {}).get("PendingRestart") or []:
            sys.stderr.write(f"{name}: {part} is changed from its next start on\n")

    each(words, update)


def _port(context: Context, options: Options, words: list[str]) -> None:
    del options
    found = context.engine(containers.inspect(words[0]))["NetworkSettings"]["Ports"] or {}
    lines = []
    wanted = words[1] if len(words) > 1 else ""
    if wanted and "/" not in wanted:
        wanted += "/tcp"
    for port in sorted(found, key=lambda key: (int(key.partition("/")[0]), key)):
        if wanted and port != wanted:
            continue
        for binding in found[port] or []:
            address = f"[{binding['HostIp']}]" if ":" in binding["HostIp"] else binding["HostIp"]
            lines.append(f"{address}:{binding['HostPort']}" if wanted else f"{port} -> {address}:{binding['HostPort']}")
    if wanted and not lines:
        raise Exit(1, f"Error: No public port '{words[1]}' published for {words[0]}")
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _top(context: Context, options: Options, words: list[str]) -> None:
    from onggi.cli.tables import table

    del options
    found = context.engine(containers.top(words[0], " ".join(words[1:]) or None))
    sys.stdout.write(table(found["Titles"], found["Processes"], least=20))


_KINDS = {0: "C", 1: "A", 2: "D"}


def _diff(context: Context, options: Options, words: list[str]) -> None:
    del options
    for change in context.engine(containers.changes(words[0])):
        sys.stdout.write(f"{_KINDS[change['Kind']]} {change['Path']}\n")


def _export(context: Context, options: Options, words: list[str]) -> None:
    from onggi.cli.output import check_output, told_as, write_stream

    with told_as("export container"):
        check_output(options.text("output"))
    write_stream(context.engine.stream(containers.export(words[0])), options.text("output"))


def _commit(context: Context, options: Options, words: list[str]) -> None:
    from onggi.cli.references import split

    repository, tag = split(words[1], None) if len(words) > 1 else ("", None)
    made = context.engine(
        containers.commit(
            words[0], repository=repository, tag=tag or "", comment=options.text("message"), author=options.text("author"),
            pause=not options.on("no-pause") and options.on("pause"), changes=options.list("change"),
        )
    )  # fmt: skip
    sys.stdout.write(made["Id"] + "\n")


_SEVERAL = "CONTAINER [CONTAINER...]"
_STOP_FLAGS = """
-s --signal string  Signal to send to the container
-t --timeout int  Seconds to wait before killing the container
   --time int!  Seconds to wait before killing the container
"""


def _with_old_time(run: object) -> object:
    """--time is the old name of --timeout."""

    def wrapped(context: Context, options: Options, words: list[str]) -> None:
        if "time" in options.given:
            sys.stdout.write("Flag --time has been deprecated, use --timeout instead\n")
        if "time" in options.given and "timeout" not in options.given:
            options.values["timeout"] = options.values["time"]
        run(context, options, words)  # type: ignore[operator]

    return wrapped


COMMANDS = {
    "stop": Command(_with_old_time(_stop), f"[OPTIONS] {_SEVERAL}", "Stop one or more running containers", _STOP_FLAGS, least=1),  # type: ignore[arg-type]
    "restart": Command(_with_old_time(_restart), f"[OPTIONS] {_SEVERAL}", "Restart one or more containers", _STOP_FLAGS, least=1),  # type: ignore[arg-type]
    "kill": Command(_kill, f"[OPTIONS] {_SEVERAL}", "Kill one or more running containers", "-s --signal string  Signal to send to the container", least=1),
    "pause": Command(_pause, _SEVERAL, "Pause all processes within one or more containers", least=1),
    "unpause": Command(_unpause, _SEVERAL, "Unpause all processes within one or more containers", least=1),
    "rm": Command(
        _rm, f"[OPTIONS] {_SEVERAL}", "Remove one or more containers",
        """
-f --force bool  Force the removal of a running container (uses SIGKILL)
-l --link bool  Remove the specified link
-v --volumes bool  Remove anonymous volumes associated with the container
""",
        least=1,
    ),
    "wait": Command(_wait, _SEVERAL, "Block until one or more containers stop, then print their exit codes", least=1),
    "rename": Command(_rename, "CONTAINER NEW_NAME", "Rename a container", least=2, most=2),
    "update": Command(
        _update, f"[OPTIONS] {_SEVERAL}", "Update configuration of one or more containers",
        """
   --blkio-weight uint16  Block IO (relative weight), between 10 and 1000, or 0 to disable
   --cpu-period int  Limit CPU CFS (Completely Fair Scheduler) period
   --cpu-quota int  Limit CPU CFS (Completely Fair Scheduler) quota
   --cpu-rt-period int  Limit the CPU real-time period in microseconds
   --cpu-rt-runtime int  Limit the CPU real-time runtime in microseconds
-c --cpu-shares int  CPU shares (relative weight)
   --cpus decimal  Number of CPUs
   --cpuset-cpus string  CPUs in which to allow execution (0-3, 0,1)
   --cpuset-mems string  MEMs in which to allow execution (0-3, 0,1)
   --kernel-memory bytes!  Has no effect: kernels don't limit it any more
-m --memory bytes  Memory limit
   --memory-reservation bytes  Memory soft limit
   --memory-swap bytes:swap  Swap limit equal to memory plus swap: -1 to enable unlimited swap
   --pids-limit int  Tune container pids limit (set -1 for unlimited)
   --restart string  Restart policy to apply when a container exits
"""
        + beyond.UPDATE_FLAGS,
        least=1,
    ),
    "port": Command(_port, "CONTAINER [PRIVATE_PORT[/PROTO]]", "List port mappings or a specific mapping for the container", least=1, most=2),
    "top": Command(_top, "CONTAINER [ps OPTIONS]", "Display the running processes of a container", least=1, interspersed=False),
    "diff": Command(_diff, "CONTAINER", "Inspect changes to files or directories on a container's filesystem", least=1, most=1),
    "export": Command(_export, "[OPTIONS] CONTAINER", "Export a container's filesystem as a tar archive", "-o --output string  Write to a file, instead of STDOUT", least=1, most=1),
    "commit": Command(
        _commit, "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]", "Create a new image from a container's changes",
        """
-a --author string  Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
-c --change list  Apply Dockerfile instruction to the created image
-m --message string  Commit message
   --no-pause bool  Disable pausing container during commit
-p --pause bool!=true  Pause container during commit (deprecated: use --no-pause instead)
""",
        least=1, most=2,
    ),
}  # fmt: skip
