"""Many containers at once: what watching fifty costs, and what five hundred weigh."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import statistics
import time
from pathlib import Path

from bench.engines import Contender
from bench.figures import SLEEP, body, timed
from bench.http import Client


def _running(client: Client, count: int) -> list[str]:
    made = [client.json("POST", "/containers/create", body("none", SLEEP))["Id"] for _ in range(count)]
    for one in made:
        client.call("POST", f"/containers/{one}/start")
    return made


def _cpu_s(pids: list[int]) -> float:
    """User and system time of these processes."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def stats(engine: Contender, count: int = 50, seconds: float = 10.0) -> dict[str, float]:
    """Percent of a core that the engine spends while `count` stats streams are read."""
    client = Client(engine.socket)
    made = _running(client, count)
    streams: list[socket.socket] = []
    try:
        for one in made:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(engine.socket)
            sock.sendall(f"GET /{client.version}/containers/{one}/stats?stream=1 HTTP/1.1\r\nHost: d\r\n\r\n".encode())
            streams.append(sock)
        poll = select.poll()
        for sock in streams:
            poll.register(sock, select.POLLIN)
        by_number = {sock.fileno(): sock for sock in streams}

        def drain(until: float) -> int:
            got = 0
            while (left := until - time.monotonic()) > 0:
                for fd, _ in poll.poll(left * 1000):
                    got += by_number[fd].recv(65536).count(b'"read"')
            return got

        drain(time.monotonic() + 3)
        pids = engine.pids()
        before = _cpu_s(pids)
        objects = drain(time.monotonic() + seconds)
        spent = _cpu_s(pids) - before
        assert objects >= count * (seconds - 3), f"{objects} objects"
        return {"stats": 100 * spent / seconds}
    finally:
        for sock in streams:
            sock.close()
        for one in made:
            client.call("DELETE", f"/containers/{one}?force=1")


def many(engine: Contender, count: int = 500, rounds: int = 30) -> dict[str, float]:
    """With `count` running: one list (ms), the engine's own process and all of its processes (KiB a container)."""
    client = Client(engine.socket)
    idle = engine.pss_kib()
    made = _running(client, count)
    try:
        client.call("GET", "/containers/json")
        listed = statistics.median(timed(lambda: client.call("GET", "/containers/json")) for _ in range(rounds))
        return {
            "list500": listed * 1e3,
            "memory500": (engine.pss_kib() - idle) / count,
            "engine500": engine.largest_kib(),
        }
    finally:
        for one in made:
            client.call("DELETE", f"/containers/{one}?force=1")
