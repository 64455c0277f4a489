"""doctor: what of the engine is on the machine that nothing explains."""

from __future__ import annotations

import sys

from onggi.cli.command import Command, Exit
from onggi.client import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options


def _doctor(context: Context, options: Options, words: list[str]) -> None:
    del words
    found = context.engine(system.leaks())
    if options.on("all"):
        sys.stdout.write("".join(f"{line}\n" for line in found["Footprint"]))
    for line in found.get("Notices", ()):
        sys.stdout.write(f"notice: {line}\n")
    for line in found["Leaks"]:
        sys.stdout.write(f"leak: {line}\n")
    if found["Leaks"]:
        raise Exit(
            1,
            f"{len(found['Leaks'])} things on this machine belong to the engine and to no container, network or volume",
        )
    sys.stdout.write(
        f"{len(found['Footprint'])} mounts, links, rules, cgroups, processes and files belong to the engine; each is explained\n"
    )


COMMANDS = {
    "doctor": Command(
        _doctor, "[OPTIONS]", "Look for leftovers of the engine on this machine",
        """
-a --all bool  Print everything of the engine on the machine, explained or not
   --leaks bool  Look for leftovers (the default)
""",
        most=0,
    ),
}  # fmt: skip
