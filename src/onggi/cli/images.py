"""images, history, rmi, tag."""

from __future__ import annotations

import sys

from onggi.cli.command import Command, Exit, each, words_of
from onggi.cli.filters import parse_filters
from onggi.cli.references import split
from onggi.cli.tables import Columns
from onggi.cli.units import ago, human_size, stamp
from onggi.client import images
from onggi.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.shapes import Json

_HEADERS = {
    "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID", "CreatedSince": "CREATED", "Size": "SIZE",
    "CreatedAt": "CREATED AT", "Containers": "CONTAINERS", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE", "VirtualSize": "SIZE",
}  # fmt: skip
TYPE = "*formatter.imageContext"


def _images(context: Context, options: Options, words: list[str]) -> None:
    filters = parse_filters(options.list("filter"))
    if words:
        filters.setdefault("reference", []).append(words[0])
    if options.on("tree"):
        from onggi.cli.imagetree import print_tree

        print_tree(context, options, filters)
        return
    found = context.engine(images.listing(all=options.on("all"), filters=filters, digests=options.on("digests")))
    full, digests = options.on("no-trunc"), options.on("digests")
    format = options.text("format") or ("" if options.on("quiet") else context.config.text("imagesFormat"))
    newest = sorted(found, key=lambda one: one["Created"], reverse=True)
    rows = [row for one in newest for row in rows_of(one, full=full, digests=digests or "{{.Digest}}" in format)]
    if options.on("quiet") and format in ("", "table"):
        sys.stdout.write("".join(f"{row['ID']}\n" for row in rows))
        return
    default = ["Repository", "Tag", *(["Digest"] if digests else []), "ID", "CreatedSince", "Size"]
    digest = "digest: {{.Digest}}\n" if digests else ""
    raw = f"repository: {{{{.Repository}}}}\ntag: {{{{.Tag}}}}\n{digest}image_id: {{{{.ID}}}}\ncreated_at: {{{{.CreatedAt}}}}\nvirtual_size: {{{{.Size}}}}\n"
    Columns(_HEADERS, default, TYPE, raw).print(rows, format)


def rows_of(
    one: Json, *, full: bool, digests: bool = False, shared: str = "N/A", unique: str = "N/A", used: str = "N/A"
) -> list[Json]:
    """A row for each name of an image; with `digests` for each pair of a name and a digest."""
    tags = [tag for tag in one.get("RepoTags") or [] if tag != "<none>:<none>"]
    names = [digest for digest in one.get("RepoDigests") or [] if digest != "<none>@<none>"]
    base = {
        "ID": one["Id"] if full else one["Id"].removeprefix("sha256:")[:12],
        "CreatedSince": ago(one["Created"]), "CreatedAt": stamp(one["Created"]), "Size": human_size(one["Size"], 3),
        "Containers": used, "SharedSize": shared, "UniqueSize": unique, "VirtualSize": human_size(one["Size"]),
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
    "ID": "IMAGE", "CreatedSince": "CREATED", "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT", "CreatedAt": "CREATED AT",
}  # fmt: skip


def _history(context: Context, options: Options, words: list[str]) -> None:
    found = context.engine(images.history(words[0], platform=options.text("platform")))
    full, human = options.on("no-trunc"), options.on("human")
    rows = [_history_row(one, full=full, human=human) for one in found]
    if options.on("quiet") and options.text("format") in ("", "table"):
        sys.stdout.write("".join(f"{row['ID']}\n" for row in rows))
        return
    created = "CreatedSince" if human else "CreatedAt"
    Columns(_HISTORY, ["ID", created, "CreatedBy", "Size", "Comment"], "*image.historyContext").print(
        rows, options.text("format")
    )


def _history_row(one: Json, *, full: bool, human: bool) -> Json:
    import time

    return {
        "ID": _short(one["Id"], full=full),
        # An image of reproducible make says that it was made at 0: nobody wants to read "54 years ago".
        "CreatedSince": ago(one["Created"]) if one["Created"] > 0 else "N/A",
        "CreatedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one["Created"])),
        "CreatedBy": _cut(one["CreatedBy"].replace("\t", " "), full=full),
        "Size": human_size(one["Size"], 3) if human else str(one["Size"]),
        "Comment": one["Comment"],
    }


def _short(identifier: str, *, full: bool) -> str:
    return identifier if full or identifier == "<missing>" else identifier.removeprefix("sha256:")[:12]


def _cut(text: str, *, full: bool) -> str:
    return text if full or len(text) <= 45 else text[:44] + "…"


def _rmi(context: Context, options: Options, words: list[str]) -> None:
    def remove(name: str) -> None:
        call = images.remove(
            name, force=options.on("force"), noprune=options.on("no-prune"), platforms=options.list("platform")
        )
        try:
            done = context.engine(call)
        except ApiError as error:
            if not (options.on("force") and error.code == 404):
                raise
            sys.stderr.write(words_of(error) + "\n")
            return
        for item in done:
            for action, what in item.items():
                sys.stdout.write(f"{action}: {what}\n")

    each(words, remove, echo=False)


def _tag(context: Context, options: Options, words: list[str]) -> None:
    del options
    try:
        repository, tag = split(words[1])
    except Exit as error:
        raise Exit(1, f'Error parsing reference: "{words[1]}" is not a valid repository/tag: {error.message}') from None
    if "@" in words[1]:
        raise Exit(1, "refusing to create a tag with a digest reference")
    context.engine(images.tag(words[0], repository, tag))


COMMANDS = {
    "images": Command(
        _images, "[OPTIONS] [REPOSITORY[:TAG]]", "List images",
        """
-a --all bool  Show all images (default hides intermediate images)
   --digests bool  Show digests
-f --filter filter:filter  Filter output based on conditions provided
   --format string  Format output using a custom template
   --no-trunc bool  Don't truncate output
-q --quiet bool  Only show image IDs
   --tree bool@1.47  List platforms and sizes below each image
""",
        most=1,
    ),
    "history": Command(
        _history, "[OPTIONS] IMAGE", "Show the history of an image",
        """
   --format string  Format output using a custom template
-H --human bool=true  Print sizes and dates in human readable format
   --no-trunc bool  Don't truncate output
   --platform string@1.48  Platform of a multi-platform image to look at
-q --quiet bool  Only show image IDs
""",
        least=1, most=1,
    ),
    "rmi": Command(
        _rmi, "[OPTIONS] IMAGE [IMAGE...]", "Remove one or more images",
        """
-f --force bool  Force removal of the image
   --no-prune bool  Do not delete untagged parents
   --platform strings@1.50  Remove these platforms of a multi-platform image only
""",
        least=1,
    ),
    "tag": Command(_tag, "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE", least=2, most=2),
}  # fmt: skip
