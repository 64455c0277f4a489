"""Runs every figure on each engine and prints the table: `python -m bench [part …]`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench import builds, crowds, figures, files, runtimes
from bench.engines import Contender, onggi, peers, reference_registry

PARTS = (
    "cycle",
    "exec",
    "cli",
    "fifty",
    "rates",
    "logs",
    "cp",
    "stats50",
    "many500",
    "build",
    "buildx",
    "ship",
    "start",
    "runtime",
)


@dataclass
class Row:
    """`bar` is onggi's figure over docker's, at most (time, memory) or at least (rates)."""

    what: str
    unit: str
    bar: float
    more_is_better: bool = False


ROWS = {
    "cycle none": Row("create+start+wait+remove, no network", "ms", 1 / 8),
    "cycle bridge": Row("create+start+wait+remove, bridge", "ms", 1 / 8),
    "exec": Row("exec of true through the API", "ms", 1 / 5),
    "cli none": Row("docker run --rm less docker --version, no network", "ms", 1 / 6),
    "cli bridge": Row("docker run --rm less docker --version, bridge", "ms", 1 / 6),
    "start none": Row("start 50, no network", "ms", 1 / 6),
    "start bridge": Row("start 50, bridge", "ms", 1 / 6),
    "rm none": Row("rm -f 50, no network", "ms", 1 / 2),
    "rm bridge": Row("rm -f 50, bridge", "ms", 1 / 4),
    "memory": Row("memory for each running container", "KiB", 1.0),
    "idle": Row("engine idle, all its processes", "KiB", 1.0),
    "list": Row("list with 100 running", "/s", 5, more_is_better=True),
    "inspect": Row("inspect", "/s", 1, more_is_better=True),
    "ping": Row("ping", "/s", 1, more_is_better=True),
    "log write": Row("container writes 200 MB to its log", "MB/s", 1, more_is_better=True),
    "log read": Row("reading the log back", "MB/s", 2, more_is_better=True),
    "cp in": Row("10,000 files into a container, API", "ms", 1),
    "cp out": Row("10,000 files out of it, API", "ms", 1),
    "cp in cli": Row("the same in, docker cp", "ms", 1),
    "cp out cli": Row("the same out, docker cp", "ms", 1),
    "stats": Row("engine's CPU for stats streams of 50", "%", 1),
    "list500": Row("list with 500 running", "ms", 1),
    "memory500": Row("memory for each of 500", "KiB", 1),
    "engine500": Row("the engine's own process then", "KiB", 1),
    "build cold": Row("build, 10 steps, 5,000 files, cold", "ms", 1 / 2),
    "build cached": Row("the same, all cached", "ms", 1 / 2),
    "buildx cold": Row("docker build with buildx, 5,000 files, cold", "ms", 3 / 4),
    "buildx cached": Row("the same, nothing changed", "ms", 3 / 4),
    "buildx changed": Row("the same, one file changed", "ms", 1 / 2),
    "buildx sent": Row("of the context sent for that file", "kB", 1),
    "buildx stages": Row("four stages of sleep 2 side by side", "ms", 1),
    "push": Row("push of 300 MB, loopback registry", "ms", 1),
    "pull": Row("cold pull of 300 MB", "ms", 1),
}


def measure(engine: Contender, parts: set[str]) -> dict[str, float]:
    """Figures of one engine; a part that the engine can't do is left out and said on stderr."""
    found: dict[str, float] = {"idle": engine.pss_kib()}
    figures.load_image(engine)

    def part(name: str, action: Callable[[], dict[str, float]]) -> None:
        if name not in parts:
            return
        os.sync()  # what the part before has left to the disk isn't this one's
        try:
            figures_now = action()
            found.update(figures_now)
            print(
                f"{engine.name}: {name}: { ({key: round(value, 1) for key, value in figures_now.items()}) }",
                file=sys.stderr,
                flush=True,
            )
        except Exception as error:  # noqa: BLE001 - one engine's failure must not hide the other figures
            print(f"{engine.name}: {name}: {error}", file=sys.stderr)

    def fifty(network: str) -> dict[str, float]:
        started, each, removed = figures.fifty(engine, network)
        return {f"start {network}": started * 1e3, f"rm {network}": removed * 1e3} | (
            {"memory": each} if network == "none" else {}
        )

    part("cycle", lambda: {f"cycle {net}": figures.cycle(engine, net) * 1e3 for net in ("none", "bridge")})
    part("exec", lambda: {"exec": figures.execs(engine) * 1e3})
    if engine.name != "podman":
        part("cli", lambda: {f"cli {net}": figures.cli_run(engine, net) * 1e3 for net in ("none", "bridge")})
    for net in ("none", "bridge"):
        part("fifty", lambda net=net: fifty(net))
    part("rates", lambda: dict(zip(("list", "inspect", "ping"), figures.rates(engine), strict=True)))
    part("logs", lambda: dict(zip(("log write", "log read"), figures.logs(engine), strict=True)))
    if engine.name != "podman":
        part("cp", lambda: files.copies(engine))
        part("stats50", lambda: crowds.stats(engine))
        part("many500", lambda: crowds.many(engine))
        part(
            "build",
            lambda: {k: v * 1e3 for k, v in zip(("build cold", "build cached"), figures.build(engine), strict=True)},
        )
        part("buildx", lambda: builds.buildx(engine))
        part("ship", lambda: {k: v * 1e3 for k, v in zip(("push", "pull"), figures.ship(engine), strict=True)})
    return found


def verdict(row: Row, ours: float, docker: float) -> str:
    ratio = ours / docker
    good = ratio >= row.bar if row.more_is_better else ratio <= row.bar
    return f"{ratio:7.2f} {'>=' if row.more_is_better else '<='} {row.bar:5.2f} {'ok' if good else 'SHORT'}"


def main() -> None:
    parts = set(sys.argv[1:]) or set(PARTS)
    others = peers()
    if not others:
        print("no reference engines: set PEERS_ROOT and start them; printing onggi alone", file=sys.stderr)
    if "runtime" in parts and others:
        runtimes.main()
    if parts == {"runtime"}:
        return
    results: dict[str, dict[str, float]] = {}
    with onggi() as engine:
        results["onggi"] = measure(engine, parts)
        if "start" in parts:
            os.environ["DOCKER_HOST"] = f"unix://{engine.socket}"
            empty, version, listing = figures.command_line()
            print(
                f"empty interpreter {empty * 1e3:.1f} ms; onggi --version {version / empty:.2f}x (bar 2); onggi ps {listing / empty:.2f}x (bar 4)"
            )
            del os.environ["DOCKER_HOST"]
    if others:
        with reference_registry():
            for other in others:
                results[other.name] = measure(other, parts)
    names = list(results)
    print(f"{'figure':52}" + "".join(f"{name:>12}" for name in names) + "   onggi/docker   bar")
    for key, row in ROWS.items():
        values = [results[name].get(key) for name in names]
        if all(value is None for value in values):
            continue
        line = f"{row.what:46} {row.unit:>5}" + "".join(
            f"{value:12.1f}" if value is not None else f"{'-':>12}" for value in values
        )
        ours, docker = results["onggi"].get(key), results.get("docker", {}).get(key)
        print(line + ("   " + verdict(row, ours, docker) if ours and docker else ""))


main()
