"""What an engine bears, and that nothing of it is left: `make load`. Minutes, so it is not part of `make test`.

ONGGI_LOAD scales the counts (1 is what the goal tables say; 0.1 is a first look).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.clients.daemon import Daemon, running

pytestmark = [pytest.mark.root, pytest.mark.timeout(1800)]
SCALE = float(os.environ.get("ONGGI_LOAD", "1"))
TRUE, SLEEP = ["true"], ["sleep", "3000"]


def count(full: int) -> int:
    return max(2, int(full * SCALE))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


class Api:
    """The Engine API over as many connections as are asked for at once."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __call__(self, method: str, path: str, body: Any = None) -> Any:
        async with self._session.request(method, f"http://d/v1.44{path}", json=body) as answer:
            data = await answer.read()
            assert answer.status < 400, f"{method} {path}: {answer.status} {data!r}"
            return await answer.json() if "json" in answer.content_type and data else data

    async def create(self, command: list[str], network: str = "none") -> str:
        body = {"Image": "busybox", "Cmd": command, "HostConfig": {"NetworkMode": network}}
        return str((await self("POST", "/containers/create", body))["Id"])

    async def run(self, command: list[str], network: str = "none") -> str:
        made = await self.create(command, network)
        await self("POST", f"/containers/{made}/start")
        return made

    async def remove(self, *containers: str) -> None:
        await side_by_side(20, [lambda one=one: self("DELETE", f"/containers/{one}?force=1") for one in containers])


@contextlib.asynccontextmanager
async def api(daemon: Daemon) -> AsyncIterator[Api]:
    connector = aiohttp.UnixConnector(str(daemon.socket), limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Api(session)


async def side_by_side(width: int, jobs: list[Callable[[], Awaitable[Any]]]) -> list[Any]:
    slots = asyncio.Semaphore(width)

    async def one(job: Callable[[], Awaitable[Any]]) -> Any:
        async with slots:
            return await job()

    return list(await asyncio.gather(*(one(job) for job in jobs)))


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


async def leaks(call: Api, within_s: float = 20) -> list[str]:
    """What `onggi doctor --leaks` finds, once the last deletions have had their time."""
    end = time.monotonic() + within_s
    while True:
        found = list((await call("GET", "/onggi/leaks"))["Leaks"])
        if not found or time.monotonic() > end:
            return found
        await asyncio.sleep(0.2)


@pytest.mark.row("L-01")
def test_a_thousand_containers_fifty_at_once(daemon: Daemon) -> None:
    async def main() -> None:
        starts: list[float] = []

        async def whole(call: Api) -> None:
            made = await call.create(TRUE)
            begun = time.monotonic()
            await call("POST", f"/containers/{made}/start")
            starts.append(time.monotonic() - begun)
            assert (await call("POST", f"/containers/{made}/wait"))["StatusCode"] == 0
            await call("DELETE", f"/containers/{made}")

        async with api(daemon) as call:
            await side_by_side(50, [lambda: whole(call)] * count(1000))
            p50, p99 = statistics.median(starts), percentile(starts, 0.99)
            print(f"{len(starts)} starts, 50 at once: p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms")
            assert p99 <= 5 * p50
            assert await leaks(call) == []

    asyncio.run(main())


@pytest.mark.row("B-30")
def test_a_start_takes_beside_a_thousand_containers_what_it_takes_alone(daemon: Daemon) -> None:
    async def main() -> None:
        async with api(daemon) as call:

            async def median_start() -> float:
                taken: list[float] = []
                for _ in range(40):
                    made = await call.create(TRUE)
                    begun = time.monotonic()
                    await call("POST", f"/containers/{made}/start")
                    taken.append(time.monotonic() - begun)
                    await call("POST", f"/containers/{made}/wait")
                    await call("DELETE", f"/containers/{made}")
                return statistics.median(taken)

            await median_start()
            alone = await median_start()
            running = await side_by_side(8, [lambda: call.run(SLEEP)] * count(1000))
            beside = await median_start()
            print(f"a start: {alone * 1e3:.1f} ms alone, {beside * 1e3:.1f} ms beside {len(running)}")
            await call.remove(*running)
            assert beside <= 2 * alone
            assert await leaks(call) == []

    asyncio.run(main())


@pytest.mark.row("L-04")
def test_a_list_of_five_hundred_is_quick_while_people_follow(daemon: Daemon) -> None:
    async def main() -> None:
        async with api(daemon) as call, asyncio.TaskGroup() as watching:
            made = await side_by_side(8, [lambda: call.run(SLEEP)] * count(500))
            followers = [
                watching.create_task(call("GET", f"/containers/{one}/logs?follow=1&stdout=1"))
                for one in made[: count(100)]
            ]
            followers += [watching.create_task(call("GET", "/events")) for _ in range(10)]
            await asyncio.sleep(1)
            times = []
            for _ in range(100):
                begun = time.monotonic()
                listed = await call("GET", "/containers/json")
                times.append(time.monotonic() - begun)
            assert len(listed) == len(made)
            print(
                f"list of {len(made)}: p50 {statistics.median(times) * 1e3:.1f} ms, p99 {percentile(times, 0.99) * 1e3:.1f} ms"
            )
            for follower in followers:
                follower.cancel()
            await call.remove(*made)
            assert percentile(times, 0.99) <= 0.020
            assert await leaks(call) == []

    asyncio.run(main())


@pytest.mark.row("L-07")
def test_a_hundred_restarts_with_two_hundred_containers(daemon: Daemon) -> None:
    async def begin() -> list[str]:
        async with api(daemon) as call:
            return await side_by_side(8, [lambda: call.run(SLEEP)] * count(200))

    async def look(made: list[str]) -> None:
        async with api(daemon) as call:
            running = {one["Id"] for one in await call("GET", "/containers/json")}
            assert running == set(made)

    async def end(made: list[str]) -> None:
        async with api(daemon) as call:
            await call.remove(*made)
            assert await leaks(call) == []

    made, ready = asyncio.run(begin()), []
    for turn in range(count(100)):
        daemon.kill() if turn % 2 else daemon.stop()
        begun = time.monotonic()
        daemon.start()
        ready.append(time.monotonic() - begun)
        asyncio.run(look(made))
    print(
        f"ready after a restart with {len(made)} running: p50 {statistics.median(ready):.2f} s, worst {max(ready):.2f} s"
    )
    asyncio.run(end(made))
    assert statistics.median(ready) <= 1.0


@pytest.mark.row("L-08")
def test_ten_thousand_execs_leave_the_engine_as_it_was(daemon: Daemon) -> None:
    async def main() -> None:
        assert daemon.process is not None
        async with api(daemon) as call:
            made = await call.run(SLEEP)

            async def execute() -> None:
                body = {"Cmd": TRUE, "AttachStdout": True}
                one = (await call("POST", f"/containers/{made}/exec", body))["Id"]
                await call("POST", f"/exec/{one}/start", {"Detach": False, "Tty": False})
                assert (await call("GET", f"/exec/{one}/json"))["ExitCode"] == 0

            await side_by_side(8, [execute] * 50)
            before = descriptors(daemon.process.pid)
            await side_by_side(8, [execute] * count(10_000))
            pids = Path("/proc/loadavg").read_text().split()[3]
            print(f"descriptors {before} before, {descriptors(daemon.process.pid)} after; tasks {pids}")
            assert descriptors(daemon.process.pid) <= before + 16
            assert len((await call("GET", f"/containers/{made}/top"))["Processes"]) == 1
            await call.remove(made)
            assert await leaks(call) == []

    asyncio.run(main())


@pytest.mark.row("L-09")
def test_two_hundred_networks_never_give_an_address_twice(daemon: Daemon) -> None:
    async def main() -> None:
        async with api(daemon) as call:
            taken: set[str] = set()

            async def network(number: int) -> None:
                name = f"load{number}"
                await call("POST", "/networks/create", {"Name": name})
                made = [await call.run(SLEEP, name) for _ in range(5)]
                addresses = []
                for one in made:
                    settings = (await call("GET", f"/containers/{one}/json"))["NetworkSettings"]["Networks"]
                    addresses.append(settings[name]["IPAddress"])
                assert len(set(addresses)) == 5
                assert not taken & set(addresses)
                taken.update(addresses)
                await call.remove(*made)
                taken.difference_update(addresses)
                await call("DELETE", f"/networks/{name}")

            await side_by_side(20, [lambda number=number: network(number) for number in range(count(200))])
            assert await leaks(call) == []

    asyncio.run(main())
