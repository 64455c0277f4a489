"""`run` of one bundle by onggi-runtime, and by runc and crun of the reference root: time and CPU, round by round.

All three get the same bundle, in loops of a shell that waits for each. Rounds alternate, and the best of each counts: what
else runs on the machine is then in all of them, or in none.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.engines import BIN, PEERS_ROOT

ROUNDS, RUNS = 5, 20
BAR = 1.3
"""onggi-runtime's time over runc's, at most."""

_LOOP = (
    'cd "$1" || exit 1; n=$2; shift 2; while [ $n -gt 0 ]; do "$@" bench-$$-$n </dev/null || exit 1; n=$((n - 1)); done'
)


@dataclass(frozen=True)
class Cost:
    """Milliseconds of one run: on the clock, and of CPU (user and system, with all children)."""

    wall_ms: float
    cpu_ms: float


@contextmanager
def bundle() -> Iterator[Path]:
    """busybox with `true` as its program, at a place that the reference root's programs see too."""
    directory = PEERS_ROOT / "srv/bench/runtime-bundle"
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "rootfs").mkdir(parents=True)
    try:
        with tarfile.open(PEERS_ROOT / "busybox.tar") as tar:
            tar.extractall(directory / "rootfs", filter="fully_trusted")
        subprocess.run([BIN / "onggi-runtime", "spec"], cwd=directory, check=True)
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        config["process"] |= {"args": ["true"], "terminal": False}
        (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
        yield directory
    finally:
        shutil.rmtree(directory)


def cost(prefix: list[str], directory: str, command: list[str]) -> Cost:
    """Of one of `RUNS` in a row. Raises CalledProcessError."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    words = [*prefix, "sh", "-c", _LOOP, "sh", directory, str(RUNS), *command]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall * 1e3 / RUNS, cpu * 1e3 / RUNS)


def compare() -> dict[str, Cost]:
    """By name, the best round of each; an empty interpreter, as onggi-runtime starts it, among them."""
    init = (PEERS_ROOT / "run/peers/init.pid").read_text(encoding="ascii").strip()
    inside = ["nsenter", "-t", init, "-m", "-n", "-p"]
    found: dict[str, list[Cost]] = {}
    with bundle() as directory:
        theirs = str(Path("/") / directory.relative_to(PEERS_ROOT))
        contenders = {
            "onggi-runtime": ([], str(directory), [str(BIN / "onggi-runtime"), "run"]),
            "runc": (inside, theirs, ["runc", "run"]),
            "crun": (inside, theirs, ["crun", "run"]),
            "empty interpreter": ([], str(directory), [sys.executable, "-IS", "-c", ""]),
        }
        for _ in range(ROUNDS):
            for name, (prefix, place, command) in contenders.items():
                found.setdefault(name, []).append(cost(prefix, place, command))
    return {
        name: Cost(min(one.wall_ms for one in costs), min(one.cpu_ms for one in costs)) for name, costs in found.items()
    }


def main() -> None:
    """Print them, and the ratios to runc."""
    found = compare()
    runc = found["runc"]
    for name, one in found.items():
        print(
            f"{name:20}{one.wall_ms:8.1f} ms{one.cpu_ms:8.1f} ms CPU"
            f"{one.wall_ms / runc.wall_ms:8.2f} of runc's time{one.cpu_ms / runc.cpu_ms:8.2f} of its CPU"
        )
    ours, empty = found["onggi-runtime"], found["empty interpreter"]
    # Twice where launch.c could not be compiled.
    starts = 1 if (BIN / "onggi-runtime").read_bytes().startswith(b"\x7fELF") else 2
    print(
        f"starting an interpreter {'once' if starts == 1 else 'twice'}: {starts * empty.wall_ms / ours.wall_ms:.0%} of "
        f"onggi-runtime's time, {starts * empty.cpu_ms / ours.cpu_ms:.0%} of its CPU; bar {BAR}: "
        f"{_verdict(ours.wall_ms / runc.wall_ms)} by time, {_verdict(ours.cpu_ms / runc.cpu_ms)} by CPU"
    )


def _verdict(ratio: float) -> str:
    return "ok" if ratio <= BAR else "SHORT"
