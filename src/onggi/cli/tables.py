"""Lists as docker prints them: a table of columns, or a template for each row, or JSON."""

from __future__ import annotations

import sys
import unicodedata

from onggi.cli.units import clean

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
    lines = [list(headers), *([clean(str(cell)) for cell in row] for row in rows)]
    widths = [max(width(line[at]) for line in lines) for at in range(len(headers))]
    out = []
    for line in lines:
        cells = [cell + " " * (max(widths[at] + 3, least) - width(cell)) for at, cell in enumerate(line[:-1])]
        out.append("".join(cells) + line[-1])
    return "\n".join(out) + "\n"


class Columns:
    """What a list can show: field → header, in the order of the default table."""

    def __init__(self, headers: Mapping[str, str], default: Sequence[str]) -> None:
        self.headers, self.default = headers, default

    def print(self, rows: Iterable[Mapping[str, Any]], format: str = "") -> None:
        """To stdout. `format` is empty or `table`, `table TEMPLATE`, `json`, or a template for each row."""
        if format in ("", "table"):
            sys.stdout.write(
                table([self.headers[f] for f in self.default], ([row[f] for f in self.default] for row in rows))
            )
            return
        from onggi.cli.templates import Template

        if format == "json":
            format = "{{json .}}"
        is_table = format.startswith("table ")
        text = format.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
        template = Template(text)
        if not is_table:
            for row in rows:
                sys.stdout.write(template.render(row) + "\n")
            return
        heading = template.render(_Headings(self.headers)).split("\t")
        sys.stdout.write(table(heading, (template.render(row).split("\t") for row in rows)))


class _Headings(dict[str, str]):
    """Stands for the row of headers in a `table` template: each field gives its header."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
