"""An engine that is killed and started again: what ran runs on, what ended is known, what was begun is ended or undone."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onggi.client import ApiError, Client, containers, deploys, execs, images, networks, system
from onggi.client.errors import BrokenAnswer, ConnectionRefused
from onggi.doctor import Engine as Where
from onggi.doctor import footprint
from tests.clients.daemon import Daemon
from tests.engine.engines import busybox_tar, needs_root
from tests.engine.test_engine_network import SERVER, get
from tests.patience import SLOW, within

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    yield from watched(tmp_path)


def watched(root: Path) -> Iterator[Daemon]:
    """An engine as a process of its own, with an image; nothing of it may be left at the end."""
    one = Daemon(root)
    one.start()
    list(client(one).stream(images.import_([busybox_tar()], repository="busybox", tag="latest")))
    try:
        yield one
        if one.process is None:
            one.start()
        bridges = clear(one)
    finally:
        if one.process is not None:
            one.stop()
    where = Where(root / "data", root / "exec", bridges)
    assert within(5, lambda: not footprint(where)), [str(trace) for trace in footprint(where)]


def clear(daemon: Daemon) -> frozenset[str]:
    """Removes containers and networks; the bridges that there were."""
    with client(daemon) as engine:
        for found in engine(containers.listing(all=True)):
            engine(containers.remove(str(found["Id"]), force=True, volumes=True))
        engine(networks.prune())
        return frozenset(f"br-{str(found['Id'])[:12]}" for found in engine(networks.listing()))


def client(daemon: Daemon) -> Client:
    return Client(daemon.host, timeout=30 * SLOW)


def create(engine: Client, *command: str, name: str | None = None, **config: Any) -> str:
    config.setdefault("HostConfig", {}).setdefault("NetworkMode", "none")
    made = engine(
        containers.create({"Image": "busybox", "Cmd": list(command), "Env": ["PATH=/bin"], **config}, name=name)
    )
    return str(made["Id"])


def run(engine: Client, *command: str, **words: Any) -> str:
    made = create(engine, *command, **words)
    engine(containers.start(made))
    return made


def state(engine: Client, container: str) -> dict[str, Any]:
    found: Any = engine(containers.inspect(container))["State"]
    return found  # type: ignore[no-any-return]


def said(engine: Client, container: str) -> str:
    return b"".join(data for _, data in engine.stream(containers.logs(container, tty=False))).decode()


def leaks(engine: Client) -> list[str]:
    found: Any = engine(system.leaks())
    return list(found["Leaks"])


def execute(engine: Client, container: str, *command: str) -> tuple[int, bytes]:
    made = str(
        engine(execs.create(container, {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True}))["Id"]
    )
    with engine.hijack(execs.start(made)) as stream:
        data = b""
        while piece := stream.receive():
            data += piece
    assert within(5, lambda: not engine(execs.inspect(made))["Running"])
    return int(engine(execs.inspect(made))["ExitCode"] or 0), data


@pytest.mark.row("B-08", "E-281")
@pytest.mark.row("R-01")
@pytest.mark.row("R-02")
@pytest.mark.row("R-07")
def test_containers_outlive_a_killed_engine_with_ports_names_logs_and_execs(daemon: Daemon) -> None:
    with client(daemon) as engine:
        engine(networks.create({"Name": "back"}))
        web = run(
            engine, *SERVER, name="web", Hostname="jar",
            HostConfig={"NetworkMode": "back", "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}},
        )  # fmt: skip
        talker = run(
            engine,
            "sh",
            "-c",
            "i=0; while true; do echo $i; i=$((i+1)); usleep 1000; done",
            HostConfig={"NetworkMode": "back"},
        )
        paused = run(engine, "sleep", "600")
        engine(containers.pause(paused))
        port = int(engine(containers.inspect(web))["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])  # type: ignore[index,call-overload]
        before = [state(engine, one)["Pid"] for one in (web, talker)]
    daemon.kill()
    assert get(port) == "jar"
    time.sleep(0.2)
    daemon.start()
    with client(daemon) as engine:
        assert [state(engine, one)["Pid"] for one in (web, talker)] == before
        assert state(engine, paused)["Paused"]
        assert get(port) == "jar"
        assert execute(engine, talker, "wget", "-q", "-O", "-", "http://web/")[1].endswith(b"jar\n")
        bindings: Any = engine(containers.inspect(web))["NetworkSettings"]
        assert bindings["Ports"]["80/tcp"][0]["HostPort"] == str(port)
        with pytest.raises(ApiError, match="already allocated|already in use"):
            run(
                engine,
                "sleep",
                "9",
                HostConfig={
                    "NetworkMode": "back",
                    "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]},
                },
            )
        engine(containers.stop(talker, timeout_s=0))
        numbers = [int(word) for word in said(engine, talker).split()]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > 100


@pytest.mark.row("R-03")
@pytest.mark.row("E-283")
def test_an_end_while_no_engine_is_there_is_known_with_code_and_time(daemon: Daemon) -> None:
    with client(daemon) as engine:
        ending = run(engine, "sh", "-c", "sleep 0.5; exit 9")
        removed = run(engine, "sh", "-c", "sleep 0.5", HostConfig={"AutoRemove": True})
        policy = run(engine, "sh", "-c", "sleep 0.5; exit 1", HostConfig={"RestartPolicy": {"Name": "on-failure"}})
        by_hand = run(engine, "sleep", "600", HostConfig={"RestartPolicy": {"Name": "unless-stopped"}})
        engine(containers.stop(by_hand, timeout_s=0))
        always = run(engine, "sleep", "600", HostConfig={"RestartPolicy": {"Name": "always"}})
        pid = state(engine, always)["Pid"]
    daemon.kill()
    os.kill(pid, signal.SIGKILL)
    time.sleep(1.0)
    daemon.start()
    with client(daemon) as engine:
        found = state(engine, ending)
        assert (found["Status"], found["ExitCode"]) == ("exited", 9)
        assert found["FinishedAt"] > found["StartedAt"]
        assert within(5, lambda: removed not in [one["Id"] for one in engine(containers.listing(all=True))])
        assert within(5, lambda: state(engine, policy)["Running"])
        assert within(5, lambda: state(engine, always)["Running"])
        assert state(engine, by_hand)["Status"] == "exited"


@pytest.mark.row("R-04")
def test_a_container_whose_shim_is_killed_ends_with_137_and_says_why(daemon: Daemon) -> None:
    with client(daemon) as engine:
        one = run(engine, "sh", "-c", "sleep 600 & sleep 600")
        pid = state(engine, one)["Pid"]
        shim = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(shim, signal.SIGKILL)
        assert within(2, lambda: state(engine, one)["Status"] == "exited")
        found = state(engine, one)
        assert found["ExitCode"] == 137
        assert "shim" in found["Error"]
        engine(containers.start(one))
        pid = state(engine, one)["Pid"]
        shim = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    daemon.kill()
    os.kill(shim, signal.SIGKILL)
    daemon.start()
    with client(daemon) as engine:
        assert state(engine, one)["Status"] == "exited"
        assert state(engine, one)["ExitCode"] == 137


@pytest.mark.row("R-06")
@pytest.mark.parametrize(
    "point", ["store.commit.before", "store.commit.after", "shim.clone.before", "shim.clone.after", "shim.running"]
)
@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_start_that_is_cut_off_is_whole_or_undone(tmp_path: Path, point: str, turn: int, daemon: Daemon) -> None:
    with client(daemon) as engine:
        made = create(
            engine, "sleep", "600", HostConfig={"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostPort": ""}]}}
        )
    daemon.stop()
    os.environ["ONGGI_FAULT"] = f"{point}=kill@{turn}"
    try:
        daemon.start()
    finally:
        del os.environ["ONGGI_FAULT"]
    started = False
    with client(daemon) as engine:
        try:
            engine(containers.start(made))
            started = True
            engine(containers.stop(made, timeout_s=0))
            started = False
        except (ApiError, BrokenAnswer, ConnectionRefused, OSError):
            pass
    assert daemon.process is not None
    if daemon.process.poll() is None:
        daemon.kill()
    daemon.process = None
    daemon.start()
    with client(daemon) as engine:
        found = state(engine, made)
        if started and point.startswith("store"):
            assert found["Running"] or found["Status"] == "exited"
        assert found["Status"] in ("created", "running", "exited")
        assert within(5, lambda: leaks(engine) == []), leaks(engine)
        if not found["Running"]:
            engine(containers.start(made))
        assert execute(engine, made, "true")[0] == 0


def test_a_deploy_that_a_killed_engine_leaves_is_undone_and_the_old_one_serves(daemon: Daemon) -> None:
    check = {"Test": ["CMD", "false"], "Interval": 300_000_000, "StartPeriod": 60_000_000_000}
    with client(daemon) as engine:
        old = run(
            engine,
            *SERVER,
            name="web",
            Hostname="old",
            HostConfig={"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1"}]}},
        )
        bindings: Any = engine(containers.inspect(old))["NetworkSettings"]
        port = int(bindings["Ports"]["80/tcp"][0]["HostPort"])
        assert get(port) == "old"
    with client(daemon) as engine, client(daemon) as looking:
        steps = engine.stream(
            deploys.deploy("web", image="busybox", health_timeout_s=30, changes={"Healthcheck": check})
        )
        assert any("Started" in str(step) for step in steps)
        assert len(looking(containers.listing())) == 2
        daemon.kill()
    daemon.start()
    with client(daemon) as engine:
        assert [one["Id"] for one in engine(containers.listing(all=True))] == [old]
        assert get(port) == "old"
        assert within(5, lambda: leaks(engine) == []), leaks(engine)  # its files are deleted beside us


@pytest.mark.row("R-29")
def test_a_stop_that_a_killed_engine_began_ends_at_its_deadline(daemon: Daemon) -> None:
    with client(daemon) as engine:
        deaf = run(engine, "sh", "-c", "trap '' TERM; while true; do usleep 50000; done")
        time.sleep(0.2)
    stopping = threading.Thread(target=lambda: stop_and_be_cut_off(daemon, deaf))
    stopping.start()
    time.sleep(0.5)
    daemon.kill()
    stopping.join()
    daemon.start()
    with client(daemon) as engine:
        assert state(engine, deaf)["Running"]
        assert within(8, lambda: not state(engine, deaf)["Running"])
        assert state(engine, deaf)["ExitCode"] == 137


def stop_and_be_cut_off(daemon: Daemon, container: str) -> None:
    with client(daemon) as engine, contextlib.suppress(ApiError, BrokenAnswer, OSError):
        engine(containers.stop(container, timeout_s=6))
