"""What the engine tells of by itself: each move once, what it can't tell any more, and who is root through its socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onggi.client import Client, images, networks
from onggi.engine.engine import Engine
from onggi.engine.events import BEHIND, GAP, KEPT, Event, Events
from tests.clients.daemon import Daemon
from tests.engine.engines import body, busybox_tar, needs_root, recorded, run, with_engine
from tests.engine.test_engine_reconcile import clear, client, said
from tests.engine.test_engine_reconcile import run as run_in
from tests.patience import within

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")
LIFE = ["create", "start", "pause", "unpause", "kill", "die", "destroy"]


@pytest.mark.row("R-30")
def test_each_move_of_containers_side_by_side_is_told_once_and_in_order(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        async def whole(name: str) -> str:
            one = await run(engine, "sleep", "60", name=name)
            await engine.containers.pause(one)
            await engine.containers.unpause(one)
            await engine.containers.kill(one, "KILL")
            await engine.containers.remove(one, force=True)
            return one

        async with recorded(engine) as events:
            ids = await asyncio.gather(*(whole(f"told{n}") for n in range(6)))
        for one in ids:
            told = [event.Action for event in events if event.Type == "container" and one == event.Actor.ID]
            assert told == LIFE
        times = [event.timeNano for event in events]
        assert times == sorted(set(times))
        # Whoever comes again with the time of the last event that it has seen misses nothing and hears nothing twice.
        for seen in range(0, len(events), 5):
            since = events[seen].timeNano + 1
            replayed = [event async for event in engine.events.subscribe(since_ns=since, until_ns=times[-1])]
            assert replayed == events[seen + 1 :]

    with_engine(tmp_path, test)


@pytest.mark.row("R-30")
def test_events_that_are_not_kept_any_more_are_said_to_be_missing() -> None:
    async def claim() -> list[Event]:
        events = Events()
        events.emit("container", "first", "a")
        first = events._ring[0].timeNano
        for number in range(KEPT):
            events.emit("container", f"n{number}", "a")
        last = events._ring[-1].timeNano
        told = [event async for event in events.subscribe(since_ns=first, until_ns=last)]
        assert told[1:] == list(events._ring)
        # One who has seen the first has missed nothing; one who wants containers alone isn't told of the daemon.
        whole = [event async for event in events.subscribe(since_ns=first + 1, until_ns=last)]
        assert whole == list(events._ring)
        only = {"type": ["container"]}
        assert GAP not in {e.Action async for e in events.subscribe(since_ns=first, until_ns=last, filters=only)}
        return told

    told = asyncio.run(claim())
    assert (told[0].Type, told[0].Action) == ("daemon", GAP)
    assert len(told) < BEHIND


@pytest.mark.row("S-74")
def test_who_has_an_engines_socket_is_said_to_be_root(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        path = tmp_path / "api" / "any.name"
        path.parent.mkdir()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            for name, source in (
                ("directly", path),
                ("by its directory", path.parent),
                ("not at all", tmp_path / "data"),
            ):
                made = await engine.containers.create("", body("true", host={"binds": [f"{source}:/there"]}))
                shown: dict[str, Any] = msgspec.json.decode(
                    await engine.containers.inspect(made.id, beyond_docker=True)
                )
                has = name != "not at all"
                assert shown["Onggi"].get("EngineSockets", []) == ([str(path)] if has else []), name
                notices = [word for word in (await engine.system.leaks())["Notices"] if str(path) in word]
                assert ["is root on this machine" in notice for notice in notices] == ([True] if has else [])
                await engine.containers.remove(made.id)

    with_engine(tmp_path, test)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    one = Daemon(tmp_path)
    one.start()
    list(client(one).stream(images.import_([busybox_tar()], repository="busybox", tag="latest")))
    yield one
    clear(one)
    one.stop()


@pytest.mark.row("R-27")
@pytest.mark.parametrize("how", ["kill", "stop"])
def test_names_are_answered_again_as_soon_as_another_engine_is_there(daemon: Daemon, how: str) -> None:
    """Twenty times a second: only what is asked while no engine is there fails, and nothing after it is ready."""
    ask = "while :; do nslookup web. 127.0.0.11 >/dev/null 2>&1 && echo yes || echo no; usleep 50000; done"
    with client(daemon) as engine:
        engine(networks.create({"Name": "back"}))
        run_in(engine, "sleep", "600", name="web", HostConfig={"NetworkMode": "back"})
        asker = run_in(engine, "sh", "-c", ask, HostConfig={"NetworkMode": "back"})
        assert within(10, lambda: said(engine, asker).count("yes") > 5)
    daemon.kill() if how == "kill" else daemon.stop()
    daemon.start()
    with client(daemon) as engine:
        ready = answers(engine, asker)
        assert within(10, lambda: answers(engine, asker).count("yes") > ready.count("yes") + 10)
        # One question may be on its way when the engine becomes ready.
        after = answers(engine, asker)[len(ready) + 1 :]
        assert "no" not in after
        assert "yes" in ready[:3]


def answers(engine: Client, asker: str) -> list[str]:
    return said(engine, asker).split()
