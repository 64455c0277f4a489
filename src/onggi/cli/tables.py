"""Lists as docker prints them: a table of columns, or a template for each row, or JSON."""

from __future__ import annotations

import sys
import unicodedata
from typing import cast

from onggi.cli.units import clean, for_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any


def width(text: str) -> int:
    """Cells that a terminal gives `text`."""
    return (
        sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
        if not text.isascii()
        else len(text)
    )


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, least: int = 10) -> str:
    """Three spaces between columns of at least `least` cells; the last one isn't padded (docker's tabwriter settings)."""
    lines = [list(headers), *([clean(cell) for cell in row] for row in rows)]
    count = max(map(len, lines))
    widths = [max(width(line[at]) for line in lines if at < len(line)) for at in range(count)]
    out = []
    for line in lines:
        cells = [cell + " " * (max(widths[at] + 3, least) - width(cell)) for at, cell in enumerate(line[:-1])]
        out.append("".join(cells) + line[-1])
    return "\n".join(out) + "\n"


class Columns:
    """What a list can show: field → header, in the order of the default table.

    `go_type` is what docker's message calls a row that hasn't the field; `raw` is the template behind `--format raw`.
    """

    def __init__(self, headers: Mapping[str, str], default: Sequence[str], go_type: str = "", raw: str = "") -> None:
        self.headers, self.default, self.go_type, self.raw = headers, default, go_type, raw

    def print(self, rows: Iterable[Mapping[str, Any]], format: str = "") -> None:
        """To stdout. `format` is empty or `table`, `table TEMPLATE`, `json`, `raw`, or a template for each row. Raises Exit."""
        if format in ("", "table"):
            cells = ([cell_text(row[f]) for f in self.default] for row in rows)
            sys.stdout.write(table([self.headers[f] for f in self.default], cells))
            return
        from onggi.cli.command import Exit
        from onggi.cli.templates import TemplateError

        try:
            sys.stdout.write(self._formatted(rows, format))
        except TemplateError as error:
            raise Exit(1, f"template parsing error: {error}") from None

    def _formatted(self, rows: Iterable[Mapping[str, Any]], format: str) -> str:
        from onggi.cli.templates import Struct, Template

        if format == "json":
            format = "{{json .}}"
        elif format == "raw" and self.raw:
            format = self.raw
        is_table = format.startswith("table")
        text = format.removeprefix("table").strip() if is_table else format
        template = Template(text.replace("\\t", "\t").replace("\\n", "\n"))
        lines = [
            template.render(Struct(cast("dict[str, Any]", for_terminal(dict(sorted(row.items())))), self.go_type))
            for row in rows
        ]
        if not is_table:
            return "".join(f"{line}\n" for line in lines)
        from onggi.cli.template_functions import HEADER_FUNCTIONS

        heading = template.render({**self.headers, "Label": _label_header}, HEADER_FUNCTIONS)
        return table(heading.split("\t"), (line.split("\t") for line in lines))


def cell_text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value).lower()


def _label_header(name: str) -> str:
    """`com.example.my-label` heads its column as `my label`."""
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


def quiet_wins(format: str) -> None:
    """What docker says when --quiet makes --format useless."""
    if format:
        sys.stderr.write("WARNING: Ignoring custom format, because both --format and --quiet are set.\n")
