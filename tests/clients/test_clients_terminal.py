"""onggi at a terminal: raw mode and back, sizes, detach keys, signals; the terminal is a real pty."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.daemon import Daemon, running

pytestmark = pytest.mark.root
ONGGI = str(Path(sys.executable).parent / "onggi")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture(autouse=True)
def _clear(daemon: Daemon) -> Iterator[None]:
    yield
    daemon.clear()


class Terminal:
    """A program at a pty; what it prints comes together in `text`."""

    def __init__(self, daemon: Daemon, *words: str, rows: int = 33, columns: int = 101) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.text = ""
        self.process = subprocess.Popen(
            [ONGGI, *words], stdin=self.slave, stdout=self.slave, stderr=self.slave, env=os.environ | {"DOCKER_HOST": daemon.host, "TERM": "xterm"},
            start_new_session=True,
        )  # fmt: skip

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def see(self, wanted: str, timeout_s: float = 20) -> str:
        """Reads until `wanted` is there."""
        deadline = time.monotonic() + timeout_s
        while wanted not in self.text:
            left = deadline - time.monotonic()
            assert left > 0, f"{wanted!r} never came: {self.text!r}"
            if select.select([self.master], [], [], left)[0]:
                self.text += os.read(self.master, 65536).decode(errors="replace")
        seen, self.text = self.text.partition(wanted)[0] + wanted, self.text.partition(wanted)[2]
        return seen

    def end(self) -> int:
        """The exit code; the terminal must be as it was."""
        deadline = time.monotonic() + 20
        # A terminal that nobody reads holds up who writes to it.
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.02)[0]:
                self.text += os.read(self.master, 65536).decode(errors="replace")
        code = self.process.wait(1)
        while select.select([self.master], [], [], 0)[0]:
            self.text += os.read(self.master, 65536).decode(errors="replace")
        assert termios.tcgetattr(self.slave) == self.before
        os.close(self.master)
        os.close(self.slave)
        return code


@pytest.mark.row("CL-032", "CL-173")
def test_a_shell_has_the_terminals_size_and_follows_it(daemon: Daemon) -> None:
    terminal = Terminal(daemon, "run", "--rm", "-it", "busybox", "sh")
    terminal.see("# ")
    terminal.type("stty size\r")
    terminal.see("33 101")
    terminal.resize(40, 120)
    terminal.process.send_signal(signal.SIGWINCH)
    deadline = time.monotonic() + 10
    while "40 120" not in terminal.text and time.monotonic() < deadline:
        terminal.type("stty size\r")
        terminal.see("# ")
    terminal.type("exit 7\r")
    assert terminal.end() == 7


@pytest.mark.row("CL-173")
def test_a_key_that_interrupts_is_the_containers(daemon: Daemon) -> None:
    terminal = Terminal(
        daemon,
        "run",
        "--rm",
        "-it",
        "busybox",
        "sh",
        "-c",
        "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done",
    )
    terminal.see("ready")
    terminal.type("\x03")
    terminal.see("caught")
    assert terminal.end() == 3


@pytest.mark.row("CL-015", "CL-173")
def test_detach_keys_leave_the_container_running_and_attach_tells_of_them(daemon: Daemon) -> None:
    terminal = Terminal(daemon, "run", "-it", "--name", "left", "busybox", "sh")
    terminal.see("# ")
    terminal.type("\x10\x11")
    assert terminal.end() == 0
    assert daemon.say("inspect", "-f", "{{.State.Running}}", "left") == "true"
    terminal = Terminal(daemon, "attach", "--detach-keys", "ctrl-a,d", "left")
    terminal.see("# ")
    terminal.type("echo a''gain\r")
    terminal.see("again\r\n")
    terminal.type("\x01d")
    assert terminal.end() == 1
    assert "read escape sequence" in terminal.text
    assert daemon.say("inspect", "-f", "{{.State.Running}}", "left") == "true"


@pytest.mark.row("CL-015")
def test_attach_ends_with_the_containers_exit_code(daemon: Daemon) -> None:
    daemon.say("run", "-dit", "--name", "ends", "busybox", "sh")
    terminal = Terminal(daemon, "attach", "ends")
    terminal.type("exit 9\r")
    assert terminal.end() == 9


@pytest.mark.row("CL-020", "CL-173")
def test_exec_has_a_terminal_of_its_own_and_its_keys_end_it(daemon: Daemon) -> None:
    daemon.say("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    terminal = Terminal(daemon, "exec", "-it", "box", "sh")
    terminal.see("# ")
    terminal.type("tty; stty size\r")
    terminal.see("/dev/pts/")
    terminal.see("33 101")
    terminal.type("\x10\x11")
    assert terminal.end() == 1
    assert "read escape sequence" in terminal.text


@pytest.mark.row("CL-173")
def test_the_terminal_is_put_back_when_the_engine_goes(daemon: Daemon) -> None:
    terminal = Terminal(daemon, "run", "--rm", "-it", "busybox", "sh")
    terminal.see("# ")
    daemon.kill()
    try:
        assert terminal.end() != 0
    finally:
        daemon.start()


@pytest.mark.row("CL-173")
def test_signals_go_to_the_container_unless_the_user_keeps_them(daemon: Daemon) -> None:
    environment = os.environ | {"DOCKER_HOST": daemon.host}

    def run(name: str, *flags: str) -> subprocess.Popen[str]:
        script = "trap 'echo got TERM; exit 5' TERM; echo ready; while :; do sleep 0.1; done"
        process = subprocess.Popen(
            [ONGGI, "run", *flags, "--name", name, "busybox", "sh", "-c", script],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    proxied = run("proxied", "--rm")
    proxied.terminate()
    assert proxied.communicate(timeout=20)[0] == "got TERM\n"
    assert proxied.returncode == 5
    alone = run("alone", "--sig-proxy=false")
    alone.terminate()
    alone.communicate(timeout=20)
    assert alone.returncode == -signal.SIGTERM
    assert daemon.say("inspect", "-f", "{{.State.Running}}", "alone") == "true"


@pytest.mark.row("CL-034")
def test_stats_draw_a_screen_that_follows_containers(daemon: Daemon) -> None:
    terminal = Terminal(daemon, "stats", "--format", "{{.Name}} {{.PIDs}}")
    terminal.see("\x1b[H\x1b[J")
    daemon.say("run", "-d", "--name", "late", "busybox", "sleep", "1000")
    terminal.see("late 1")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130


@pytest.mark.row("CL-024", "CL-134", "CL-155")
def test_a_reader_that_has_enough_ends_a_stream_quietly(daemon: Daemon) -> None:
    daemon.say("run", "-d", "--name", "talks", "busybox", "sh", "-c", "yes")
    pipe = subprocess.run(
        ["sh", "-c", f"{ONGGI} logs -f talks | head -n 1"], capture_output=True, text=True, check=False, timeout=20,
        env=os.environ | {"DOCKER_HOST": daemon.host},
    )  # fmt: skip
    assert (pipe.stdout, pipe.stderr) == ("y\n", "")


@pytest.mark.row("CL-164", "CL-169")
def test_what_a_label_says_is_cleaned_for_a_terminal_and_whole_for_a_pipe(daemon: Daemon) -> None:
    daemon.say("create", "--name", "rude", "-l", "say=\x1b[2Jgone", "busybox")
    for words in (
        ["ps", "-a", "--format", "\x1b[1m{{.Labels}}"],
        ["inspect", "-f", "\x1b[1m{{.Config.Labels.say}}", "rude"],
    ):
        terminal = Terminal(daemon, *words)
        assert terminal.end() == 0
        assert ("\x1b[1m" in terminal.text, "\x1b[2J" in terminal.text, "gone" in terminal.text) == (True, False, True)
        piped = subprocess.run(
            [ONGGI, *words], capture_output=True, text=True, check=True, env=os.environ | {"DOCKER_HOST": daemon.host}
        )
        assert "\x1b[2Jgone" in piped.stdout


@pytest.mark.row("I-164")
@pytest.mark.parametrize("words", [("save", "busybox"), ("export", "kept")])
def test_an_archive_is_not_written_to_a_terminal(daemon: Daemon, words: tuple[str, ...]) -> None:
    daemon.say("create", "--name", "kept", "busybox")
    terminal = Terminal(daemon, *words)
    terminal.see("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    assert terminal.process.wait(20) == 1
