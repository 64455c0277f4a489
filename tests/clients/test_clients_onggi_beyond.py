"""Commands and flags of `onggi` that docker's command line doesn't have."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def onggi(daemon: Daemon, *words: str, code: int = 0, text: str = "") -> str:
    """What it prints; it ends with `code`."""
    done = subprocess.run(
        [ONGGI, *words], input=text, capture_output=True, text=True, check=False, timeout=60, env=os.environ | {"DOCKER_HOST": daemon.host}
    )  # fmt: skip
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


def inspect(daemon: Daemon, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(onggi(daemon, "inspect", name))[0]
    return found


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two containers agree in everything that a command line can say."""
    for part in ("Config", "HostConfig", "Path", "Args"):
        left, right = one[part], other[part]
        if part == "Config":
            left, right = left | {"Hostname": ""}, right | {"Hostname": ""}
        if isinstance(left, dict):  # the command line says nothing with empty lists
            left, right = ({name: value or None for name, value in one.items()} for one in (left, right))
        assert left == right, part
    assert [p["Destination"] for p in one["Mounts"]] == [p["Destination"] for p in other["Mounts"]]


LINES = [
    "--env A=1 --env 'B=two words' --label a=b --user 1000 --workdir /tmp busybox sleep 1000",
    "--memory 64m --cpus 0.5 --pids-limit 50 --ulimit nofile=100:200 --sysctl net.ipv4.ip_forward=1 busybox sleep 1000",
    "--publish 127.0.0.1::80 --publish 81/udp --expose 90 --restart on-failure:3 --init --cap-add NET_ADMIN --cap-drop MKNOD busybox sleep 1000",
    "--volume named:/v:ro --tmpfs /t:size=1m --mount type=tmpfs,target=/m,tmpfs-size=1m --read-only --shm-size 1m busybox sleep 1000",
    "--health-cmd 'test -e /tmp' --health-interval 30s --health-retries 2 --stop-signal INT --stop-timeout 3 --entrypoint sleep busybox 1000",
    "--security-opt no-new-privileges --group-add 5 --dns 192.0.2.1 --add-host a:192.0.2.2 --hostname own --log-opt max-size=1m busybox sleep 1000",
    "--network none --ipc shareable --pid host --privileged busybox sleep 1000",
]


@pytest.mark.row("B-05")
@pytest.mark.parametrize("line", LINES)
def test_the_command_that_inspect_tells_makes_the_same_container_again(daemon: Daemon, line: str) -> None:
    onggi(daemon, "create", "--name", "first", *shlex.split(line))
    told = shlex.split(onggi(daemon, "inspect", "--as", "run", "first"))
    assert told[:3] == ["onggi", "run", "--detach"]
    first = inspect(daemon, "first")
    onggi(daemon, "rm", "first")
    onggi(daemon, "create", *told[3:])
    same(first, inspect(daemon, "first"))


@pytest.mark.row("B-05")
def test_the_code_that_inspect_tells_makes_the_same_container_again(daemon: Daemon) -> None:
    onggi(daemon, "create", "--name", "first", *shlex.split(LINES[0]))
    code = onggi(daemon, "inspect", "--as", "python", "first")
    first = inspect(daemon, "first")
    onggi(daemon, "rm", "first")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30, env=os.environ | {"DOCKER_HOST": daemon.host})
    again = inspect(daemon, "first")
    assert again["State"]["Running"]
    for part in ("AttachStdout", "AttachStderr"):  # said by a command line of itself
        first["Config"][part] = again["Config"][part]
    same(first, again)


@pytest.mark.row("B-01", "B-02", "B-03")
def test_update_changes_what_docker_cannot(daemon: Daemon) -> None:
    onggi(daemon, "run", "-d", "--init", "--name", "web", "busybox", "sleep", "1000")
    said = onggi(
        daemon,
        "update",
        "--publish-add",
        "127.0.0.1::80",
        "--env",
        "A=1",
        "--label",
        "x=y",
        "--mount-add",
        "type=tmpfs,target=/t",
        "web",
    )
    assert "web: Env is changed from its next start on" in said
    assert onggi(daemon, "port", "web").startswith("80/tcp -> 127.0.0.1:")
    assert onggi(daemon, "exec", "web", "sh", "-c", "mount | grep -c ' /t '") == "1\n"
    onggi(daemon, "update", "--publish-rm", "80", "--mount-rm", "/t", "--label-rm", "x", "web")
    assert onggi(daemon, "port", "web") == ""
    found = inspect(daemon, "web")
    assert found["Config"]["Labels"] == {}
    assert "Onggi" not in found
    onggi(daemon, "restart", "-t", "2", "web")
    assert onggi(daemon, "exec", "web", "sh", "-c", "echo $A") == "1\n"


@pytest.mark.row("B-04")
def test_recreate_keeps_name_and_data_and_can_be_undone(daemon: Daemon) -> None:
    onggi(
        daemon,
        "run",
        "-d",
        "--init",
        "--name",
        "db",
        "-e",
        "A=1",
        "-e",
        "B=2",
        "-v",
        "/data",
        "busybox",
        "sh",
        "-c",
        "date > /data/once; sleep 1000",
    )
    before = inspect(daemon, "db")
    deadline = time.monotonic() + 5
    while not onggi(daemon, "exec", "db", "cat", "/data/once") and time.monotonic() < deadline:
        time.sleep(0.05)
    once = onggi(daemon, "exec", "db", "cat", "/data/once")
    onggi(daemon, "recreate", "-e", "B=3", "--memory", "64m", "db", "busybox", "sleep", "1000")
    after = inspect(daemon, "db")
    assert after["Id"] != before["Id"]
    assert after["State"]["Running"]
    assert {"A=1", "B=3"} <= set(after["Config"]["Env"])
    assert "B=2" not in after["Config"]["Env"]
    assert after["HostConfig"]["Memory"] == 64 << 20
    assert onggi(daemon, "exec", "db", "cat", "/data/once") == once
    failed = onggi(daemon, "recreate", "db", "busybox", "no-such-program", code=1)
    assert "db is as it was" in failed
    assert inspect(daemon, "db")["Id"] == after["Id"]
    assert inspect(daemon, "db")["State"]["Running"]
    onggi(daemon, "recreate", "--undo", "db")
    assert inspect(daemon, "db")["Id"] == before["Id"]
    assert inspect(daemon, "db")["State"]["Running"]


@pytest.mark.row("B-37")
def test_debug_sees_a_running_container_a_stopped_one_and_an_image_and_leaves_nothing(daemon: Daemon) -> None:
    onggi(daemon, "run", "-d", "--init", "--name", "one", "busybox", "sh", "-c", "echo here > /tmp/word; sleep 1000")
    deadline = time.monotonic() + 5
    while "here" not in onggi(daemon, "exec", "one", "sh", "-c", "cat /tmp/word; true") and time.monotonic() < deadline:
        time.sleep(0.05)
    images = onggi(daemon, "images", "-aq")
    said = onggi(daemon, "debug", "one", "sh", "-c", "cat /target/tmp/word; ps | grep -c 'sleep 1000'")
    assert said.split()[0] == "here"
    assert int(said.split()[1]) >= 1
    onggi(daemon, "stop", "-t", "1", "one")
    assert onggi(daemon, "debug", "one", "cat", "/target/tmp/word") == "here\n"
    assert onggi(daemon, "debug", "busybox", "cat", "/target/data/seed") == "from the image\n"
    assert "No such container or image" in onggi(daemon, "debug", "nope", code=1)
    assert onggi(daemon, "images", "-aq") == images
    assert onggi(daemon, "ps", "-aq", "--no-trunc").split() == [inspect(daemon, "one")["Id"]]


@pytest.mark.row("B-09", "B-11", "B-38")
def test_run_has_flags_for_checks_by_the_engine_and_for_delays(daemon: Daemon) -> None:
    onggi(
        daemon, "create", "--name", "one", "--health-http", ":80/up", "--health-on-failure", "restart",
        "--restart", "on-failure:5,delay=1s,max=30s,reset=1m", "busybox", "true",
    )  # fmt: skip
    told = onggi(daemon, "inspect", "--as", "run", "one")
    assert "--health-http=:80/up" in told
    assert "--health-on-failure=restart" in told
    found = inspect(daemon, "one")
    assert found["Config"]["Healthcheck"]["Test"] == ["CMD", "HTTP", ":80/up"]
    assert found["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 5}
    for words, text in ((("--restart", "always,later=1s"), "want delay=, max= or reset="), (("--health-on-failure", "pray"), "want none, kill, restart or stop"),
                        (("--health-tcp", ":1", "--health-cmd", "x"), "one check at most")):  # fmt: skip
        assert text in onggi(daemon, "create", *words, "busybox", "true", code=125)
