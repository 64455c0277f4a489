"""volume ls, create, rm."""

from __future__ import annotations

import sys

from onggi.cli.filters import parse_filters
from onggi.cli.main import Command, each
from onggi.cli.tables import Columns
from onggi.client import volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.flags import Options
    from onggi.cli.main import Context

_HEADERS = {
    "Driver": "DRIVER",
    "Name": "VOLUME NAME",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
}


def _ls(context: Context, options: Options, words: list[str]) -> None:
    del words
    found = sorted(
        context.engine(volumes.listing(parse_filters(options.list("filter"))))["Volumes"] or [],
        key=lambda one: one["Name"],
    )
    if options.on("quiet"):
        sys.stdout.write("".join(f"{one['Name']}\n" for one in found))
        return
    rows = [
        {
            "Driver": one["Driver"], "Name": one["Name"], "Scope": one["Scope"], "Mountpoint": one["Mountpoint"], "Links": "N/A", "Size": "N/A",
            "Labels": ",".join(f"{key}={value}" for key, value in sorted((one.get("Labels") or {}).items())),
        }
        for one in found
    ]  # fmt: skip
    Columns(_HEADERS, ["Driver", "Name"]).print(rows, options.text("format"))


def _create(context: Context, options: Options, words: list[str]) -> None:
    made = context.engine(
        volumes.create(
            {
                "Name": words[0] if words else "",
                "Driver": options.text("driver"),
                "DriverOpts": options.map("opt"),
                "Labels": options.map("label"),
            }
        )
    )
    sys.stdout.write(made["Name"] + "\n")


def _rm(context: Context, options: Options, words: list[str]) -> None:
    each(words, lambda name: context.engine(volumes.remove(name, force=options.on("force"))))


COMMANDS = {
    "ls": Command(
        _ls, "[OPTIONS]", "List volumes",
        """
-f --filter list  Provide filter values (e.g. "dangling=true")
   --format string  Format output using a custom template
-q --quiet bool  Only display volume names
""",
        most=0,
    ),
    "create": Command(
        _create, "[OPTIONS] [VOLUME]", "Create a volume",
        """
-d --driver string=local  Specify volume driver name
   --label list  Set metadata for a volume
-o --opt map  Set driver specific options
""",
        most=1,
    ),
    "rm": Command(_rm, "[OPTIONS] VOLUME [VOLUME...]", "Remove one or more volumes", "-f --force bool  Force the removal of one or more volumes", least=1),
}  # fmt: skip
