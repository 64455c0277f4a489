"""`python -m tests.shapes --base DEBIAN.tar [name…]`: a table of what was built through each door and what it answered.

With SHAPES_PEER=unix:///run/docker.sock BuildKit of that dockerd builds the same, and configuration and history are compared.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.clients.buildx import PLUGINS
from tests.clients.daemon import Daemon
from tests.shapes.checks import CHECKS
from tests.shapes.doors import Door, Failed, buildx
from tests.shapes.house import house


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="a Debian root file system, from scripts/base-image")
    parser.add_argument("names", nargs="*", help="folders of examples/; all without one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onggi-shapes-", dir="/var/tmp", ignore_cleanup_errors=True) as place:
        daemon = Daemon(Path(place))
        daemon.start()
        try:
            failed = Table(daemon, Path(place), options.base.resolve()).run(options.names or list(CHECKS))
        finally:
            daemon.clear()
            daemon.stop()
    sys.exit(f"{failed} failed" if failed else 0)


class Table:
    """One line for each example, printed as it comes."""

    def __init__(self, daemon: Daemon, place: Path, base: Path) -> None:
        onggi = Door(
            "onggi build", [str(Path(sys.executable).parent / "onggi")], ["build"], {"DOCKER_HOST": daemon.host}
        )
        self._own = [onggi, buildx("buildx", daemon.host, place / "docker", PLUGINS)]
        peer = os.environ.get("SHAPES_PEER")
        self._peer = buildx("dockerd", peer, place / "peer", PLUGINS) if peer else None
        for door in (onggi, *([self._peer] if self._peer else [])):
            door.add_base(base)

    def run(self, names: list[str]) -> int:
        """How many failed."""
        doors = [door.name for door in [*self._own, *([self._peer] if self._peer else [])]]
        print(
            " | ".join(["example".ljust(15), *(name.rjust(11) for name in doors), "MB".rjust(5), "runs", "answers"]),
            flush=True,
        )
        return sum(not self._line(name) for name in self._with_neighbours(names))

    @staticmethod
    def _with_neighbours(names: list[str]) -> list[str]:
        """WordPress runs with two others of them."""
        needed = ["mariadb", "redis"] if "wordpress" in names else []
        return [*(name for name in needed if name not in names), *sorted(names, key="wordpress".__eq__)]

    def _line(self, name: str) -> bool:
        print(name.ljust(15), end="", flush=True)
        try:
            images = []
            for door in self._own:
                # The second door begins anew; what it finds is what RUN --mount=type=cache has kept.
                self._cell(door.make(name, *(["--no-cache"] if images else [])))
                images.append(told(door, name))
            if self._peer:
                self._cell(self._peer.make(name, "--no-cache"))
                images.append(told(self._peer, name))
            print(f" | {self._own[0].image(name)['Size'] / 1e6:5.0f}", end="", flush=True)
            began = time.perf_counter()
            with house(self._own[0]) as at:
                CHECKS[name](at)
            print(f" | {time.perf_counter() - began:3.0f} s | {CHECKS[name].__doc__}", flush=True)
            compare(images)
        except Failed as why:
            print(f"\n  FAILED {name}: {why}", flush=True)
            return False
        return True

    @staticmethod
    def _cell(seconds: float) -> None:
        print(f" | {seconds:9.1f} s", end="", flush=True)


def told(door: Door, name: str) -> dict[str, Any]:
    """What must be the same whoever built it."""
    image = door.image(name)
    config = {key: value for key, value in image["Config"].items() if value not in (None, "", [], {}, False)}
    return {"config": config, "history": door.history(name), "layers": len(image["RootFS"]["Layers"])}


def compare(images: list[dict[str, Any]]) -> None:
    for other in images[1:]:
        for part, value in images[0].items():
            if other[part] != value:
                raise Failed(f"two doors differ in {part}:\n  {value}\n  {other[part]}")


main()
