"""`onggi build` at a terminal: the picture that redraws itself, the explanation of each step, the shell in the one that failed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.daemon import Daemon, running
from tests.clients.test_clients_terminal import Terminal

pytestmark = pytest.mark.root

SLEEP = 700_000 + os.getpid()
"""Nobody else's: other tests sleep on the same machine."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


def write(place: Path, **files: str) -> str:
    for name, text in files.items():
        (place / name).write_text(text)
    return str(place)


def sleeping() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == f"sleep\0{SLEEP}\0".encode():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.row("F-326", "F-358", "F-171")
def test_the_picture_redraws_itself_and_tells_what_changed(daemon: Daemon, tmp_path: Path) -> None:
    place = write(tmp_path, Dockerfile="FROM busybox\nARG V=1\nRUN echo heard $V; sleep 0.4\nCOPY f /f\n", f="1")
    words = ["build", "--network", "none", "--explain", place]
    terminal = Terminal(daemon, *words, columns=120)
    terminal.see("[+] Building ")
    terminal.see(" => => # heard 1")
    # Up to where the last picture began, and everything below it goes.
    terminal.see("\x1b[J")
    terminal.see(" FINISHED")
    assert terminal.end() == 0
    write(tmp_path, f="2")
    terminal = Terminal(daemon, *words, columns=120)
    last = terminal.see("FINISHED")
    assert terminal.end() == 0
    last = terminal.text
    assert "CACHED [2/3] RUN echo heard 1" in last
    assert "not cached: changed: f" in last
    # No line is longer than the terminal is wide: a picture that wraps can't be redrawn.
    terminal = Terminal(daemon, *words, "--no-cache", columns=40)
    terminal.see("FINISHED")
    terminal.end()
    assert max(len(line) for line in terminal.text.splitlines()) <= 40


@pytest.mark.row("F-325", "F-014")
def test_a_shell_opens_in_the_step_that_failed_with_its_mounts(daemon: Daemon, tmp_path: Path) -> None:
    dockerfile = (
        "FROM busybox AS other\nRUN echo of-another-stage > /there\nFROM busybox\nENV A=1\nWORKDIR /w\n"
        "RUN --mount=type=cache,target=/c --mount=from=other,target=/o --mount=type=secret,id=s echo half > done; echo kept > /c/k; exit 3\n"
    )
    place = write(tmp_path, Dockerfile=dockerfile, secret="not-in-the-shell")
    before = daemon.say("images", "-aq"), daemon.say("ps", "-aq")
    terminal = Terminal(
        daemon,
        "build",
        "--network",
        "none",
        "--shell-on-error",
        "--secret",
        f"id=s,src={place}/secret",
        place,
        columns=160,
    )
    terminal.see("A shell in the step that failed: /bin/sh -c echo half > done")
    terminal.see("/w # ")
    terminal.type("tty -s && cat done /c/k /o/there && echo A is $A && ls /run/secrets\r")
    # A shell that hears of the terminal's size says its prompt again.
    said = terminal.see("A is 1\r\n")
    assert "half\r\nkept\r\nof-another-stage\r\nA is 1\r\n" in said
    assert "not-in-the-shell" not in said
    terminal.type("exit\r")
    assert "exit code: 3" in terminal.see("exit code: 3")
    assert terminal.end() == 1
    assert (daemon.say("images", "-aq"), daemon.say("ps", "-aq")) == before


@pytest.mark.row("F-079", "R-32")
def test_a_build_that_is_interrupted_ends_at_once(daemon: Daemon, tmp_path: Path) -> None:
    place = write(tmp_path, Dockerfile=f"FROM busybox\nRUN echo go; sleep {SLEEP}\n")
    terminal = Terminal(daemon, "build", "--network", "none", "-t", "never", place)
    terminal.see("# go")
    began = time.monotonic()
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() in (1, 130)
    while sleeping():
        assert time.monotonic() - began < 10
        time.sleep(0.02)
    assert "never" not in daemon.say("images")
    assert not list((daemon.root / "data" / "containers").iterdir())
