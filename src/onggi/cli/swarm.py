"""Swarm's commands: they take docker's flags, ask the engine, and print its answer, which for onggid is that it is no swarm.

An engine that is part of a swarm is told of, not driven: services, nodes and stacks are out of scope here.
"""

from __future__ import annotations

import sys

from onggi.cli.command import Command, Exit
from onggi.cli.servicewords import CREATE, UPDATE
from onggi.cli.swarmwords import TABLE
from onggi.client.call import Call, Request, nothing, quote
from onggi.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from onggi.cli.command import Context
    from onggi.cli.flags import Options

_FLAGS = {"service create": CREATE, "service update": UPDATE}
_FIRST_ONLY = ("service create", "secret create", "config create", "swarm join", "swarm join-token", "stack deploy", "stack ps",
               "stack services", "node ps", "service ps", "stack rm")  # fmt: skip
"""Commands whose further words aren't names of what the call is about."""


def _asks(name: str, call: str) -> Callable[[Context, Options, list[str]], None]:
    method, _, path = call.partition(" ")

    def ask(context: Context, word: str) -> None:
        try:
            context.engine(Call(Request(method, path.format(quote(word.partition("=")[0]))), nothing))
        except ApiError as error:
            before = {
                "swarm unlock-key": "could not fetch unlock key: ",
                "service scale": f"{word.partition('=')[0]}: ",
            }.get(name, "")
            raise Exit(1, f"{before}Error response from daemon: {error}") from None
        raise Exit(1, f"'{name}' isn't available: this command line doesn't drive swarms")

    def run(context: Context, options: Options, words: list[str]) -> None:
        if name.startswith("stack ") and options.values.get("compose-file") == []:
            raise Exit(1, "Specify a Compose file (with --compose-file)")
        if name.endswith("inspect"):
            sys.stdout.write("[]\n")
        if name in _FIRST_ONLY or not words:
            ask(context, words[0] if words else "")
        _ask_each(words, lambda word: ask(context, word))

    return run


def _ask_each(words: list[str], ask: Callable[[str], None]) -> None:
    """Every word is asked for; what each brought is told at the end. Raises Exit."""
    failed = []
    for word in words:
        try:
            ask(word)
        except Exit as error:
            failed.append(error.message)
    raise Exit(1, "\n".join(failed))


def _commands() -> dict[str, Command]:
    found = {}
    for paragraph in TABLE.strip().split("\n\n"):
        head, _, flags = paragraph.partition("\n")
        name, call, usage, help, counts = head.split(" | ")
        least, most = map(int, counts.split())
        found[name] = Command(
            _asks(name, call), usage, help, _FLAGS.get(name, flags), least=least, most=most, interspersed=name != "service create",
        )  # fmt: skip
    return found


COMMANDS = _commands()
