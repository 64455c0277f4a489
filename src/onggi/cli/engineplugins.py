"""plugin: the engine's plugins, of which onggid has none; what it answers is printed."""

from __future__ import annotations

import sys

from onggi.cli.command import Command, each
from onggi.cli.filters import parse_filters
from onggi.cli.tables import Columns
from onggi.client.call import Call, Request, nothing, parsed, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from onggi.cli.command import Context
    from onggi.cli.flags import Options


def _asks(method: str, path: str) -> Callable[[Context, Options, list[str]], None]:
    """A command that is one call about its first word."""

    def run(context: Context, options: Options, words: list[str]) -> None:
        del options
        context.engine(Call(Request(method, path.format(quote(words[0]))), nothing))
        sys.stdout.write(words[0] + "\n")

    return run


def _rm(context: Context, options: Options, words: list[str]) -> None:
    query = {"force": options.on("force")}
    each(words, lambda word: context.engine(Call(Request("DELETE", f"/plugins/{quote(word)}", query), nothing)))


def _inspect(context: Context, options: Options, words: list[str]) -> None:
    from onggi.cli.inspecting import inspect_each

    def look(name: str) -> Any:
        return context.engine(Call(Request("GET", f"/plugins/{quote(name)}/json"), parsed))

    inspect_each([look], words, options.text("format"), kind="plugin")


def _ls(context: Context, options: Options, words: list[str]) -> None:
    del words
    query = {"filters": parse_filters(options.list("filter"))}
    found: Any = context.engine(Call(Request("GET", "/plugins", query), parsed)) or []
    full = options.on("no-trunc")
    if options.on("quiet"):
        sys.stdout.write("".join(f"{one['Id'] if full else one['Id'][:12]}\n" for one in found))
        return
    rows = [
        {
            "ID": one["Id"] if full else one["Id"][:12], "Name": one["Name"], "PluginReference": one.get("PluginReference", ""),
            "Description": one["Config"]["Description"], "Enabled": one["Enabled"],
        }
        for one in found
    ]  # fmt: skip
    headers = {
        "ID": "ID",
        "Name": "NAME",
        "Description": "DESCRIPTION",
        "Enabled": "ENABLED",
        "PluginReference": "PLUGIN REFERENCE",
    }
    Columns(headers, ["ID", "Name", "Description", "Enabled"]).print(
        rows, options.text("format") or context.config.text("pluginsFormat")
    )


_SEVERAL = "[OPTIONS] PLUGIN [PLUGIN...]"
_UNSIGNED = "   --disable-content-trust bool!=true  Has no effect: images aren't signed this way any more\n"
_FORMAT = "-f --format string  Print each one with a Go template, or json\n"
COMMANDS = {
    "create": Command(
        _asks("POST", "/plugins/create?name={}"), "[OPTIONS] PLUGIN PLUGIN-DATA-DIR", "Create a plugin from a root file system and a configuration",
        "   --compress bool  Send it compressed", least=2,
    ),
    "disable": Command(
        _asks("POST", "/plugins/{}/disable"), "[OPTIONS] PLUGIN", "Disable a plugin",
        "-f --force bool  Even if something uses it", least=1, most=1,
    ),
    "enable": Command(
        _asks("POST", "/plugins/{}/enable"), "[OPTIONS] PLUGIN", "Enable a plugin",
        "   --timeout int=30  Longest time for the plugin to answer, in seconds", least=1, most=1,
    ),
    "inspect": Command(_inspect, _SEVERAL, "Show one or more plugins in detail", _FORMAT, least=1),
    "install": Command(
        _asks("POST", "/plugins/pull?remote={}"), "[OPTIONS] PLUGIN [KEY=VALUE...]", "Install a plugin",
        _UNSIGNED + """
   --alias string  Name on this engine
   --disable bool  Leave it disabled
   --grant-all-permissions bool  Grant what the plugin asks for without a question
""",
        least=1,
    ),
    "ls": Command(
        _ls, "[OPTIONS]", "List plugins",
        """
-f --filter filter:filter  Show only what matches (e.g. "enabled=true")
   --format string  Print each one with a Go template, or table or json
   --no-trunc bool  Print whole ids and texts
-q --quiet bool  Print ids only
""",
        most=0,
    ),
    "push": Command(_asks("POST", "/plugins/{}/push"), "[OPTIONS] PLUGIN[:TAG]", "Push a plugin to a registry", _UNSIGNED, least=1, most=1),
    "rm": Command(_rm, _SEVERAL, "Remove one or more plugins", "-f --force bool  Even an enabled one", least=1),
    "set": Command(_asks("POST", "/plugins/{}/set"), "PLUGIN KEY=VALUE [KEY=VALUE...]", "Change a plugin's settings", least=2),
    "upgrade": Command(
        _asks("GET", "/plugins/{}/json"), "[OPTIONS] PLUGIN [REMOTE]", "Upgrade a plugin that is there",
        _UNSIGNED + """
   --grant-all-permissions bool  Grant what the plugin asks for without a question
   --skip-remote-check bool  Take another plugin's image, too
""",
        least=1, most=2,
    ),
}  # fmt: skip
