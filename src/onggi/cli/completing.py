"""__complete: what may stand next in a command line, in cobra's form, so that the scripts of distributions go on working.

    candidate<TAB>description
    :DIRECTIVE

The engine is asked for names; when it doesn't answer there are none, and no error disturbs the user's line.
Source: cobra, completions.go (directives, the form of the answer).
"""

from __future__ import annotations

import os
import sys

from onggi.cli.command import GLOBAL_FLAGS, load
from onggi.cli.flags import Flag, read_flags
from onggi.cli.flagvalues import FILTERS, VALUES
from onggi.errors import OnggiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from onggi.cli.command import Command, Context

NO_SPACE, NO_FILES, FILES = 2, 4, 0


def complete(context: Context, words: list[str], *, described: bool) -> int:
    """Prints candidates for the last of `words`. Always succeeds."""
    *before, last = words or [""]
    try:
        found, directive = _candidates(context, before, last)
    except (OnggiError, OSError):
        found, directive = [], NO_FILES
    described = described and not os.environ.get("DOCKER_CLI_DISABLE_COMPLETION_DESCRIPTION")
    for name, text in found:
        if name.startswith(last):
            sys.stdout.write(f"{name}\t{text}\n" if described and text else f"{name}\n")
    sys.stdout.write(f":{directive}\n")
    return 0


def _candidates(context: Context, before: list[str], last: str) -> tuple[list[tuple[str, str]], int]:
    from onggi.cli.commands import GROUPS, TOP
    from onggi.cli.helptexts import GROUPS as HELP
    from onggi.cli.helptexts import listed

    before, pending = _skip_globals(before)
    if pending:
        return _flag_values(context, pending, "")
    if not before:
        if last.startswith("-"):
            return _flag_names(read_flags(GLOBAL_FLAGS)), NO_FILES
        groups = [(name, HELP[name]) for name in GROUPS]
        return sorted(groups + list(listed(TOP).items()) + _plugins(context)), NO_FILES
    name = before[0]
    if name in GROUPS:
        if len(before) == 1:
            return sorted(listed(GROUPS[name]).items()), NO_FILES
        where = GROUPS[name].get(before[1])
        return _of_command(context, where, before[2:], last) if where else ([], NO_FILES)
    where = TOP.get(name)
    return _of_command(context, where, before[1:], last) if where else ([], NO_FILES)


def _skip_globals(words: list[str]) -> tuple[list[str], Flag | None]:
    """The words after the global flags, and the global flag whose value is being typed."""
    flags = read_flags(GLOBAL_FLAGS)
    at = 0
    while at < len(words) and words[at].startswith("-"):
        flag = _named(flags, words[at])
        takes = flag is not None and flag.kind != "bool" and "=" not in words[at]
        if takes and at + 1 == len(words):
            return [], flag
        at += 2 if takes else 1
    return words[at:], None


def _named(flags: list[Flag], word: str) -> Flag | None:
    bare = word.partition("=")[0]
    return next((flag for flag in flags if bare == f"--{flag.name}" or (flag.short and bare == f"-{flag.short}")), None)


def _plugins(context: Context) -> list[tuple[str, str]]:
    from onggi.cli.plugins import every, metadata

    return [(name, str(metadata(path).get("ShortDescription", ""))) for name, path in every(context.config).items()]


def _flag_names(flags: Iterable[Flag]) -> list[tuple[str, str]]:
    shown = [flag for flag in flags if not flag.hidden]
    return [(f"--{flag.name}", flag.help) for flag in shown] + [
        (f"-{flag.short}", flag.help) for flag in shown if flag.short
    ]


def _of_command(context: Context, where: str, words: list[str], last: str) -> tuple[list[tuple[str, str]], int]:
    command = load(where)
    flags = read_flags(command.flags)
    positional: list[str] = []
    at = 0
    while at < len(words):
        word, at = words[at], at + 1
        flag = _named(flags, word) if word.startswith("-") and len(word) > 1 else None
        if flag is None:
            positional.append(word)
        elif flag.kind != "bool" and "=" not in word:
            if at == len(words):
                return _flag_values(context, flag, where)
            at += 1
        if positional and not command.interspersed:
            positional += words[at:]
            break
    if last.startswith("-") and (command.interspersed or not positional):
        name, equals, _ = last.partition("=")
        flag = _named(flags, name) if equals else None
        if flag:
            values, directive = _flag_values(context, flag, where)
            return [(f"{name}={value}", text) for value, text in values], directive
        return sorted(_flag_names(flags)), NO_FILES
    return _arguments(context, where, command, positional)


def _containers(*states: str) -> Callable[[Context], list[str]]:
    def names(context: Context) -> list[str]:
        from onggi.client import containers

        found = context.engine(containers.listing(all=True))
        show_ids = os.environ.get("DOCKER_COMPLETION_SHOW_CONTAINER_IDS") == "yes"
        words = []
        for one in found:
            if not states or one["State"] in states:
                words += ([one["Id"]] if show_ids else []) + [name.lstrip("/") for name in one["Names"]]
        return words

    return names


def _images(context: Context) -> list[str]:
    from onggi.client import images

    return [
        tag for one in context.engine(images.listing()) for tag in one.get("RepoTags") or [] if tag != "<none>:<none>"
    ]


def _networks(context: Context) -> list[str]:
    from onggi.client import networks

    return [one["Name"] for one in context.engine(networks.listing())]


def _volumes(context: Context) -> list[str]:
    from onggi.client import volumes

    return [one["Name"] for one in context.engine(volumes.listing())["Volumes"] or []]


def _contexts(context: Context) -> list[str]:
    return ["default", *context.contexts.names()]


def _anything(context: Context) -> list[str]:
    return _containers()(context) + _images(context) + _networks(context) + _volumes(context)


_ARGUMENTS: dict[str, Callable[[Context], list[str]]] = {
    "running:attach": _containers("running"), "running:run": _images, "running:create": _images, "running:start": _containers("created", "exited"),
    "execs:exec": _containers("running"), "logs:logs": _containers(), "stats:stats": _containers("running"), "images:images": _images,
    "images:history": _images, "images:rmi": _images, "images:tag": _images, "transfer:save": _images, "transfer:push": _images,
    "networks:rm": _networks, "networks:connect": _networks, "networks:disconnect": _networks, "volumes:rm": _volumes,
    "inspecting:anything": _anything, "inspecting:container": _containers(), "inspecting:image": _images, "inspecting:network": _networks,
    "inspecting:volume": _volumes, "contexting:use": _contexts, "contexting:rm": _contexts, "contexting:inspect": _contexts,
    "contexting:export": _contexts, "contexting:update": _contexts, "containers:unpause": _containers("paused"),
    "containers:pause": _containers("running"), "containers:stop": _containers("running"), "containers:kill": _containers("running"),
    "containers:top": _containers("running"),
}  # fmt: skip
_WITH_FILES = ("copying:cp", "building:build", "transfer:import_", "contexting:import")


def _arguments(
    context: Context, where: str, command: Command, positional: list[str]
) -> tuple[list[tuple[str, str]], int]:
    if where in _WITH_FILES:
        found = [f"{name}:" for name in _containers()(context)] if where == "copying:cp" else []
        return [(name, "") for name in found], FILES
    if 0 <= command.most <= len(positional) or (
        positional and where in ("running:run", "running:create", "execs:exec", "containers:top")
    ):
        return [], FILES if where in ("running:run", "running:create", "execs:exec") else NO_FILES
    names = _ARGUMENTS.get(where) or (_containers() if where.startswith("containers:") else None)
    if where in ("networks:connect", "networks:disconnect") and positional:
        names = _containers()
    return [(name, "") for name in (names(context) if names else []) if name not in positional], NO_FILES


_FILE_FLAGS = {
    "env-file",
    "label-file",
    "cidfile",
    "output",
    "input",
    "file",
    "iidfile",
    "config",
    "tlscacert",
    "tlscert",
    "tlskey",
    "volume",
}


def _flag_values(context: Context, flag: Flag, where: str) -> tuple[list[tuple[str, str]], int]:
    names: list[str] = []
    if flag.name in ("network", "net") and where.startswith("running:"):
        names = _networks(context)
    elif flag.name in ("volumes-from", "link"):
        names = _containers()(context)
    elif flag.name == "context":
        names = _contexts(context)
    elif flag.name == "env":
        names = sorted(os.environ)
    elif flag.name == "filter":
        names = [f"{name}=" for name in FILTERS.get(where, ())]
    elif flag.name in VALUES:
        names = list(VALUES[flag.name])
    directive = FILES if flag.name in _FILE_FLAGS else NO_FILES
    if any(name.endswith(("=", ":", "-")) for name in names):
        directive |= NO_SPACE
    return [(name, "") for name in names], directive
