"""Progress of pull, push, build, load: lines that redraw themselves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys

from onggi.cli.units import clean, human_size
from onggi.client.errors import StreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TextIO

    from onggi.client.shapes import Progress


def show(
    items: Iterable[Progress],
    out: TextIO | None = None,
    *,
    quiet: bool = False,
    on_aux: Callable[[Any], None] | None = None,
) -> None:
    """Prints each item. Raises StreamError for an error item, after which nothing comes."""
    out = out or sys.stdout
    display = _Screen(out) if out.isatty() else _Plain(out)
    for item in items:
        if "error" in item or "errorDetail" in item:
            detail = item.get("errorDetail") or {}
            raise StreamError(str(detail.get("message") or item.get("error")), int(detail.get("code") or 1))
        if "aux" in item and on_aux:
            on_aux(item["aux"])
        if not quiet:
            display.item(item)
    out.flush()


class _Plain:
    """No terminal: each status once, no bars."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def item(self, item: Progress) -> None:
        if "stream" in item:
            self._out.write(item["stream"])
        elif item.get("progressDetail"):
            return
        elif "status" in item:
            self._out.write(f"{item['id']}: {item['status']}\n" if item.get("id") else f"{item['status']}\n")
        self._out.flush()


class _Screen:
    """A line for each id, moved to by the cursor; never longer than the terminal is wide, or the count of lines is wrong."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lines: dict[str, int] = {}

    def item(self, item: Progress) -> None:
        if "stream" in item:
            self._out.write(item["stream"])
            self._lines.clear()
            return
        if "status" not in item:
            return
        name, text = item.get("id", ""), clean(item["status"])
        if not name:
            self._out.write(text + "\n")
            self._lines.clear()
            return
        columns = os.get_terminal_size(self._out.fileno()).columns
        line = f"{clean(name)}: {text}{_bar(item.get('progressDetail') or {})}"[:columns]
        if name not in self._lines:
            self._lines[name] = len(self._lines)
            self._out.write(line + "\n")
        else:
            up = len(self._lines) - self._lines[name]
            self._out.write(f"\x1b[{up}A\x1b[2K\r{line}\x1b[{up}B\r")
        self._out.flush()


def _bar(detail: dict[str, int]) -> str:
    current, total = detail.get("current", 0), detail.get("total", 0)
    if not total:
        return f" {human_size(current)}" if current else ""
    filled = min(50, 50 * current // total)
    return f" [{'=' * filled}>{' ' * (50 - filled)}] {human_size(current):>8}/{human_size(total)}"
