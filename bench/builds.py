"""Builds through buildx: what `docker build` costs whoever types it, the client included."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

from bench.engines import Contender
from bench.figures import IMAGE, build_context, timed

PLUGINS = Path(__file__).parents[1] / ".cache" / "cli-plugins"


def _environment(engine: Contender, root: Path) -> dict[str, str]:
    config = root / "config"
    config.mkdir()
    (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(PLUGINS)]}))
    return {
        **os.environ,
        "DOCKER_HOST": f"unix://{engine.socket}",
        "DOCKER_CONFIG": str(config),
        "DOCKER_BUILDKIT": "1",
        "BUILDKIT_PROGRESS": "plain",
    }


def buildx(engine: Contender) -> dict[str, float]:
    """Ten steps with 5,000 files in milliseconds: cold, nothing changed, one file changed; kilobytes sent for that file; four stages of
    `sleep 2` side by side."""
    if not (PLUGINS / "docker-buildx").exists():
        raise FileNotFoundError("no docker-buildx: scripts/cli-plugins .cache/cli-plugins")
    with tempfile.TemporaryDirectory(prefix="onggi-bench-") as place:
        root = Path(place)
        env = _environment(engine, root)
        with tarfile.open(fileobj=io.BytesIO(build_context())) as tar:
            tar.extractall(root / "c", filter="data")

        def build(directory: str = "c", *words: str) -> str:
            command = ["docker", "build", *words, "-t", "bench-buildx", str(root / directory)]
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return done.stderr

        # A first build starts what an engine starts once; the second has a word that no cache knows.
        (root / "first").mkdir()
        (root / "first" / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN true\n")
        build("first")
        dockerfile = root / "c" / "Dockerfile"
        dockerfile.write_text(dockerfile.read_text().replace("ENV A=1", f"ENV A={time.time_ns()}"))
        cold = timed(build)
        cached = min(timed(build) for _ in range(3))
        (root / "c" / "src" / "5" / "file5").write_text(f"changed at {time.time_ns()}")
        started = time.perf_counter()
        said = build()
        changed = time.perf_counter() - started
        stages = "".join(f"FROM {IMAGE} AS s{n}\nRUN sleep 2 && echo {time.time_ns()} > /s{n}\n" for n in range(4))
        (root / "stages").mkdir()
        (root / "stages" / "Dockerfile").write_text(
            f"{stages}FROM {IMAGE}\n" + "".join(f"COPY --from=s{n} /s{n} /\n" for n in range(4))
        )
        return {
            "buildx cold": cold * 1e3,
            "buildx cached": cached * 1e3,
            "buildx changed": changed * 1e3,
            "buildx sent": _kilobytes(said),
            "buildx stages": timed(lambda: build("stages")) * 1e3,
        }


def _kilobytes(said: str) -> float:
    """What the client sent of the context, as the progress tells it."""
    number, unit = re.findall(r"transferring context: ([\d.]+)(B|kB|MB)", said)[-1]
    return float(number) * {"B": 0.001, "kB": 1.0, "MB": 1000.0}[unit]
