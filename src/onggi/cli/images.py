"""images, history, rmi, tag."""

from __future__ import annotations

import sys

from onggi.cli.filters import parse_filters
from onggi.cli.main import Command, Exit, each
from onggi.cli.references import split
from onggi.cli.tables import Columns
from onggi.cli.units import ago, human_size, stamp
from onggi.client import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.flags import Options
    from onggi.cli.main import Context
    from onggi.client.shapes import Json

_HEADERS = {
    "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID", "CreatedSince": "CREATED", "Size": "SIZE",
    "CreatedAt": "CREATED AT",
}  # fmt: skip


def _images(context: Context, options: Options, words: list[str]) -> None:
    filters = parse_filters(options.list("filter"))
    if words:
        filters.setdefault("reference", []).append(words[0])
    found = context.engine(images.listing(all=options.on("all"), filters=filters, digests=options.on("digests")))
    full = options.on("no-trunc")
    if options.on("quiet"):
        sys.stdout.write("".join(f"{one['Id'] if full else one['Id'].removeprefix('sha256:')[:12]}\n" for one in found))
        return
    default = ["Repository", "Tag", *(["Digest"] if options.on("digests") else []), "ID", "CreatedSince", "Size"]
    rows = [
        row
        for one in sorted(found, key=lambda o: o["Created"], reverse=True)
        for row in _rows(one, full=full, digests=options.on("digests"))
    ]
    Columns(_HEADERS, default).print(rows, options.text("format"))


def _rows(one: Json, *, full: bool, digests: bool) -> list[Json]:
    tags = [tag for tag in one.get("RepoTags") or [] if tag != "<none>:<none>"]
    names = [digest for digest in one.get("RepoDigests") or [] if digest != "<none>@<none>"]
    base = {
        "ID": one["Id"] if full else one["Id"].removeprefix("sha256:")[:12],
        "CreatedSince": ago(one["Created"]), "CreatedAt": stamp(one["Created"]), "Size": human_size(one["Size"], 3),
        "Containers": "N/A", "SharedSize": "N/A", "UniqueSize": "N/A", "VirtualSize": human_size(one["Size"], 3),
    }  # fmt: skip
    rows = []
    for tag in tags:
        repository, name = split(tag)
        found = next((digest.partition("@")[2] for digest in names if digest.startswith(f"{repository}@")), "<none>")
        rows.append(
            base | {"Repository": repository, "Tag": name or "<none>", "Digest": found if digests else "<none>"}
        )
    if not tags:
        repository, _, digest = (names[0] if names else "<none>@<none>").partition("@")
        rows.append(base | {"Repository": repository, "Tag": "<none>", "Digest": digest})
    return rows


_HISTORY = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
    "CreatedAt": "CREATED AT",
}


def _history(context: Context, options: Options, words: list[str]) -> None:
    found = context.engine(images.history(words[0]))
    full, human = options.on("no-trunc"), options.on("human")
    if options.on("quiet"):
        sys.stdout.write("".join(f"{_short(one['Id'], full=full)}\n" for one in found))
        return
    rows = [
        {
            "ID": _short(one["Id"], full=full),
            "CreatedSince": ago(one["Created"]) if human else stamp(one["Created"]),
            "CreatedAt": stamp(one["Created"]),
            "CreatedBy": _cut(one["CreatedBy"].replace("\t", " "), full=full),
            "Size": human_size(one["Size"], 3) if human else str(one["Size"]),
            "Comment": one["Comment"],
        }
        for one in found
    ]
    Columns(_HISTORY, ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"]).print(rows, options.text("format"))


def _short(identifier: str, *, full: bool) -> str:
    return identifier if full or identifier == "<missing>" else identifier.removeprefix("sha256:")[:12]


def _cut(text: str, *, full: bool) -> str:
    return text if full or len(text) <= 45 else text[:44] + "…"


def _rmi(context: Context, options: Options, words: list[str]) -> None:
    def remove(name: str) -> None:
        for item in context.engine(images.remove(name, force=options.on("force"), noprune=options.on("no-prune"))):
            for action, what in item.items():
                sys.stdout.write(f"{action}: {what}\n")

    each(words, remove, echo=False)


def _tag(context: Context, options: Options, words: list[str]) -> None:
    del options
    if "@" in words[1]:
        raise Exit(1, "refusing to create a tag with a digest reference")
    repository, tag = split(words[1])
    context.engine(images.tag(words[0], repository, tag))


COMMANDS = {
    "images": Command(
        _images, "[OPTIONS] [REPOSITORY[:TAG]]", "List images",
        """
-a --all bool  Show all images (default hides intermediate images)
   --digests bool  Show digests
-f --filter list  Filter output based on conditions provided
   --format string  Format output using a custom template
   --no-trunc bool  Don't truncate output
-q --quiet bool  Only show image IDs
""",
        most=1,
    ),
    "history": Command(
        _history, "[OPTIONS] IMAGE", "Show the history of an image",
        """
   --format string  Format output using a custom template
-H --human bool=true  Print sizes and dates in human readable format
   --no-trunc bool  Don't truncate output
-q --quiet bool  Only show image IDs
""",
        least=1, most=1,
    ),
    "rmi": Command(
        _rmi, "[OPTIONS] IMAGE [IMAGE...]", "Remove one or more images",
        """
-f --force bool  Force removal of the image
   --no-prune bool  Do not delete untagged parents
""",
        least=1,
    ),
    "tag": Command(_tag, "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE", least=2, most=2),
}  # fmt: skip
