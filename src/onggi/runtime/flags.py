"""Command lines in runc's form: global flags, a command, its flags, its arguments. Pure.

A table and sixty lines: argparse costs a third of what starting a container costs. Flags take `--name value`,
`--name=value` and one dash for two, as Go programs do; `--` ends them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec


class Flag(msgspec.Struct, frozen=True):
    """One flag. `kind` is switch (no value), text (the last one counts) or list (all count)."""

    name: str
    help: str
    kind: str = "switch"
    short: str = ""
    default: str = ""
    aliases: tuple[str, ...] = ()


class Command(msgspec.Struct, frozen=True):
    """One command. `most` arguments None is without limit; `flags_anywhere`: between and behind them too."""

    name: str
    summary: str
    usage: str
    flags: tuple[Flag, ...] = ()
    least: int = 1
    most: int | None = 1
    flags_anywhere: bool = True
    aliases: tuple[str, ...] = ()


class Given:
    """What a command line gives: flags by name, and the words after them."""

    __slots__ = ("lists", "rest", "switches", "texts")

    def __init__(self, texts: dict[str, str]) -> None:
        self.switches: set[str] = set()
        self.texts = texts
        self.lists: dict[str, list[str]] = {}
        self.rest: list[str] = []

    def text(self, name: str) -> str:
        return self.texts.get(name, "")

    def number(self, name: str) -> int:
        """Raises UsageError when it is none."""
        text = self.texts.get(name) or "0"
        try:
            return int(text)
        except ValueError:
            raise UsageError(f'invalid value "{text}" for flag -{name}: parse error') from None


class UsageError(Exception):
    """The command line can't be read."""


HELP: Final = Flag("help", "show help", short="h")


def parse(flags: Sequence[Flag], words: Sequence[str], *, anywhere: bool = False) -> Given:
    """Read flags up to the first word that is none, or `anywhere`. Raises UsageError."""
    known = {name: flag for flag in (*flags, HELP) for name in (flag.name, flag.short, *flag.aliases) if name}
    given = Given(texts={flag.name: flag.default for flag in flags if flag.default})
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            given.rest.append(word)
            if not anywhere:
                break
            continue
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        flag = known.get(name)
        if flag is None:
            raise UsageError(f"flag provided but not defined: -{name}")
        if flag.kind == "switch":
            if not equals or value in {"true", "1"}:
                given.switches.add(flag.name)
            else:
                given.switches.discard(flag.name)
            continue
        if not equals:
            if not left:
                raise UsageError(f"flag needs an argument: -{name}")
            value = left.pop(0)
        if flag.kind == "list":
            given.lists.setdefault(flag.name, []).append(value)
        else:
            given.texts[flag.name] = value
    given.rest += left
    return given


def flags_help(flags: Sequence[Flag]) -> str:
    """The flags as a help text lists them."""
    rows = []
    for flag in flags:
        value = "" if flag.kind == "switch" else " value"
        names = f"--{flag.name}{value}" + (f", -{flag.short}{value}" if flag.short else "")
        rows.append((names, flag.help + (f' (default: "{flag.default}")' if flag.default else "")))
    width = max((len(names) for names, _ in rows), default=0) + 2
    return "".join(f"   {names:<{width}}{text}\n" for names, text in rows)


def command_help(program: str, command: Command) -> str:
    """The help text of one command."""
    text = f"NAME:\n   {program} {command.name} - {command.summary}\n\nUSAGE:\n   {program} {command.usage}\n"
    if command.flags:
        text += f"\nOPTIONS:\n{flags_help(command.flags)}"
    return text + "\n"
