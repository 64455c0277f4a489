"""Sessions of docker's client and of onggi on one engine: the same stdout, stderr and exit codes, line by line."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.daemon import DOCKER, Daemon, running
from tests.clients.sessions import SESSIONS

pytestmark = pytest.mark.root
ONGGI = str(Path(sys.executable).parent / "onggi")
_SAME = (
    (r"\bonggi\b", "docker"),
    (r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", "ID"),
    (r"\d{4}-\d\d-\d\d[T ][\d:.]+( \+0000 UTC|Z|\+00:00)?", "TIME"),
    (r"(About an?|\d+|Less than a) (second|minute|hour)s?( ago)?", "SPAN"),
    (r"\b\d\d:\d\d\b", "CLOCK"),
    # Newer clients' field, and a slip of the older client's pen.
    (r'"HealthStatus":"none",', ""),
    (r"SRun '|See '", "Run '"),
    (r" +", " "),
)
"""What may differ: names of new things, times, the program's own name, and spaces that follow from these."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


def plain(text: str) -> str:
    for pattern, instead in _SAME:
        text = re.sub(pattern, instead, text)
    return text


def _without_chance(top: str) -> str:
    """Without process numbers, and ps's C, the share of a processor since the process began."""
    return re.sub(r"(?m)^(\S+ +PID +PID +)\d+ ", r"\1C ", re.sub(r"\b\d{3,}\b", "PID", top))


def play(program: str, daemon: Daemon, lines: list[str], folder: Path) -> list[tuple[str, int, str, str]]:
    """What `program` says to each line, in a new `folder` that is its configuration, too."""
    folder.mkdir()
    environment = os.environ | {
        "DOCKER_HOST": daemon.host, "DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": str(folder), "SESSION": str(folder), "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    environment.pop("DOCKER_CONTEXT", None)
    said = []
    for line in lines:
        words, _, typed = line.partition(" <<")
        done = subprocess.run(
            [program, *shlex.split(words)], input=typed + "\n" if typed else "", capture_output=True, text=True, check=False, timeout=30, env=environment, cwd=folder,
        )  # fmt: skip
        out = _without_chance(done.stdout) if words.startswith("top ") else done.stdout
        said.append((line, done.returncode, plain(out), plain(done.stderr)))
    daemon.clear()
    shutil.rmtree(folder)
    return said


@pytest.mark.row(
    "CL-014",
    "CL-016",
    "CL-020",
    "CL-023",
    "CL-024",
    "CL-025",
    "CL-027",
    "CL-029",
    "CL-030",
    "CL-031",
    "CL-032",
    "CL-033",
)
@pytest.mark.row(
    "CL-035",
    "CL-036",
    "CL-038",
    "CL-050",
    "CL-052",
    "CL-054",
    "CL-056",
    "CL-060",
    "CL-061",
    "CL-063",
    "CL-072",
    "CL-073",
)
@pytest.mark.row(
    "CL-074",
    "CL-077",
    "CL-079",
    "CL-122",
    "CL-132",
    "CL-135",
    "CL-136",
    "CL-137",
    "CL-139",
    "CL-141",
    "CL-142",
    "CL-154",
)
@pytest.mark.row(
    "CL-155",
    "CL-156",
    "CL-158",
    "CL-159",
    "CL-161",
    "CL-162",
    "CL-163",
    "CL-164",
    "CL-165",
    "CL-170",
    "CL-171",
    "CL-176",
)
@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_reads_the_same_through_both(daemon: Daemon, name: str, tmp_path: Path) -> None:
    lines = SESSIONS[name].strip().splitlines()
    theirs = play(DOCKER, daemon, lines, tmp_path / "client")
    ours = play(ONGGI, daemon, lines, tmp_path / "client")
    different = [f"{a}\n{b}" for a, b in zip(theirs, ours, strict=True) if a != b]
    assert not different, "\n\n".join(different)
