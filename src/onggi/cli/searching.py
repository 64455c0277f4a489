"""search: images by a word, as the engine's registry knows them."""

from __future__ import annotations

from onggi.cli.command import Command
from onggi.cli.credentials import credentials_for
from onggi.cli.filters import parse_filters
from onggi.cli.tables import Columns
from onggi.client import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.shapes import Json

_HEADERS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
    "IsAutomated": "AUTOMATED",
}
_COLUMNS = Columns(_HEADERS, ["Name", "Description", "StarCount", "IsOfficial"], "*registry.searchContext")


def _search(context: Context, options: Options, words: list[str]) -> None:
    call = images.search(
        words[0], limit=options.number("limit") or 0, filters=parse_filters(options.list("filter")), auth=credentials_for(context, words[0]),
    )  # fmt: skip
    found = context.engine(call)
    found.sort(key=lambda one: -one["star_count"])
    _COLUMNS.print([_row(one, full=options.on("no-trunc")) for one in found], options.text("format"))


def _row(one: Json, *, full: bool) -> Json:
    description = one["description"].replace("\n", " ").replace("\r", " ")
    if not full and len(description) > 45:
        description = description[:44] + "…"
    official = "[OK]" if one["is_official"] else ""
    return {
        "Name": one["name"],
        "Description": description,
        "StarCount": str(one["star_count"]),
        "IsOfficial": official,
        "IsAutomated": "",
    }


COMMANDS = {
    "search": Command(
        _search, "[OPTIONS] TERM", "Search Docker Hub for images",
        """
-f --filter filter:filter  Filter output based on conditions provided
   --format string  Pretty-print search using a Go template
   --limit int  Max number of search results
   --no-trunc bool  Don't truncate output
""",
        least=1, most=1,
    )
}  # fmt: skip
