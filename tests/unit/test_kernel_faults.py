"""The fault points: names agree with the code, actions do what they say, and unset they do nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from onggi.kernel import faults

SOURCE = Path(faults.__file__).parents[1]


def test_every_point_in_the_code_is_listed_and_every_listed_one_is_in_the_code() -> None:
    texts = [path.read_text() for path in SOURCE.rglob("*.py")]
    used = {name for text in texts for name in re.findall(r"(?:faults\.)?\bpoint\(\"([a-z._]+)\"\)", text)}
    assert used == set(faults.POINTS)


def test_unset_a_point_does_nothing() -> None:
    assert faults.point is faults._nothing


@pytest.mark.parametrize("text", ["shim.running", "nowhere=kill", "shim.running=explode", "shim.running=kill@x"])
def test_what_cannot_be_understood_ends_the_program(text: str) -> None:
    with pytest.raises(ValueError):
        faults.parse(text)


def run(fault: str, code: str) -> subprocess.CompletedProcess[str]:
    program = f"from onggi.kernel.faults import point\nfor n in range(4):\n    {code}\n    print(n, flush=True)"
    return subprocess.run(
        [sys.executable, "-c", program],
        env={"ONGGI_FAULT": fault, "PYTHONPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def test_a_fault_comes_at_its_nth_hit() -> None:
    ended = run("shim.running=kill@3", 'point("shim.running")')
    assert (ended.returncode, ended.stdout) == (-9, "0\n1\n")


def test_an_errno_is_an_error_of_the_step() -> None:
    ended = run("store.sync=ENOSPC", 'point("store.sync")')
    assert "OSError: [Errno 28] fault at store.sync: No space left on device" in ended.stderr


def test_a_probability_gives_the_same_row_for_the_same_seed() -> None:
    code = 'try:\n        point("store.sync")\n    except RuntimeError: continue'
    first = run("store.sync=raise%0.5", code)
    assert first.stdout == run("store.sync=raise%0.5", code).stdout
    assert first.stdout != "0\n1\n2\n3\n"
