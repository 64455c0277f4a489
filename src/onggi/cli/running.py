"""run, create, start, attach: a container with the user at its streams."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading

from onggi.cli import session, terminal
from onggi.cli.command import Command, Exit
from onggi.cli.creating import make, told_as
from onggi.cli.runflags import FLAGS
from onggi.client import containers
from onggi.errors import OnggiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.sync import Connection


def _run(context: Context, options: Options, words: list[str]) -> None:
    detach = options.on("detach")
    if not detach:
        session.check_tty(tty=options.on("tty"), interactive=options.on("interactive"))
    elif options.list("attach"):
        raise Exit(1, "conflicting options: cannot specify both --attach and --detach")
    keys = session.keys_of(options, context)
    code = 0
    with told_as(context, "run", 125):
        container = make(context, options, words, "run")
        if detach:
            context.engine(containers.start(container))
            sys.stdout.write(container + "\n")
            return
        code = _attached(context, options, container, keys)
    raise Exit(code)


def _attached(context: Context, options: Options, container: str, keys: str) -> int:
    """Attach, register the wait, start, pump; the exit code."""
    tty, stdin = options.on("tty"), options.on("interactive")
    wanted = set(options.list("attach")) or {"stdout", "stderr"}
    wanted |= {"stdin"} if stdin else set()
    attach = containers.attach(
        container, stdin=stdin and "stdin" in wanted, stdout="stdout" in wanted, stderr="stderr" in wanted,
        detach_keys=keys or None,
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
            if not _pump(context, container, connection, tty=tty, stdin=stdin and "stdin" in wanted, keys=keys):
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
    with told_as(context, "create", 125):
        identifier = make(context, options, words, "create")
    sys.stdout.write(identifier + "\n")


def _start(context: Context, options: Options, words: list[str]) -> None:
    keys = session.keys_of(options, context)
    if not (options.on("attach") or options.on("interactive")):
        _start_all(context, options, words)
        return
    if len(words) > 1:
        raise Exit(1, "you cannot start and attach multiple containers at once")
    config = context.engine(containers.inspect(words[0]))
    tty, stdin = config["Config"]["Tty"], options.on("interactive") and config["Config"]["OpenStdin"]
    removed = config["HostConfig"]["AutoRemove"]
    attach = containers.attach(words[0], stdin=stdin, stdout=True, stderr=True, detach_keys=keys or None)
    with context.connect().hijack(attach) as connection:
        ended = context.connect().stream(containers.wait(words[0], condition="removed" if removed else "next-exit"))
        context.engine(containers.start(words[0]))
        with _forwarding(context, words[0], on=not tty):
            if not _pump(context, words[0], connection, tty=tty, stdin=stdin, keys=keys):
                return
        for status in ended:
            raise Exit(int(status["StatusCode"]))


def _start_all(context: Context, options: Options, words: list[str]) -> None:
    from onggi.cli.command import each

    checkpoint = options.text("checkpoint")
    if checkpoint and len(words) > 1:
        raise Exit(1, "you cannot restore multiple containers at once")

    def start(name: str) -> None:
        call = containers.start(name, checkpoint=checkpoint, checkpoint_dir=options.text("checkpoint-dir"))
        context.engine(call)

    each(words, start, echo=not checkpoint, tail="" if checkpoint else "Error: failed to start containers: {}")


def _attach(context: Context, options: Options, words: list[str]) -> None:
    keys = session.keys_of(options, context)
    config = context.engine(containers.inspect(words[0]))
    state = config["State"]
    if not state["Running"]:
        raise Exit(1, "You cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise Exit(1, "You cannot attach to a paused container, unpause it first")
    if state.get("Restarting"):
        raise Exit(1, "You cannot attach to a restarting container, wait until it is running")
    tty, stdin = config["Config"]["Tty"], config["Config"]["OpenStdin"] and not options.on("no-stdin")
    if tty and terminal.is_terminal(sys.stdout.fileno()):
        # A shell draws its prompt anew when its size changes, and only then: a size that differs comes first.
        rows, columns = terminal.size()
        with contextlib.suppress(OnggiError):
            context.engine(containers.resize(words[0], rows + 1, columns + 1))
    session.check_tty(tty=tty, interactive=stdin)
    ended = context.connect().stream(containers.wait(words[0]))
    attach = containers.attach(words[0], stdin=stdin, stdout=True, stderr=True, detach_keys=keys or None)
    with (
        context.connect().hijack(attach) as connection,
        _forwarding(context, words[0], on=options.on("sig-proxy") and not tty),
    ):
        if not _pump(context, words[0], connection, tty=tty, stdin=stdin, keys=keys):
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
   --checkpoint string  Restore from this checkpoint
   --checkpoint-dir string  Use a custom checkpoint storage directory
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
