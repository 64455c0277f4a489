"""onggid and onggi-registry for the demo, on roots, a bridge and addresses of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from onggi.doctor import Engine, Trace, footprint

BIN = Path(sys.executable).parent


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Platform:
    """One engine and one registry; `kill` and `start` are what step 5 does to the engine."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="onggi-demo-", dir="/var/tmp"))
        self.socket = self.root / "onggi.sock"
        self.registry = f"127.0.0.1:{free_port()}"
        self._log = (self.root / "onggid.log").open("ab")
        self._engine: subprocess.Popen[bytes] | None = None
        self._registry = subprocess.Popen(
            [BIN / "onggi-registry", "serve", f"--root={self.root}/registry", f"--listen={self.registry}"],
            stdout=self._log, stderr=self._log,
        )  # fmt: skip

    def start(self) -> None:
        self._engine = subprocess.Popen(
            [BIN / "onggid", f"--data-root={self.root}/data", f"--exec-root={self.root}/run", f"--host=unix://{self.socket}",
             "--bridge=onggi-demo", "--bip=10.214.0.1/24", "--default-address-pool=base=10.215.0.0/16,size=24"],
            stdout=self._log, stderr=self._log,
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while not self._answers():
            if self._engine.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"demo: onggid did not start:\n{(self.root / 'onggid.log').read_text()[-3000:]}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
            probe.settimeout(5)
            probe.connect(str(self.socket))
            probe.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
            return b"200 OK" in probe.recv(100)
        return False

    def kill(self) -> None:
        """SIGKILL: the engine gets no chance to put anything in order."""
        assert self._engine
        self._engine.send_signal(signal.SIGKILL)
        self._engine.wait()

    def traces(self) -> set[Trace]:
        return footprint(Engine(self.root / "data", self.root / "run", frozenset({"onggi-demo"})))

    def close(self) -> set[Trace]:
        """Ends both programs; what is left of the engine on the machine afterwards (nothing, if all was deleted)."""
        for process in (self._engine, self._registry):
            if process and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
        self._log.close()
        deadline = time.monotonic() + 5
        while (left := self.traces()) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not left and not os.environ.get("DEMO_KEEP"):
            shutil.rmtree(self.root)
        return left
