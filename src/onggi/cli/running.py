"""run, create, start, attach: a container with the user at its streams."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading

from onggi.cli import session, terminal
from onggi.cli.config_words import FLAGS, container_config
from onggi.cli.flags import UsageError
from onggi.cli.main import Command, Exit, words_of
from onggi.client import containers, images
from onggi.client.errors import ApiError, ConnectionRefused, StreamError
from onggi.errors import OnggiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from onggi.cli.flags import Options
    from onggi.cli.main import Context
    from onggi.client.sync import Connection


def _run(context: Context, options: Options, words: list[str]) -> None:
    detach = options.on("detach")
    session.check_tty(tty=options.on("tty"), interactive=options.on("interactive") and not detach)
    try:
        if options.on("rm") and options.text("restart") not in ("", "no"):
            raise UsageError("conflicting options: cannot specify both --restart and --rm")
        container = _make(context, options, words)
        if detach:
            context.engine(containers.start(container))
            sys.stdout.write(container + "\n")
            return
        code = _attached(context, options, container)
    except UsageError as error:
        # What pflag refuses comes with the usage; what only means nothing together comes without.
        if str(error).startswith("invalid argument"):
            raise
        raise Exit(
            125, f"{context.program}: {error}\n\nRun '{context.program} run --help' for more information"
        ) from None
    except (ApiError, ConnectionRefused, StreamError) as error:
        raise Exit(
            _start_code(str(error)),
            f"{context.program}: {words_of(error)}\n\nRun '{context.program} run --help' for more information",
        ) from None
    raise Exit(code)


def _start_code(text: str) -> int:
    """What docker's client makes of a failed start (E-261)."""
    lowered = text.lower()
    if (
        "executable file not found" in lowered
        or "no such file or directory" in lowered
        or "system cannot find the file" in lowered
    ):
        return 127
    if "permission denied" in lowered or "is a directory" in lowered:
        return 126
    return 125


def _make(context: Context, options: Options, words: list[str]) -> str:
    """The id of the new container; its image is pulled when it isn't here. Warnings go to stderr."""
    body = container_config(options, words[0], words[1:])
    cid_file = options.text("cidfile")
    if cid_file and os.path.exists(cid_file):
        raise Exit(
            125,
            f"{context.program}: container ID file found, make sure the other container isn't running or delete {cid_file}",
        )
    pull = options.text("pull")
    if pull not in ("always", "missing", "never"):
        raise UsageError(f'invalid pull option: \'{pull}\': must be one of "always", "missing" or "never"')
    name, platform = options.text("name") or None, options.text("platform") or None
    if pull == "always":
        _pull(context, words[0], options)
    try:
        made = context.engine(containers.create(body, name=name, platform=platform))
    except ApiError as error:
        if error.code != 404 or "no such image" not in str(error).lower() or pull == "never":
            raise
        sys.stderr.write(f"Unable to find image '{_with_tag(words[0])}' locally\n")
        _pull(context, words[0], options)
        made = context.engine(containers.create(body, name=name, platform=platform))
    for warning in made.get("Warnings") or []:
        sys.stderr.write(f"WARNING: {warning}\n")
    if cid_file:
        with open(cid_file, "x", encoding="ascii") as file:
            file.write(made["Id"])
    return made["Id"]


def _with_tag(image: str) -> str:
    return image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"


def _pull(context: Context, image: str, options: Options) -> None:
    from onggi.cli import progress
    from onggi.cli.login import credentials_for
    from onggi.cli.references import split

    repository, tag = split(_with_tag(image))
    stream = images.pull(
        repository, tag, platform=options.text("platform") or None, auth=credentials_for(context, repository)
    )
    progress.show(context.engine.stream(stream), sys.stderr, quiet=options.on("quiet"))


def _attached(context: Context, options: Options, container: str) -> int:
    """Attach, register the wait, start, pump; the exit code."""
    tty, stdin = options.on("tty"), options.on("interactive")
    wanted = {word.lower() for word in options.list("attach")} or {"stdin", "stdout", "stderr"}
    attach = containers.attach(
        container, stdin=stdin and "stdin" in wanted, stdout="stdout" in wanted, stderr="stderr" in wanted,
        detach_keys=options.text("detach-keys") or None,
    )  # fmt: skip
    with context.connect().hijack(attach) as connection:
        waiter = context.connect()
        ended = waiter.stream(containers.wait(container, condition="removed" if options.on("rm") else "next-exit"))
        try:
            context.engine(containers.start(container))
        except OnggiError:
            if options.on("rm"):
                with contextlib.suppress(OnggiError):
                    context.engine(containers.remove(container, force=True, volumes=True))
            raise
        with _forwarding(context, container, on=options.on("sig-proxy") and not tty):
            if not _pump(context, container, connection, tty=tty, stdin=stdin, keys=options.text("detach-keys")):
                return 0
        for status in ended:
            if status.get("Error"):
                sys.stderr.write(f"Error waiting for container: {(status['Error'] or {}).get('Message')}\n")
            return int(status["StatusCode"])
    return 125


def _pump(context: Context, container: str, connection: Connection, *, tty: bool, stdin: bool, keys: str) -> bool:
    """False when the user has detached."""
    raw = tty and stdin and terminal.is_terminal(sys.stdin.fileno())
    with contextlib.ExitStack() as stack:
        if tty and terminal.is_terminal(sys.stdin.fileno()):
            sizes = context.connect()

            def resize(rows: int, columns: int) -> None:
                with contextlib.suppress(OnggiError):
                    sizes(containers.resize(container, rows, columns))

            stack.enter_context(terminal.following_size(resize))
        if raw:
            stack.enter_context(terminal.raw_mode(sys.stdin.fileno()))
        try:
            session.pump(connection, tty=tty, stdin=stdin, detach_keys=keys, raw=raw)
        except session.Detached:
            return False
    return True


_NOT_FORWARDED = {
    signal.SIGCHLD,
    signal.SIGPIPE,
    signal.SIGURG,
    signal.SIGWINCH,
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGCONT,
}


@contextlib.contextmanager
def _forwarding(context: Context, container: str, *, on: bool) -> Iterator[None]:
    """Signals that we get are the container's (--sig-proxy)."""
    if not on or threading.current_thread() is not threading.main_thread():
        yield
        return
    sender = context.connect()

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(OnggiError):
            sender(containers.kill(container, signal=str(number)))

    before = {}
    for number in signal.valid_signals() - _NOT_FORWARDED:
        if number < 32 and number not in (
            signal.SIGSEGV,
            signal.SIGBUS,
            signal.SIGFPE,
            signal.SIGILL,
            signal.SIGTRAP,
            signal.SIGABRT,
        ):
            with contextlib.suppress(OSError, ValueError):
                before[number] = signal.signal(number, forward)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _create(context: Context, options: Options, words: list[str]) -> None:
    try:
        sys.stdout.write(_make(context, options, words) + "\n")
    except (ApiError, ConnectionRefused, StreamError) as error:
        raise Exit(1, words_of(error)) from None


def _start(context: Context, options: Options, words: list[str]) -> None:
    from onggi.cli.main import each

    if not (options.on("attach") or options.on("interactive")):
        each(words, lambda name: context.engine(containers.start(name)), tail="Error: failed to start containers: {}")
        return
    if len(words) > 1:
        raise Exit(1, "you cannot start and attach multiple containers at once")
    config = context.engine(containers.inspect(words[0]))
    tty, stdin = config["Config"]["Tty"], options.on("interactive") and config["Config"]["OpenStdin"]
    attach = containers.attach(words[0], stdin=stdin, stdout=True, stderr=True)
    with context.connect().hijack(attach) as connection:
        ended = context.connect().stream(containers.wait(words[0], condition="next-exit"))
        context.engine(containers.start(words[0]))
        with _forwarding(context, words[0], on=not tty):
            if not _pump(context, words[0], connection, tty=tty, stdin=stdin, keys=options.text("detach-keys")):
                return
        for status in ended:
            raise Exit(int(status["StatusCode"]))


def _attach(context: Context, options: Options, words: list[str]) -> None:
    config = context.engine(containers.inspect(words[0]))
    state = config["State"]
    if not state["Running"]:
        raise Exit(1, "You cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise Exit(1, "You cannot attach to a paused container, unpause it first")
    tty, stdin = config["Config"]["Tty"], config["Config"]["OpenStdin"] and not options.on("no-stdin")
    session.check_tty(tty=tty, interactive=stdin)
    ended = context.connect().stream(containers.wait(words[0]))
    with (
        context.connect().hijack(
            containers.attach(
                words[0], stdin=stdin, stdout=True, stderr=True, detach_keys=options.text("detach-keys") or None
            )
        ) as connection,
        _forwarding(context, words[0], on=options.on("sig-proxy") and not tty),
    ):
        if not _pump(context, words[0], connection, tty=tty, stdin=stdin, keys=options.text("detach-keys")):
            raise Exit(1, "read escape sequence")
    for status in ended:
        raise Exit(int(status["StatusCode"]))


_STREAMS = """
-d --detach bool  Run container in background and print container ID
   --detach-keys string  Override the key sequence for detaching a container
   --sig-proxy bool=true  Proxy received signals to the process
"""

COMMANDS = {
    "run": Command(_run, "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Create and run a new container from an image", FLAGS + _STREAMS, least=1, interspersed=False),
    "create": Command(_create, "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Create a new container", FLAGS, least=1, interspersed=False),
    "start": Command(
        _start, "[OPTIONS] CONTAINER [CONTAINER...]", "Start one or more stopped containers",
        """
-a --attach bool  Attach STDOUT/STDERR and forward signals
   --detach-keys string  Override the key sequence for detaching a container
-i --interactive bool  Attach container's STDIN
""",
        least=1,
    ),
    "attach": Command(
        _attach, "[OPTIONS] CONTAINER", "Attach local standard input, output, and error streams to a running container",
        """
   --detach-keys string  Override the key sequence for detaching a container
   --no-stdin bool  Do not attach STDIN
   --sig-proxy bool=true  Proxy all received signals to the process
""",
        least=1, most=1,
    ),
}  # fmt: skip
