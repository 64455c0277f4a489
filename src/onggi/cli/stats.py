"""stats."""

from __future__ import annotations

import sys
import threading

from onggi.cli.main import Command
from onggi.cli.tables import Columns
from onggi.cli.units import binary_size, human_size
from onggi.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.flags import Options
    from onggi.cli.main import Context
    from onggi.client.shapes import Json

_HEADERS = {
    "Container": "CONTAINER", "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %",
    "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}  # fmt: skip
_DEFAULT = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"]


def _stats(context: Context, options: Options, words: list[str]) -> None:
    names = words or [one["Id"] for one in context.engine(containers.listing(all=options.on("all")))]
    rows: dict[str, Json] = {}
    once = options.on("no-stream")
    full = options.on("no-trunc")
    changed = threading.Condition()

    def follow(name: str) -> None:
        for sample in context.connect().stream(containers.stats(name, stream=not once)):
            with changed:
                rows[name] = _row(sample, name, full=full)
                changed.notify()

    columns = Columns(_HEADERS, _DEFAULT)
    threads = [threading.Thread(target=follow, args=(name,), daemon=True, name=f"stats of {name}") for name in names]
    for thread in threads:
        thread.start()
    if once:
        for thread in threads:
            thread.join()
        columns.print([rows[name] for name in names if name in rows], options.text("format"))
        return
    while any(thread.is_alive() for thread in threads) or not names:
        with changed:
            changed.wait(1.0)
            shown = [rows[name] for name in names if name in rows]
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[H\x1b[J")
        columns.print(shown, options.text("format"))
        sys.stdout.flush()


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
