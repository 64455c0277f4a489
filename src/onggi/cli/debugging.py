"""debug: a shell beside a container, or over an image, that has none of its own (B-37).

A tools image runs in the container's pid and network namespaces; its files are below /target. Of a container that doesn't run,
and of an image, the files are mounted there read-only. Nothing is left behind.
"""

from __future__ import annotations

import contextlib
import sys

from onggi.cli import running
from onggi.cli.command import Command, Exit
from onggi.cli.flags import parse, read_flags
from onggi.client import containers, images
from onggi.client.errors import ApiError
from onggi.errors import OnggiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from onggi.cli.command import Context
    from onggi.cli.flags import Options

_ENTER = 'ln -s /proc/1/root /target 2>/dev/null; exec "$@"'
"""Process 1 is the container's, and its root is the container's root."""


def _debug(context: Context, options: Options, words: list[str]) -> None:
    name, *command = words
    tools = options.text("image")
    command = command or ["sh"]
    with contextlib.ExitStack() as undo:
        flags, command = undo.enter_context(_place(context, name, command))
        terminal = ["--interactive", "--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else ["--interactive"]
        run = running.COMMANDS["run"]
        argv = ["--rm", *terminal, *flags, "--entrypoint", command[0], tools, *command[1:]]
        run_options, rest = parse(read_flags(run.flags), argv, interspersed=False)
        run.run(context, run_options, rest)


@contextlib.contextmanager
def _place(context: Context, name: str, command: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Flags of run that bring the tools to the container or image, and what runs there. Raises Exit for neither."""
    try:
        found = context.engine(containers.inspect(name))
    except ApiError as error:
        if error.code != 404:
            raise
        try:
            context.engine(images.inspect(name))
        except ApiError:
            raise Exit(1, f"Error: No such container or image: {name}") from None
        yield [f"--mount=type=image,source={name},target=/target", "--network=none"], command
        return
    identifier = str(found["Id"])
    if found["State"]["Running"] and not found["State"]["Restarting"]:
        shared = [f"--{kind}=container:{identifier}" for kind in ("pid", "network")]
        yield [*shared, "--cap-add=SYS_PTRACE"], ["sh", "-c", _ENTER, "sh", *command]
        return
    image = str(context.engine(containers.commit(identifier, comment="for onggi debug"))["Id"])
    try:
        yield [f"--mount=type=image,source={image},target=/target", "--network=none"], command
    finally:
        with contextlib.suppress(OnggiError):
            context.engine(images.remove(image, force=True))


COMMANDS = {
    "debug": Command(
        _debug, "[OPTIONS] CONTAINER|IMAGE [COMMAND] [ARG...]", "Run tools beside a container or over an image; its files are in /target",
        """
   --image string=busybox  Image with the tools
""",
        least=1, interspersed=False,
    ),
}  # fmt: skip
