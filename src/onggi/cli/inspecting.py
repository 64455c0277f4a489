"""inspect: of one kind, or of whatever has the name."""

from __future__ import annotations

import json
import sys

from onggi.cli.main import Command, Exit
from onggi.client import containers, images, networks, volumes
from onggi.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from onggi.cli.flags import Options
    from onggi.cli.main import Context
    from onggi.client.shapes import Json

    Look = Callable[[str], Json]


def _looks(context: Context, *, size: bool) -> dict[str, Look]:
    """Kind → how to look, in docker's order of trying."""
    engine = context.engine
    return {
        "container": lambda name: engine(containers.inspect(name, size=size)),
        "image": lambda name: engine(images.inspect(name)),
        "network": lambda name: engine(networks.inspect(name)),
        "volume": lambda name: engine(volumes.inspect(name)),
    }


def _one(looks: list[Look], name: str, kind: str) -> Json:
    """Raises Exit with docker's words when nothing has the name."""
    for look in looks:
        try:
            return look(name)
        except ApiError as error:
            if error.code != 404 and "not supported" not in str(error):
                raise
            last = error
    if kind:
        raise Exit(1, f"Error response from daemon: {last}")
    raise Exit(1, f"Error: No such object: {name}")


def _print(found: list[Json], format: str) -> None:
    if not format or format == "json":
        text = (
            json.dumps(found, indent=4, ensure_ascii=False)
            if not format
            else "\n".join(json.dumps(one, separators=(",", ":"), ensure_ascii=False) for one in found)
        )
        sys.stdout.write(text + "\n")
        return
    from onggi.cli.templates import Template, TemplateError

    template = Template(format.replace("\\t", "\t").replace("\\n", "\n"), strict=True)
    for one in found:
        try:
            sys.stdout.write(template.render(one) + "\n")
        except TemplateError as error:
            sys.stdout.write("\n")
            raise Exit(1, f"template parsing error: {error}") from None


def _inspect(context: Context, options: Options, words: list[str], kind: str) -> None:
    looks = _looks(context, size="size" in options.values and options.on("size"))
    if kind and kind not in looks:
        raise Exit(1, f'"{kind}" is not a valid value for --type')
    chosen = [looks[kind]] if kind else list(looks.values())
    found, missing = [], []
    for name in words:
        try:
            found.append(_one(chosen, name, kind))
        except Exit as error:
            missing.append(error.message)
    if found or not options.text("format"):
        _print(found, options.text("format"))
    if missing:
        raise Exit(1, "\n".join(missing))


_FORMAT = "-f --format string  Format output using a custom template\n"
_SIZE = "-s --size bool  Display total file sizes if the type is container\n"


def _of(kind: str) -> Command:
    flags = _FORMAT + (_SIZE if kind == "container" else "")
    if kind == "network":
        flags += "-v --verbose bool  Verbose output for diagnostics\n"
    name = kind.upper()
    return Command(
        lambda context, options, words: _inspect(context, options, words, kind),
        f"[OPTIONS] {name} [{name}...]", f"Display detailed information on one or more {kind}s", flags, least=1,
    )  # fmt: skip


COMMANDS = {
    "anything": Command(
        lambda context, options, words: _inspect(context, options, words, options.text("type")),
        "[OPTIONS] NAME|ID [NAME|ID...]", "Return low-level information on Docker objects",
        _FORMAT + _SIZE + "   --type string  Only inspect objects of the given type", least=1,
    ),
    **{kind: _of(kind) for kind in ("container", "image", "network", "volume")},
}  # fmt: skip
