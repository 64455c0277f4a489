"""How `onggi-runtime` begins: from a sealed copy of its interpreter, whoever makes that."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.bundles import RUNTIME, Bundle

SCRIPT = Path(sys.executable).parent.parent / "lib/onggi-runtime/begin.py"
"""What launch.c starts, and what stands in its place where there was no compiler."""
WAYS = {
    "installed": [str(RUNTIME)],
    "script": [sys.executable, "-IS", str(SCRIPT)],
    "module": [sys.executable, "-I", "-m", "onggi.runtime.entry"],
}


@pytest.mark.row("S-01")
@pytest.mark.root
@pytest.mark.parametrize("way", WAYS)
def test_what_waits_inside_runs_from_a_sealed_copy_however_it_was_started(bundle: Bundle, way: str) -> None:
    container_id = bundle.make("true")
    null = subprocess.DEVNULL
    command = [*WAYS[way], "--root", str(bundle.root), "create", container_id]
    subprocess.run(command, cwd=bundle.directory, stdin=null, stdout=null, stderr=null, check=True, timeout=30)
    pid = json.loads(bundle.call("state", container_id).stdout)["pid"]
    assert os.readlink(f"/proc/{pid}/exe").startswith("/memfd:")
    program = os.open(f"/proc/{pid}/exe", os.O_RDONLY)
    try:
        # Asked of the file: while it runs a write is refused anyway (ETXTBSY).
        assert fcntl.fcntl(program, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
    finally:
        os.close(program)


@pytest.mark.row("S-01", "CL-179")
@pytest.mark.root
@pytest.mark.parametrize("way", WAYS)
def test_words_and_exit_codes_are_the_same_however_it_was_started(bundle: Bundle, way: str) -> None:
    container_id = bundle.make("sh", "-c", "echo said; exit 7")
    command = [*WAYS[way], "--root", str(bundle.root), "run", container_id]
    done = subprocess.run(command, cwd=bundle.directory, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (7, "said\n", "")
