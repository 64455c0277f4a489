"""The engines that are compared: onggid started here, dockerd and podman of the reference root beside it."""

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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PEERS_ROOT = Path(os.environ.get("PEERS_ROOT", "/srv/peers"))
BIN = Path(sys.executable).parent


@dataclass
class Contender:
    """An engine with its socket, a way into its network, and which of the machine's processes are its own."""

    name: str
    socket: str
    registry: str
    enter: list[str] = field(default_factory=list)
    processes: tuple[str, ...] = ()
    root_pid: int = 0

    @property
    def docker(self) -> list[str]:
        return ["docker", "-H", f"unix://{self.socket}"]

    def pss_kib(self) -> int:
        """Proportional set size of the engine's processes (not of what runs in containers), KiB: smaps_rollup."""
        return sum(_pss(pid) for pid in self.pids())

    def largest_kib(self) -> int:
        """That of the largest of them: the engine itself."""
        return max((_pss(pid) for pid in self.pids()), default=0)

    def pids(self) -> list[int]:
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            with contextlib.suppress(OSError):
                comm = Path(f"/proc/{entry}/comm").read_text().strip()
                command = Path(f"/proc/{entry}/cmdline").read_bytes()
                if self.root_pid:
                    mine = any(root.encode() in command for root in self.processes)
                else:
                    mine = comm.startswith(self.processes)
                if mine:
                    found.append(int(entry))
        return found


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def onggi() -> Iterator[Contender]:
    """onggid and onggi-registry on roots of their own; everything goes at the end."""
    base = Path(tempfile.mkdtemp(prefix="onggi-bench-", dir=os.environ.get("BENCH_DIR", "/var/tmp")))
    sock, port = base / "d.sock", _free_port()
    log = (base / "onggid.log").open("wb")
    engine = subprocess.Popen(
        [BIN / "onggid", f"--data-root={base}/data", f"--exec-root={base}/run", f"--host=unix://{sock}",
         "--bridge=onggi-bench", "--bip=10.213.0.1/24", f"--pidfile={base}/pid"], stdout=log, stderr=log)  # fmt: skip
    registry = subprocess.Popen(
        [BIN / "onggi-registry", "serve", f"--root={base}/registry", f"--listen=127.0.0.1:{port}"],
        stdout=log,
        stderr=log,
    )
    try:
        _wait_for(sock, engine, base / "onggid.log")
        yield Contender(
            "onggi",
            str(sock),
            f"127.0.0.1:{port}",
            processes=(str(base / "run"), str(base / "data")),
            root_pid=engine.pid,
        )
    finally:
        subprocess.run(
            f"docker -H unix://{sock} ps -aq | xargs -r docker -H unix://{sock} rm -f",
            shell=True,
            capture_output=True,
            check=False,
        )
        for process in (engine, registry):
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        log.close()
        if os.environ.get("BENCH_KEEP") is None:
            shutil.rmtree(base, ignore_errors=True)


def _wait_for(sock: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"onggid ended: {log.read_text()[-2000:]}")
        with contextlib.suppress(OSError), contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
            probe.connect(str(sock))
            probe.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
            if b" 200 " in probe.recv(100):
                return
        time.sleep(0.02)
    raise SystemExit("onggid does not answer")


def peers() -> list[Contender]:
    """dockerd and podman, when the reference root is there and started."""
    found = []
    init = PEERS_ROOT / "run/peers/init.pid"
    enter = ["nsenter", "-n", "-t", init.read_text().strip()] if init.exists() else []
    if (PEERS_ROOT / "run/docker.sock").is_socket():
        found.append(
            Contender(
                "docker",
                str(PEERS_ROOT / "run/docker.sock"),
                "127.0.0.1:5000",
                enter,
                ("dockerd", "containerd", "docker-proxy"),
            )  # fmt: skip
        )
    if (PEERS_ROOT / "run/podman/podman.sock").is_socket():
        found.append(
            Contender(
                "podman",
                str(PEERS_ROOT / "run/podman/podman.sock"),
                "127.0.0.1:5000",
                enter,
                ("podman", "conmon", "aardvark", "netavark"),
            )  # fmt: skip
        )
    wanted = os.environ.get("PEERS", "docker podman").split()
    return [engine for engine in found if engine.name in wanted]


@contextlib.contextmanager
def reference_registry() -> Iterator[None]:
    """docker-registry of the reference root on 127.0.0.1:5000 of the peers' network."""
    config = PEERS_ROOT / "srv/bench/registry.yml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: /srv/bench/registry\nhttp:\n  addr: 127.0.0.1:5000\n"
    )
    init = (PEERS_ROOT / "run/peers/init.pid").read_text().strip()
    process = subprocess.Popen(
        ["nsenter", "-t", init, "-m", "-n", "docker-registry", "serve", "/srv/bench/registry.yml"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        time.sleep(1.5)
        yield
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(PEERS_ROOT / "srv/bench/registry", ignore_errors=True)
