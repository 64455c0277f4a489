"""images --tree: each image with its platforms below it, what it takes on the disk, and whether something uses it."""

from __future__ import annotations

import sys

from onggi.cli.command import Exit
from onggi.cli.tables import width
from onggi.cli.units import clean, human_size
from onggi.client import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.shapes import Json

_HEADINGS = ("IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA")


def print_tree(context: Context, options: Options, filters: dict[str, list[str]]) -> None:
    """Raises Exit for flags that have no meaning here."""
    for name in ("quiet", "no-trunc", "digests"):
        if options.on(name):
            # docker calls the one flag by the name that it has inside.
            raise Exit(1, f"--{'show-digest' if name == 'digests' else name} is not yet supported with --tree")
    if options.text("format"):
        raise Exit(1, "--format is not yet supported with --tree")
    found = context.engine(images.listing(all=options.on("all"), filters=filters, manifests=True))
    rows = [row for one in sorted(found, key=lambda one: one["Created"], reverse=True) for row in _rows(one)]
    widths = [max(width(row[at]) for row in (_HEADINGS, *rows)) for at in range(len(_HEADINGS))]
    sys.stdout.write(
        f"{'Info ->  U In Use':>{sum(widths) + 3 * (len(widths) - 1)}}\n\n" + _line(_HEADINGS, widths, right=False)
    )
    sys.stdout.write("".join(_line(row, widths, right=True) for row in rows))


def _line(cells: tuple[str, ...], widths: list[int], *, right: bool) -> str:
    """Sizes stand at the right of their columns."""
    padded = []
    for at, cell in enumerate(cells):
        gap = " " * (widths[at] - width(cell))
        padded.append(gap + cell if right and at in (2, 3) else cell + gap)
    return "   ".join(padded).rstrip() + "\n"


def _rows(one: Json) -> list[tuple[str, ...]]:
    tags = [clean(tag) for tag in one.get("RepoTags") or [] if tag != "<none>:<none>"]
    platforms = [entry for entry in one.get("Manifests") or [] if entry.get("Kind") == "image"]
    content = sum(entry["Size"]["Content"] for entry in platforms)
    used = "U" if one.get("Containers", 0) > 0 else ""
    short = one["Id"].removeprefix("sha256:")[:12]
    rows: list[tuple[str, ...]] = [
        (name, short, human_size(one["Size"], 3), human_size(content, 3), used) for name in tags or ["<untagged>"]
    ]
    for at, entry in enumerate(platforms):
        data = entry["ImageData"]
        branch = "└─ " if at == len(platforms) - 1 else "├─ "
        rows.append(
            (
                branch + _platform(data["Platform"]), entry["ID"].removeprefix("sha256:")[:12], human_size(entry["Size"]["Total"], 3),
                human_size(entry["Size"]["Content"], 3), "U" if data.get("Containers") else "",
            )
        )  # fmt: skip
    return rows


def _platform(found: Json) -> str:
    return "/".join(clean(found[key]) for key in ("os", "architecture", "variant") if found.get(key))
