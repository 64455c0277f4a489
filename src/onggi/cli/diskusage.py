"""system df: what images, containers, volumes and the build cache take."""

from __future__ import annotations

import sys

from onggi.cli.command import Command, Exit
from onggi.cli.images import rows_of
from onggi.cli.listing import row as container_row
from onggi.cli.tables import Columns, table
from onggi.cli.units import ago, human_size, rfc3339
from onggi.cli.volumes import row as volume_row
from onggi.client import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.shapes import Json

_HEADERS = {"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE"}


def _df(context: Context, options: Options, words: list[str]) -> None:
    del words
    found = context.engine(system.df())
    format = options.text("format")
    if options.on("verbose"):
        if format not in ("", "table"):
            _formatted(found, format)
            return
        _verbose(found)
        return
    Columns(_HEADERS, list(_HEADERS), "*formatter.diskUsageImagesContext").print(_summary(found), format)


def _summary(found: Json) -> list[Json]:
    images, containers = found.get("Images") or [], found.get("Containers") or []
    volumes, cache = found.get("Volumes") or [], found.get("BuildCache") or []
    layers = found.get("LayersSize") or 0
    used_images = sum(_unique(one) for one in images if one["Containers"] > 0)

    def summary(kind: str, items: list[Json], active: Callable[[Json], bool], size: Callable[[Json], int]) -> Json:
        whole = sum(map(size, items))
        free = sum(size(one) for one in items if not active(one))
        return _line(kind, items, active, whole, free)

    rows = [
        _line("Images", images, lambda one: one["Containers"] > 0, layers, layers - used_images),
        summary("Containers", containers, lambda one: one["State"] in ("running", "paused", "restarting"), lambda one: one.get("SizeRw", 0)),
        summary("Local Volumes", volumes, lambda one: _usage(one)["RefCount"] > 0, lambda one: max(0, _usage(one)["Size"])),
        summary("Build Cache", cache, lambda one: bool(one["InUse"]), lambda one: 0 if one["Shared"] else one["Size"]),
    ]  # fmt: skip
    rows[-1]["Reclaimable"] = str(rows[-1]["Reclaimable"]).partition(" ")[0]
    return rows


def _line(kind: str, items: list[Json], active: Callable[[Json], bool], whole: int, free: int) -> Json:
    share = f" ({free * 100 // whole}%)" if whole > 0 else ""
    return {
        "Type": kind, "TotalCount": str(len(items)), "Active": str(sum(map(active, items))), "Size": human_size(whole),
        "Reclaimable": human_size(free) + share,
    }  # fmt: skip


def _unique(image: Json) -> int:
    """What goes with the image: all but what it shares."""
    return int(image["Size"]) - max(0, int(image.get("SharedSize", 0)))


def _usage(volume: Json) -> Json:
    return volume.get("UsageData") or {"RefCount": 0, "Size": 0}


_IMAGES = {"Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "CreatedSince": "CREATED", "Size": "SIZE", "SharedSize": "SHARED SIZE",
           "UniqueSize": "UNIQUE SIZE", "Containers": "CONTAINERS"}  # fmt: skip
_CONTAINERS = {"ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "LocalVolumes": "LOCAL VOLUMES", "Size": "SIZE",
               "RunningFor": "CREATED", "Status": "STATUS", "Names": "NAMES"}  # fmt: skip
_VOLUMES = {"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}
_CACHE = {"ID": "CACHE ID", "CacheType": "CACHE TYPE", "Size": "SIZE", "CreatedSince": "CREATED", "LastUsedSince": "LAST USED",
          "UsageCount": "USAGE", "Shared": "SHARED"}  # fmt: skip


def _parts(found: Json) -> dict[str, list[Json]]:
    images = [
        row
        for one in found.get("Images") or []
        for row in rows_of(
            one, full=False, shared=human_size(max(0, one.get("SharedSize", 0))), unique=human_size(_unique(one)), used=str(one["Containers"])
        )
    ]  # fmt: skip
    volumes = [
        volume_row(one, links=str(_usage(one)["RefCount"]), size=human_size(max(0, _usage(one)["Size"])))
        for one in found.get("Volumes") or []
    ]
    cache = sorted(
        found.get("BuildCache") or [],
        key=lambda one: (one.get("LastUsedAt") or one["CreatedAt"], one["UsageCount"]),
        reverse=True,
    )
    return {
        "Images": images, "Containers": [_container_row(one) for one in found.get("Containers") or []], "Volumes": volumes,
        "BuildCache": [_cache_row(one) for one in cache],
    }  # fmt: skip


def _container_row(one: Json) -> Json:
    return container_row(one, full=False) | {"Size": human_size(one.get("SizeRw", 0), 3)}


def _cache_row(one: Json) -> Json:
    last = one.get("LastUsedAt")
    return {
        "ID": one["ID"][:12], "CacheType": one["Type"], "Size": human_size(one["Size"], 3), "CreatedSince": ago(rfc3339(one["CreatedAt"])),
        "LastUsedSince": ago(rfc3339(last)) if last else "", "UsageCount": str(one["UsageCount"]), "Shared": str(one["Shared"]).lower(),
        "InUse": str(one["InUse"]).lower(), "Parent": one.get("Parent", ""), "Description": one.get("Description", ""),
    }  # fmt: skip


def _verbose(found: Json) -> None:
    parts = _parts(found)
    freeable = sum(one["Size"] for one in found.get("BuildCache") or [] if not one["Shared"])
    for title, headers, rows in (
        ("Images space usage:", _IMAGES, parts["Images"]), ("Containers space usage:", _CONTAINERS, parts["Containers"]),
        ("Local Volumes space usage:", _VOLUMES, parts["Volumes"]), (f"Build cache usage: {human_size(freeable)}", _CACHE, parts["BuildCache"]),
    ):  # fmt: skip
        text = table(list(headers.values()), [[str(row[field]) for field in headers] for row in rows])
        sys.stdout.write(f"{title}\n\n{text}" + ("" if headers is _CACHE else "\n"))


def _formatted(found: Json, format: str) -> None:
    """One document of all parts. Raises Exit."""
    from onggi.cli.templates import Struct, Template, TemplateError

    parts = {name: [Struct(row, "*formatter.Context") for row in rows] for name, rows in _parts(found).items()}
    try:
        text = Template("{{json .}}" if format == "json" else format).render(Struct(parts))
    except TemplateError as error:
        raise Exit(1, f"template parsing error: {error}") from None
    sys.stdout.write(text + "\n")


COMMANDS = {
    "df": Command(
        _df, "[OPTIONS]", "Show docker disk usage",
        "   --format string  Format output using a custom template\n-v --verbose bool  Show detailed information on space usage", most=0,
    )
}  # fmt: skip
