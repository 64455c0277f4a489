"""inspect: of one kind, or of whatever has the name."""

from __future__ import annotations

import json
import sys
from typing import cast

from onggi.cli.command import Command, Exit
from onggi.cli.units import for_terminal
from onggi.client import containers, images, networks, volumes
from onggi.client.call import Call, Request, parsed, quote
from onggi.client.errors import ApiError
from onggi.errors import OnggiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from onggi.cli.command import Context
    from onggi.cli.flags import Options

    Look = Callable[[str], Any]

_SWARM = ("node", "service", "secret", "config", "task", "plugin")
_TYPES = ("config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume")
_NOT_HERE = ("not supported", "swarm manager", "not part of a swarm", "client version")
"""Answers to the question for something that the engine has none of."""


def _looks(context: Context, options: Options) -> dict[str, Look]:
    """Kind → how to look, in docker's order of trying."""
    engine = context.engine
    return {
        "container": lambda name: engine(containers.inspect(name, size=options.on("size"))),
        "image": lambda name: engine(images.inspect(name, platform=options.text("platform"))),
        "network": lambda name: engine(networks.inspect(name, verbose=options.on("verbose"))),
        "volume": lambda name: engine(volumes.inspect(name)),
        **{kind: _other(context, kind) for kind in _SWARM},
    }


def _other(context: Context, kind: str) -> Look:
    path = f"/{kind}s/{{}}" + ("/json" if kind == "plugin" else "")
    return lambda name: context.engine(Call(Request("GET", path.format(quote(name))), parsed))


def _one(looks: list[Look], name: str) -> Any:
    """What the first that knows `name` says. Raises ApiError when one alone was asked, else Exit with docker's words."""
    for look in looks:
        try:
            return look(name)
        except ApiError as error:
            if len(looks) == 1 or (error.code != 404 and not any(text in str(error) for text in _NOT_HERE)):
                raise
    raise Exit(1, f"Error: No such object: {name}")


def inspect_each(looks: list[Look], names: list[str], format: str, *, kind: str = "Document") -> None:
    """Prints what `looks` find for each name: an array of JSON, or a template's text for each. Raises Exit when some failed.

    `kind` chooses the fields that JSON may leave out (structs.py).
    """
    from onggi.cli.command import words_of

    found, failed = [], []
    template = _Render(format, kind) if format not in ("", "json") else None
    for name in names:
        try:
            one = _one(looks, name)
            found.append(template(one) if template else one)
        except Exit as error:
            failed.append(error.message)
        except OnggiError as error:
            failed.append(words_of(error))
    if template:
        sys.stdout.write("".join(f"{text}\n" for text in found) or "\n")
    elif not found or not format:
        sys.stdout.write(json.dumps(found, indent=4, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(json.dumps(found, separators=(",", ":"), ensure_ascii=False) + "\n")
    if failed:
        raise Exit(1, "\n".join(failed))


class _Render:
    """A template on a document: on Go's form of it, then on plain JSON, whose error counts."""

    def __init__(self, format: str, kind: str) -> None:
        from onggi.cli.templates import ParseError, Template

        text = format.replace("\\t", "\t").replace("\\n", "\n")
        try:
            self._loose, self._strict, self._kind = Template(text), Template(text, strict=True), kind
        except ParseError as error:
            raise Exit(64, f"template parsing error: {error}") from None

    def __call__(self, document: dict[str, Any]) -> str:
        from onggi.cli.structs import typed
        from onggi.cli.templates import TemplateError

        document = cast("dict[str, Any]", for_terminal(document))
        try:
            return self._loose.render(typed(document, self._kind))
        except TemplateError:
            pass
        try:
            return self._strict.render(document)
        except TemplateError as error:
            raise Exit(1, f"template parsing error: {error}") from None


def _retold(context: Context, options: Options, words: list[str]) -> None:
    """--as: the command, or the code, that makes the containers again."""
    from onggi.cli import retelling

    form = options.text("as")
    if form not in retelling.FORMS:
        raise Exit(125, f"--as: want {' or '.join(retelling.FORMS)}")
    for name in words:
        path = f"/containers/{quote(name)}/json?onggi=1"
        container: Any = context.engine(Call(Request("GET", path), parsed))
        image: Any
        try:
            image = context.engine(images.inspect(container["Image"]))
        except ApiError:
            image = {}  # removed since: all of the container's words are told
        sys.stdout.write(retelling.retell(form, container, image) + "\n")


def _anything(context: Context, options: Options, words: list[str]) -> None:
    if options.text("as"):
        _retold(context, options, words)
        return
    kind, looks = options.text("type"), _looks(context, options)
    if "type" in options.given and kind not in looks:
        raise Exit(1, f'unknown type: "{kind}": must be one of {", ".join(f"{chr(34)}{name}{chr(34)}" for name in _TYPES)}' if kind else 'type is empty: must be one of "config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume"')  # fmt: skip
    chosen = {kind: looks[kind]} if kind else looks
    inspect_each([_sized(name, look, options) for name, look in chosen.items()], words, options.text("format"))


def _sized(kind: str, look: Look, options: Options) -> Look:
    """`look`, with docker's word on --size where it has no meaning."""
    if kind == "container" or not options.on("size"):
        return look

    def warned(name: str) -> Any:
        found = look(name)
        sys.stderr.write(f"WARNING: --size ignored for {kind}\n")
        return found

    return warned


_FORMAT = "-f --format string  Format output with a Go template, or json\n"
_SIZE = "-s --size bool  Display total file sizes"


def _of(kind: str, more: str = "") -> Command:
    name, document = kind.upper(), {"network": "Network", "volume": "Volume"}.get(kind, "Document")

    def run(context: Context, options: Options, words: list[str]) -> None:
        inspect_each([_looks(context, options)[kind]], words, options.text("format"), kind=document)

    return Command(
        run,
        f"[OPTIONS] {name} [{name}...]",
        f"Display detailed information on one or more {kind}s",
        _FORMAT + more,
        least=1,
    )


COMMANDS = {
    "anything": Command(
        _anything, "[OPTIONS] NAME|ID [NAME|ID...]", "Return low-level information on Docker objects",
        f"   --as string  Tell a container as what makes it again (run|python|compose)\n{_FORMAT}{_SIZE} if the type is container\n   --type string  Only inspect objects of the given type", least=1,
    ),
    "container": _of("container", _SIZE),
    "image": _of("image", "   --platform string@1.49  Platform of a multi-platform image to look at"),
    "network": _of("network", "-v --verbose bool  Verbose output for diagnostics"),
    "volume": _of("volume"),
}  # fmt: skip
