"""How `onggi-runtime` begins: from a sealed copy of its interpreter, and with its modules out of one file."""

from __future__ import annotations

import fcntl
import json
import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest

from onggi.runtime.onefile import OneFile
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


def test_modules_of_another_interpreter_are_left_alone(tmp_path: Path) -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    copy = tmp_path / "modules"
    _, _, rest = (SCRIPT.parent / "modules").read_bytes().partition(b"\n")
    copy.write_bytes(b"3.0 of another place\n" + rest)
    begin = tmp_path / "begin.py"
    begin.write_text(text.replace(str(SCRIPT.parent / "modules"), str(copy)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-IS", begin, "--version"], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.startswith("onggi-runtime version ")


def test_a_module_is_taken_from_the_file_while_its_source_is_what_it_was(tmp_path: Path) -> None:
    source = tmp_path / "answer.py"
    source.write_text("ANSWER = 'of the source'\n", encoding="utf-8")
    status = source.stat()
    code = marshal.dumps(compile("ANSWER = 'of the file'", str(source), "exec"))
    entry = (str(source), status.st_mtime_ns, status.st_size, False, 3, 3 + len(code))
    finder = OneFile({"answer": entry}, memoryview(b"abc" + code))
    spec = finder.find_spec("answer")
    assert spec is not None
    module = type(sys)("answer")
    finder.exec_module(module)
    assert (module.ANSWER, module.__file__) == ("of the file", str(source))
    os.utime(source, ns=(0, status.st_mtime_ns + 1))
    assert finder.find_spec("answer") is None
    source.unlink()
    assert finder.find_spec("answer") is None
    assert finder.find_spec("another") is None
