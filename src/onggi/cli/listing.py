"""`ps`."""

from __future__ import annotations

import sys

from onggi.cli.command import Command, Context
from onggi.cli.filters import parse_filters
from onggi.cli.tables import Columns, quiet_wins
from onggi.cli.units import ago, human_size, stamp
from onggi.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.flags import Options
    from onggi.client.shapes import Json

_HEADERS = {
    "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "RunningFor": "CREATED", "Status": "STATUS",
    "Ports": "PORTS", "Names": "NAMES", "CreatedAt": "CREATED AT", "Size": "SIZE", "Labels": "LABELS", "State": "STATE",
    "Mounts": "MOUNTS", "LocalVolumes": "LOCAL VOLUMES", "Networks": "NETWORKS", "Platform": "PLATFORM",
    "HealthStatus": "HEALTH STATUS",
}  # fmt: skip
_DEFAULT = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


_RAW = (
    "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\n"
    "status: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n"
)


def _ps(context: Context, options: Options, words: list[str]) -> None:
    del words
    format = options.text("format") or ("" if options.on("quiet") else context.config.text("psFormat"))
    if options.on("latest"):
        last = 1
    else:
        last = options.number("last") or -1
    found = context.engine(
        containers.listing(
            all=options.on("all"), limit=max(last, 0), size=options.on("size") or _asks_for_size(format),
            filters=parse_filters(options.list("filter")),
        )
    )  # fmt: skip
    full = options.on("no-trunc")
    if options.on("quiet"):
        quiet_wins(format)
        sys.stdout.write("".join(f"{one['Id'] if full else one['Id'][:12]}\n" for one in found))
        return
    default = [*_DEFAULT, "Size"] if options.on("size") else list(_DEFAULT)
    raw = _RAW + ("size: {{.Size}}\n" if options.on("size") else "")
    Columns(_HEADERS, default, _TYPE, raw).print([row(one, full=full) for one in found], format)


_TYPE = "*formatter.ContainerContext"


def _asks_for_size(format: str) -> bool:
    """Sizes cost the engine a walk through files: only a template that shows them asks. Raises Exit for one that can't be.

    As docker does it, the template is tried on an empty container first, and its errors get their own words.
    """
    if format in ("", "json", "raw", "table"):
        return False
    from onggi.cli.command import Exit
    from onggi.cli.templates import ParseError, Struct, Template, TemplateError

    asked = False

    def size() -> str:
        nonlocal asked
        asked = True
        return ""

    empty: dict[str, object] = dict.fromkeys(_HEADERS, "")
    empty |= {"Size": size, "Label": lambda _name: ""}
    try:
        Template(format.removeprefix("table ")).render(Struct(empty, _TYPE))
    except ParseError as error:
        raise Exit(1, f"failed to parse template: {error}") from None
    except TemplateError as error:
        raise Exit(1, f"failed to execute template: {error}") from None
    return asked or "json ." in format


def row(one: Json, *, full: bool) -> Json:
    command = f'"{one["Command"]}"' if full or len(one["Command"]) <= 20 else f'"{one["Command"][:19]}…"'
    names = [name.lstrip("/") for name in one.get("Names") or []]
    mounts = [mount.get("Name") or mount.get("Source", "") for mount in one.get("Mounts") or []]
    labels = one.get("Labels") or {}
    networks = (one.get("NetworkSettings") or {}).get("Networks") or {}
    image = one["Image"]
    if not full and image.startswith("sha256:"):
        image = image[7:19]
    return {
        "ID": one["Id"] if full else one["Id"][:12],
        "Image": image,
        "Command": command,
        "RunningFor": ago(one["Created"]),
        "CreatedAt": stamp(one["Created"]),
        "Status": one["Status"],
        "State": one["State"],
        "Ports": ports_text(one.get("Ports") or []),
        # A link's alias has a second slash: only the name itself is shown.
        "Names": ",".join(name for name in names if "/" not in name or full),
        "Labels": ",".join(f"{key}={labels[key]}" for key in sorted(labels)),
        "Label": lambda key: labels.get(key, ""),
        "Mounts": ",".join(mount if full or len(mount) <= 15 else mount[:14] + "…" for mount in mounts),
        "LocalVolumes": str(sum(mount.get("Driver") == "local" for mount in one.get("Mounts") or [])),
        "Networks": ",".join(sorted(networks)),
        "Platform": None,
        "HealthStatus": _health(one),
        "Size": _size(one),
    }


def _health(one: Json) -> str:
    """Engines tell it in a field of its own or in the status alone."""
    found = one.get("Health") or {}
    if found.get("Status"):
        return str(found["Status"])
    inside = one["Status"].rpartition("(")[2].rstrip(")")
    return {"healthy": "healthy", "unhealthy": "unhealthy", "health: starting": "starting"}.get(inside, "none")


def _size(one: Json) -> str:
    own, root = one.get("SizeRw", 0), one.get("SizeRootFs", 0)
    return f"{human_size(own, 3)} (virtual {human_size(root, 3)})" if root else human_size(own, 3)


def ports_text(ports: list[Json]) -> str:
    """`0.0.0.0:80->80/tcp, [::]:80->80/tcp`: runs of ports are joined, as docker's formatter does."""

    def sort_key(port: Json) -> tuple[int, str, int]:
        return port["PrivatePort"], port["Type"], port.get("PublicPort", 0)

    runs: list[list[Json]] = []
    for port in sorted(ports, key=sort_key):
        for run in runs:
            last = run[-1]
            public = port.get("PublicPort", 0)
            if (
                last.get("IP", "") == port.get("IP", "")
                and last["Type"] == port["Type"]
                and last["PrivatePort"] + 1 == port["PrivatePort"]
                and (
                    (not public and not last.get("PublicPort")) or (public and last.get("PublicPort", 0) + 1 == public)
                )
            ):
                run.append(port)
                break
        else:
            runs.append([port])
    return ", ".join(_run_text(run) for run in runs)


def _run_text(run: list[Json]) -> str:
    def span(key: str) -> str:
        first, last = run[0][key], run[-1][key]
        return str(first) if first == last else f"{first}-{last}"

    private = f"{span('PrivatePort')}/{run[0]['Type']}"
    if not run[0].get("PublicPort"):
        return private
    address = run[0].get("IP", "")
    shown = f"[{address}]" if ":" in address else address
    return f"{shown}:{span('PublicPort')}->{private}"


COMMANDS = {
    "ps": Command(
        _ps,
        "[OPTIONS]",
        "List containers",
        """
-a --all bool  Show all containers (default shows just running)
-f --filter filter:filter  Filter output based on conditions provided
   --format string  Format output using a custom template
-n --last int=-1  Show n last created containers (includes all states)
-l --latest bool  Show the latest created container (includes all states)
   --no-trunc bool  Don't truncate output
-q --quiet bool  Only display container IDs
-s --size bool  Display total file sizes
""",
        most=0,
    ),
}
