"""volume ls, create, rm, update."""

from __future__ import annotations

import sys

from onggi.cli.command import Command, Exit, each
from onggi.cli.filters import parse_filters
from onggi.cli.tables import Columns
from onggi.client import volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.shapes import Json

_HEADERS = {
    "Driver": "DRIVER", "Name": "VOLUME NAME", "Scope": "SCOPE", "Mountpoint": "MOUNTPOINT", "Labels": "LABELS", "Links": "LINKS",
    "Size": "SIZE", "Availability": "AVAILABILITY", "Group": "GROUP", "Status": "STATUS",
}  # fmt: skip
_TYPE = "*formatter.volumeContext"
_COLUMNS = Columns(_HEADERS, ["Driver", "Name"], _TYPE, "name: {{.Name}}\ndriver: {{.Driver}}\n")
_CLUSTER = Columns(_HEADERS, ["Name", "Group", "Driver", "Availability", "Status"], _TYPE)


def _ls(context: Context, options: Options, words: list[str]) -> None:
    del words
    cluster = options.on("cluster")
    listed = context.engine(volumes.listing(parse_filters(options.list("filter"))))["Volumes"] or []
    found = [one for one in sorted(listed, key=lambda one: one["Name"]) if not cluster or one.get("ClusterVolume")]
    format = options.text("format") or ("" if options.on("quiet") else context.config.text("volumesFormat"))
    if options.on("quiet") and format in ("", "table"):
        sys.stdout.write("".join(f"{one['Name']}\n" for one in found))
        return
    (_CLUSTER if cluster and not format else _COLUMNS).print([row(one) for one in found], format)


def row(one: Json, *, links: str = "N/A", size: str = "N/A") -> Json:
    labels = one.get("Labels") or {}
    return {
        "Driver": one["Driver"], "Name": one["Name"], "Scope": one["Scope"], "Mountpoint": one["Mountpoint"], "Links": links, "Size": size,
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())), "Label": lambda key: labels.get(key, ""),
        "Availability": "N/A", "Group": "N/A", "Status": "N/A",
    }  # fmt: skip


_CLUSTER_FLAGS = ("availability", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing", "topology-preferred",
                  "topology-required", "type")  # fmt: skip


def _create(context: Context, options: Options, words: list[str]) -> None:
    config: Json = {
        "Name": words[0] if words else "", "Driver": options.text("driver"), "DriverOpts": options.map("opt"), "Labels": options.map("label"),
    }  # fmt: skip
    if options.given.intersection(_CLUSTER_FLAGS):
        config["ClusterVolumeSpec"] = _cluster_spec(options)
    made = context.engine(volumes.create(config))
    sys.stdout.write(made["Name"] + "\n")


def _cluster_spec(options: Options) -> Json:
    kind = options.text("type")
    access: Json = {"Scope": options.text("scope"), "Sharing": options.text("sharing")}
    access |= {"MountVolume": {}} if kind == "mount" else {"BlockVolume": {}}
    segments = {
        "Requisite": [{"Segments": _segments(word)} for word in options.list("topology-required")],
        "Preferred": [{"Segments": _segments(word)} for word in options.list("topology-preferred")],
    }
    return {
        "Group": options.text("group"), "AccessMode": access, "Availability": options.text("availability"),
        "CapacityRange": {"RequiredBytes": options.number("required-bytes") or 0, "LimitBytes": options.number("limit-bytes") or 0},
        "Secrets": [{"Key": key, "Secret": name} for key, name in sorted(options.map("secret").items())],
        "AccessibilityRequirements": segments,
    }  # fmt: skip


def _segments(word: str) -> dict[str, str]:
    return {key: value for key, _, value in (part.partition("=") for part in word.split(","))}


def _rm(context: Context, options: Options, words: list[str]) -> None:
    each(words, lambda name: context.engine(volumes.remove(name, force=options.on("force"))))


def _update(context: Context, options: Options, words: list[str]) -> None:
    """Only volumes of a cluster can change."""
    found = context.engine(volumes.inspect(words[0]))
    spec = (found.get("ClusterVolume") or {}).get("Spec")
    if spec is None:
        raise Exit(1, "can only update cluster volumes")
    if "availability" in options.given:
        spec["Availability"] = options.text("availability")
    context.engine(volumes.update(words[0], found["ClusterVolume"]["Version"]["Index"], {"Spec": spec}))


COMMANDS = {
    "ls": Command(
        _ls, "[OPTIONS]", "List volumes",
        """
   --cluster bool@1.42  Show a cluster's volumes alone, with columns of their own
-f --filter filter:filter  Provide filter values (e.g. "dangling=true")
   --format string  Format output using a custom template
-q --quiet bool  Only display volume names
""",
        most=0,
    ),
    "create": Command(
        _create, "[OPTIONS] [VOLUME]", "Create a volume",
        """
   --availability string@1.42=active  Cluster volume: active, pause or drain
-d --driver string=local  Specify volume driver name
   --group string@1.42  Cluster volume: its group
   --label list:label  Set metadata for a volume
   --limit-bytes bytes@1.42  Cluster volume: most bytes
-o --opt map  Set driver specific options
   --required-bytes bytes@1.42  Cluster volume: fewest bytes
   --scope string@1.42=single  Cluster volume: single or multi
   --secret map@1.42  Cluster volume: secrets
   --sharing string@1.42=none  Cluster volume: none, readonly, onewriter or all
   --topology-preferred list@1.42  Cluster volume: where it would best be
   --topology-required list@1.42  Cluster volume: where it must be reached
   --type string@1.42=block  Cluster volume: mount or block
""",
        most=1,
    ),
    "rm": Command(_rm, "[OPTIONS] VOLUME [VOLUME...]", "Remove one or more volumes", "-f --force bool  Force the removal of one or more volumes", least=1),
    "update": Command(
        _update, "[OPTIONS] [VOLUME]", "Update a volume (cluster volumes only)",
        "   --availability string@1.42=active  Cluster volume: active, pause or drain", least=1, most=1,
    ),
}  # fmt: skip
