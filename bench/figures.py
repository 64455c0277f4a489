"""What is measured. Each figure is a function of one engine that returns seconds, bytes or rates; medians of a run."""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable

from bench.engines import BIN, PEERS_ROOT, Contender
from bench.http import Client

IMAGE = "bench-busybox"
SLEEP = ["sleep", "1000"]


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def load_image(engine: Contender) -> None:
    """busybox from the reference root's tar, the same bytes in every engine."""
    with (PEERS_ROOT / "busybox.tar").open("rb") as tar:
        Client(engine.socket).call(
            "POST",
            f"/images/create?fromSrc=-&repo={IMAGE}&tag=latest",
            tar.read(),
            {"Content-Type": "application/x-tar"},
        )


def body(network: str, command: list[str], **host: object) -> dict[str, object]:
    return {"Image": IMAGE, "Cmd": command, "HostConfig": {"NetworkMode": network, **host}}


def cycle(engine: Contender, network: str, rounds: int = 20) -> float:
    """create + start + wait + remove of `true`, seconds."""
    client = Client(engine.socket)

    def once() -> None:
        made = client.json("POST", "/containers/create", body(network, ["true"]))["Id"]
        client.call("POST", f"/containers/{made}/start")
        client.call("POST", f"/containers/{made}/wait")
        client.call("DELETE", f"/containers/{made}")

    for _ in range(3):
        once()
    return statistics.median(timed(once) for _ in range(rounds))


def execs(engine: Contender, rounds: int = 20) -> float:
    """exec of `true`: create, start, read to the end, inspect, seconds."""
    client = Client(engine.socket)
    made = client.json("POST", "/containers/create", body("none", SLEEP))["Id"]
    client.call("POST", f"/containers/{made}/start")

    def once() -> None:
        exec_id = client.json(
            "POST", f"/containers/{made}/exec", {"Cmd": ["true"], "AttachStdout": True, "AttachStderr": True}
        )["Id"]
        client.exec_hijacked(exec_id)
        answer = client.json("GET", f"/exec/{exec_id}/json")
        assert answer["ExitCode"] == 0, answer

    try:
        for _ in range(3):
            once()
        return statistics.median(timed(once) for _ in range(rounds))
    finally:
        client.call("DELETE", f"/containers/{made}?force=1")


def cli_run(engine: Contender, network: str, rounds: int = 11) -> float:
    """`docker run --rm` less `docker --version`, seconds."""
    run = [*engine.docker, "run", "--rm", "--network", network, IMAGE, "true"]
    plain = statistics.median(
        timed(lambda: subprocess.run(["docker", "--version"], check=True, capture_output=True)) for _ in range(rounds)
    )
    subprocess.run(run, check=True, capture_output=True)
    return (
        statistics.median(timed(lambda: subprocess.run(run, check=True, capture_output=True)) for _ in range(rounds))
        - plain
    )


def fifty(engine: Contender, network: str, count: int = 50) -> tuple[float, float, float]:
    """Start `count` one after the other, memory for each (KiB), and rm -f of all: (seconds, KiB, seconds)."""
    client = Client(engine.socket)
    idle = engine.pss_kib()
    made = [client.json("POST", "/containers/create", body(network, SLEEP))["Id"] for _ in range(count)]
    started = timed(lambda: [client.call("POST", f"/containers/{one}/start") for one in made])
    each = (engine.pss_kib() - idle) / count
    removed = timed(lambda: [client.call("DELETE", f"/containers/{one}?force=1") for one in made])
    return started, each, removed


def rates(engine: Contender, count: int = 100) -> tuple[float, float, float]:
    """Requests a second on one connection with `count` running: list, inspect, ping."""
    client = Client(engine.socket)
    made = [client.json("POST", "/containers/create", body("none", SLEEP))["Id"] for _ in range(count)]
    try:
        for one in made:
            client.call("POST", f"/containers/{one}/start")
        rounds = 40 if engine.name == "podman" else 300
        return (
            client.requests_per_second("/containers/json", rounds),
            client.requests_per_second(f"/containers/{made[0]}/json", rounds * 5),
            client.requests_per_second("/_ping", rounds * 10),
        )
    finally:
        for one in made:
            client.call("DELETE", f"/containers/{one}?force=1")


def logs(engine: Contender, megabytes: int = 200) -> tuple[float, float]:
    """MB/s of a container that writes lines to its log, and of reading the log back through the API."""
    client = Client(engine.socket)
    line = "0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 abcdef"
    command = ["sh", "-c", f"yes '{line}' | head -c {megabytes}000000"]
    made = client.json(
        "POST", "/containers/create", body("none", command, LogConfig={"Type": "json-file", "Config": {}})
    )["Id"]
    try:
        client.call("POST", f"/containers/{made}/start")
        write = timed(lambda: client.call("POST", f"/containers/{made}/wait"))
        got = 0

        def read() -> None:
            nonlocal got
            got = len(client.call("GET", f"/containers/{made}/logs?stdout=1&stderr=1"))

        seconds = timed(read)
        assert got >= megabytes * 1_000_000, got
        return megabytes / write, megabytes / seconds
    finally:
        client.call("DELETE", f"/containers/{made}?force=1")


def build_context(files: int = 5000) -> bytes:
    """Ten steps, five thousand files: the shape of a web application without its network."""
    steps = ["FROM " + IMAGE, "ENV A=1", "WORKDIR /app", "COPY src/0 /app/0", "RUN echo one > /one", "COPY src /app/src",
             "RUN ls /app/src | wc -l > /two", "ENV B=2", "RUN mkdir /three && cp -r /app/src/1 /three/", "CMD true"]  # fmt: skip
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:

        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), 1_700_000_000, 0o644
            tar.addfile(info, io.BytesIO(data))

        add("Dockerfile", "\n".join(steps).encode())
        for number in range(files):
            add(f"src/{number % 10}/file{number}", (f"content of {number}\n" * 50).encode())
    return out.getvalue()


def build(engine: Contender) -> tuple[float, float]:
    """POST /build of ten steps with 5,000 files: (cold, all cached) seconds, medians."""
    client, context = Client(engine.socket), build_context()

    def once(query: str) -> None:
        answer = client.call(
            "POST", f"/build?t=bench-built&rm=1{query}", context, {"Content-Type": "application/x-tar"}
        )
        assert b"Successfully built" in answer, answer[-500:]

    cold = statistics.median(timed(lambda: once("&nocache=1")) for _ in range(3))
    once("")
    return cold, statistics.median(timed(lambda: once("")) for _ in range(5))


def ship(engine: Contender, megabytes: int = 300) -> tuple[float, float]:
    """Push and cold pull of an image of `megabytes` in three layers through a loopback registry: seconds."""
    client = Client(engine.socket)
    out, name = io.BytesIO(), f"{engine.registry}/bench/ship"
    with tarfile.open(fileobj=out, mode="w") as tar:
        for part in range(3):
            for number in range(100):
                block = os.urandom(1 << 14) + bytes(f"{part} {number}", "ascii") * 1000
                data = (block * (1 + megabytes * 1_000_000 // 300 // len(block)))[: megabytes * 1_000_000 // 300]
                info = tarfile.TarInfo(f"part{part}/file{number}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        files = f"FROM {IMAGE}\nCOPY part0 /a\nCOPY part1 /b\nCOPY part2 /c\n".encode()
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(files)
        tar.addfile(info, io.BytesIO(files))
    client.call("POST", f"/build?t={name}", out.getvalue(), {"Content-Type": "application/x-tar"})
    auth = {"X-Registry-Auth": "e30="}

    def push() -> None:
        answer = client.call("POST", f"/images/{name}/push?tag=latest", b"", auth)
        assert b'"error"' not in answer, answer[-500:]

    def pull() -> None:
        answer = client.call("POST", f"/images/create?fromImage={name}&tag=latest", b"", auth)
        assert b'"error"' not in answer, answer[-500:]

    pushed = timed(push)
    client.call("DELETE", f"/images/{name}:latest?force=1")
    client.call("POST", "/build/prune?all=1")
    client.call("POST", "/images/prune?filters=%7B%22dangling%22:%5B%22true%22%5D%7D")
    return pushed, timed(pull)


def command_line() -> tuple[float, float, float]:
    """An empty interpreter, `onggi --version`, `onggi ps`: seconds. The last needs DOCKER_HOST."""

    def median(command: list[str]) -> float:
        return statistics.median(
            timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(15)
        )

    onggi = str(BIN / "onggi")
    return median([sys.executable, "-I", "-c", ""]), median([onggi, "--version"]), median([onggi, "ps"])
