"""stats."""

from __future__ import annotations

import sys
import threading

from onggi.cli.command import Command, Exit, words_of
from onggi.cli.tables import Columns
from onggi.cli.units import binary_size, human_size
from onggi.client import containers, system
from onggi.errors import OnggiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.shapes import Json

_HEADERS = {
    "Container": "CONTAINER", "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %",
    "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}  # fmt: skip
_DEFAULT = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"]


class _Board:
    """Rows of containers, each kept up by a thread of its own that follows the engine's stream."""

    def __init__(self, context: Context, *, once: bool, full: bool) -> None:
        self._context, self._once, self._full = context, once, full
        self._changed = threading.Condition()
        self._rows: dict[str, Json] = {}
        self._order: list[str] = []
        self._threads: list[threading.Thread] = []
        self.errors: dict[str, str] = {}

    def add(self, name: str) -> None:
        with self._changed:
            if name in self._order:
                return
            self._order.append(name)
        thread = threading.Thread(target=self._follow, args=(name,), daemon=True, name=f"stats of {name}")
        self._threads.append(thread)
        thread.start()

    def remove(self, name: str) -> None:
        with self._changed:
            self._order = [one for one in self._order if one != name]
            self._rows.pop(name, None)

    def _follow(self, name: str) -> None:
        try:
            for sample in self._context.connect().stream(containers.stats(name, stream=not self._once)):
                with self._changed:
                    self._rows[name] = _row(sample, name, full=self._full)
                    self._changed.notify()
        except OnggiError as error:
            with self._changed:
                self.errors[name] = words_of(error)
                self._changed.notify()

    def wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait(seconds)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    @property
    def alive(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def rows(self) -> list[Json]:
        with self._changed:
            return [self._rows[name] for name in self._order if name in self._rows]


def _stats(context: Context, options: Options, words: list[str]) -> None:
    once = options.on("no-stream")
    format = options.text("format") or context.config.text("statsFormat")
    board = _Board(context, once=once, full=options.on("no-trunc"))
    for name in words or [one["Id"] for one in context.engine(containers.listing(all=options.on("all")))]:
        board.add(name)
    columns = Columns(_HEADERS, _DEFAULT, "*container.statsContext")
    if once:
        board.join()
        if board.errors:
            raise Exit(1, "\n".join(board.errors.values()))
        columns.print(board.rows(), format)
        return
    if not words:
        threading.Thread(target=_watch, args=(context, board, options.on("all")), daemon=True, name="events").start()
    while board.alive or not words:
        board.wait(1.0)
        if words and board.errors:
            raise Exit(1, "\n".join(board.errors.values()))
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[H\x1b[J")
        columns.print(board.rows(), format)
        sys.stdout.flush()


def _watch(context: Context, board: _Board, every: bool) -> None:
    """Containers that begin and end while we look."""
    begin, end = ("create", "destroy") if every else ("start", "die")
    filters = {"type": ["container"], "event": [begin, end]}
    for event in context.connect().stream(system.events(filters=filters)):
        (board.add if event["Action"] == begin else board.remove)(event["Actor"]["ID"])


def _row(sample: Json, name: str, *, full: bool) -> Json:
    memory = sample.get("memory_stats") or {}
    detail = memory.get("stats") or {}
    # v1 counts the cache that could go at once under total_, v2 without: neither is what the container needs.
    used = max(0, memory.get("usage", 0) - detail.get("total_inactive_file", detail.get("inactive_file", 0)))
    limit = memory.get("limit", 0)
    networks = (sample.get("networks") or {}).values()
    received, sent = sum(n["rx_bytes"] for n in networks), sum(n["tx_bytes"] for n in networks)
    read = write = 0
    for entry in (sample.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []:
        read += entry["value"] if entry["op"].lower() == "read" else 0
        write += entry["value"] if entry["op"].lower() == "write" else 0
    return {
        "Container": name, "ID": sample["id"] if full else sample["id"][:12], "Name": sample["name"].lstrip("/"),
        "CPUPerc": f"{_cpu(sample):.2f}%", "MemUsage": f"{binary_size(used)} / {binary_size(limit)}",
        "MemPerc": f"{used / limit * 100 if limit else 0:.2f}%", "NetIO": f"{human_size(received, 3)} / {human_size(sent, 3)}",
        "BlockIO": f"{human_size(read, 3)} / {human_size(write, 3)}", "PIDs": str((sample.get("pids_stats") or {}).get("current", 0)),
    }  # fmt: skip


def _cpu(sample: Json) -> float:
    now, before = sample.get("cpu_stats") or {}, sample.get("precpu_stats") or {}
    own = now.get("cpu_usage", {}).get("total_usage", 0) - before.get("cpu_usage", {}).get("total_usage", 0)
    system = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    return own / system * (now.get("online_cpus") or 1) * 100 if own > 0 and system > 0 else 0.0


COMMANDS = {
    "stats": Command(
        _stats, "[OPTIONS] [CONTAINER...]", "Display a live stream of container(s) resource usage statistics",
        """
-a --all bool  Show all containers (default shows just running)
   --format string  Format output using a custom template
   --no-stream bool  Disable streaming stats and only pull the first result
   --no-trunc bool  Do not truncate output
""",
    ),
}  # fmt: skip
