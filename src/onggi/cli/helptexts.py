"""Help: of the program, of a group, of a command; laid out as docker's client lays it out (cobra, pflag)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from onggi.cli.command import Command
    from onggi.cli.flags import Flag

GROUPS = {
    "builder": "Manage builds", "checkpoint": "Manage checkpoints", "container": "Manage containers", "context": "Manage contexts",
    "image": "Manage images", "manifest": "Manage image manifests and manifest lists", "network": "Manage networks",
    "plugin": "Manage plugins", "system": "Manage the engine", "volume": "Manage volumes", "completion": "Generate shell completion",
    "config": "Manage Swarm configs", "node": "Manage Swarm nodes", "secret": "Manage Swarm secrets", "service": "Manage Swarm services",
    "stack": "Manage Swarm stacks", "swarm": "Manage Swarm",
}  # fmt: skip
SWARM = ("config", "node", "secret", "service", "stack", "swarm")
_COMMON = ("run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version", "info")
_NONE_SHOWN = ("", "0", "false")


def overview(program: str) -> str:
    import os

    from onggi.cli.command import GLOBAL_FLAGS
    from onggi.cli.commands import GROUPS as CONTENTS
    from onggi.cli.commands import TOP
    from onggi.cli.flags import read_flags

    short = listed(TOP)
    # Scripts and people of the old days have `ps`, `run` …; DOCKER_HIDE_LEGACY_COMMANDS leaves the groups' own forms.
    if os.environ.get("DOCKER_HIDE_LEGACY_COMMANDS"):
        in_groups = {where for group in CONTENTS.values() for where in group.values()}
        short = {word: text for word, text in short.items() if TOP[word] not in in_groups}
    sections = [
        ("Common Commands:", {word: short[word] for word in _COMMON if word in short}),
        ("Management Commands:", {word: GROUPS[word] for word in sorted(CONTENTS) if word not in SWARM}),
        ("Swarm Commands:", {word: GROUPS[word] for word in SWARM}),
        ("Commands:", {word: short[word] for word in sorted(short) if word not in _COMMON}),
    ]
    lists = "\n\n".join(f"{title}\n{_columns(words)}" for title, words in sections if words)
    return (
        f"Usage:  {program} [OPTIONS] COMMAND\n\nA container platform: build, ship, run\n\n{lists}\n\n"
        f"Global Options:\n{_options(read_flags(GLOBAL_FLAGS))}\n\n"
        f"Run '{program} COMMAND --help' for more information on a command.\n"
    )


def group_help(program: str, name: str) -> str:
    from onggi.cli.commands import GROUPS as CONTENTS

    return (
        f"Usage:  {program} {name} COMMAND\n\n{GROUPS[name]}\n\nCommands:\n{_columns(listed(CONTENTS[name]))}\n\n"
        f"Run '{program} {name} COMMAND --help' for more information on a command.\n"
    )


def command_help(program: str, name: str, where: str, command: Command) -> str:
    from onggi.cli.flags import read_flags

    text = f"Usage:  {command.usage_line(f'{program} {name}')}\n\n{command.help}\n"
    names = aliases(where)
    if len(names) > 1:
        text += "\nAliases:\n  " + ", ".join(f"{program} {one}" for one in names) + "\n"
    shown = _options(read_flags(command.flags))
    return text + (f"\nOptions:\n{shown}\n" if shown else "")


def aliases(where: str) -> list[str]:
    """All the ways to call a command: in its group, then at the top."""
    from onggi.cli.commands import GROUPS as CONTENTS
    from onggi.cli.commands import TOP

    in_groups = [f"{group} {word}" for group in CONTENTS if group != "builder" for word, place in CONTENTS[group].items() if place == where]  # fmt: skip
    at_top = [word for word, place in TOP.items() if place == where]
    in_builder = [f"builder {word}" for word, place in CONTENTS["builder"].items() if place == where]
    return in_groups + at_top + in_builder


def near(word: str, known: Iterable[str]) -> str:
    """` (did you mean "ps"?)` when a known word is close."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f' (did you mean "{found[0]}"?)' if found else ""


def listed(words: Mapping[str, str]) -> dict[str, str]:
    """Word → help, without hidden ones and without second names of the same command."""
    from onggi.cli.command import load

    found, seen = {}, set()
    for word, where in words.items():
        command = load(where)
        if where not in seen and not command.hidden:
            found[word] = command.help.partition("\n")[0]
        seen.add(where)
    return found


def _columns(words: Mapping[str, str]) -> str:
    width = max([11, *map(len, words)])
    return "\n".join(f"  {word:{width}} {text}" for word, text in words.items())


def _options(flags: list[Flag]) -> str:
    """Pflag's FlagUsagesWrapped: names in one column, help wrapped in the other, for the terminal's width or 80."""
    import os

    shown = sorted((flag for flag in flags if not flag.hidden), key=lambda flag: flag.name)
    try:
        width = os.get_terminal_size(0).columns - 1
    except OSError:
        width = 79
    names = [
        (f"  -{flag.short}, " if flag.short else "      ") + f"--{flag.name}" + ("" if flag.kind == "bool" else f" {flag.kind}")
        for flag in shown
    ]  # fmt: skip
    column = max(map(len, names), default=0) + 3
    lines = []
    for name, flag in zip(names, shown, strict=True):
        text = flag.help + _default(flag)
        lines.append(f"{name:{column}}" + f"\n{' ' * column}".join(_wrapped(text, width - column)))
    return "\n".join(lines)


def _default(flag: Flag) -> str:
    if flag.shown_default in _NONE_SHOWN:
        return ""
    return (
        f' (default "{flag.shown_default}")' if flag.kind in ("string", "list") else f" (default {flag.shown_default})"
    )


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, max(width, 24), break_long_words=False, break_on_hyphens=False) or [""]
