"""A whole onggid as its own process, for clients that know nothing of Python: one for a module of tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.doctor import engine_tag
from tests.engine.engines import busybox_tar
from tests.patience import SLOW

DOCKER = shutil.which("docker") or ""
NUMBER = os.getpid() % 200


class Daemon:
    """`docker` runs the CLI against it; `socket` is where it listens."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = root / "onggi.sock"
        self.log = root / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    def start(self, *words: str) -> None:
        """Returns when it answers."""
        self.launch(*words)
        assert self.process is not None
        deadline = time.monotonic() + 20 * SLOW
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"onggid didn't start:\n{self.log.read_text()}")
            time.sleep(0.02)

    def launch(self, *words: str) -> None:
        """Returns at once."""
        (self.root / "data").mkdir(exist_ok=True)
        command = [
            sys.executable, "-I", "-m", "onggi.api.onggid", "--data-root", str(self.root / "data"), "--exec-root", str(self.root / "exec"),
            "-H", self.host, "--bridge", f"og-{engine_tag(self.root / 'data')}", "--config-file", os.devnull,
            "--default-address-pool", f"base=10.{NUMBER + 20}.0.0/16,size=24", *words,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def answers(self) -> bool:
        import socket

        with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
            sock.settimeout(5 * SLOW)
            sock.connect(str(self.socket))
            sock.sendall(b"HEAD /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
            return sock.recv(64).startswith(b"HTTP/1.1 200")
        return False

    def stop(self) -> None:
        """As systemd does it. What runs goes on running."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(20 * SLOW) == 0, self.log.read_text()
            self.process = None

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10 * SLOW)
        self.process = None

    def docker(self, *words: str, text: str = "", timeout: float = 30) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [DOCKER, "-H", self.host, *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout * SLOW,
            check=False,
            env={**os.environ, "DOCKER_CONFIG": str(self.root / "config"), "DOCKER_BUILDKIT": "0"},
        )

    def say(self, *words: str, text: str = "") -> str:
        """What the CLI prints; it must succeed."""
        done = self.docker(*words, text=text)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def add_image(self) -> None:
        done = subprocess.run(
            [DOCKER, "-H", self.host, "import", "-c", 'CMD ["sh"]', "-c", "ENV PATH=/bin:/usr/bin", "-", "busybox"],
            input=busybox_tar(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()

    def clear(self) -> None:
        """Removes all containers; then networks and volumes that nothing uses."""
        if names := self.say("ps", "-aq").split():
            self.docker("rm", "-f", "-v", *names)
        self.docker("network", "prune", "-f")
        self.docker("volume", "prune", "-af")


def running(tmp_path_factory: pytest.TempPathFactory, *words: str) -> Iterator[Daemon]:
    """For a module's fixture: an engine with a busybox image; nothing of it is left afterwards."""
    if os.geteuid() != 0 or not DOCKER:
        pytest.skip("needs root and docker's command line")
    daemon = Daemon(tmp_path_factory.mktemp("onggid"))
    daemon.start(*words)
    try:
        daemon.add_image()
        yield daemon
        daemon.clear()
    finally:
        daemon.stop()
