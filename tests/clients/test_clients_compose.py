"""Docker Compose's own plugin against an onggid, through docker's command line and through onggi's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.buildx import PLUGINS
from tests.clients.daemon import DOCKER, Daemon, running

pytestmark = pytest.mark.root
ONGGI = str(Path(sys.executable).parent / "onggi")

PROJECT = """
services:
  db:
    image: busybox
    command: sh -c 'echo kept >> /data/kept; echo db up; exec sleep 1000'
    volumes: [data:/data]
    healthcheck: {test: [CMD, test, -e, /data/kept], interval: 200ms, retries: 50}
    restart: unless-stopped
    networks: {back: {aliases: [database]}}
    deploy: {resources: {limits: {memory: 64M, cpus: "0.5"}}}
  migrate:
    image: busybox
    command: sh -c 'echo migrated'
    networks: [back]
    depends_on: {db: {condition: service_healthy}}
  web:
    build: {context: page, args: {GREETING: hello}}
    depends_on: {db: {condition: service_healthy}, migrate: {condition: service_completed_successfully}}
    environment: {A: "${A:-one}"}
    env_file: [web.env]
    ports: ["127.0.0.1::8080"]
    networks: [front, back]
    secrets: [token]
    configs: [{source: motd, target: /etc/motd}]
    tmpfs: [/scratch]
    init: true
    stop_grace_period: 2s
    ulimits: {nofile: {soft: 100, hard: 200}}
    extra_hosts: ["far:192.0.2.9"]
    logging: {driver: json-file, options: {max-size: 1m}}
    cap_drop: [ALL]
  worker:
    image: busybox
    command: sh -c 'echo working; exec sleep 1000'
    stop_signal: KILL
    read_only: true
    deploy: {replicas: 2}
    networks: [back]
  tools:
    image: busybox
    profiles: [tools]
    network_mode: none
    command: sh -c 'exit 7'
volumes: {data: {labels: {keep: "yes"}}}
networks: {front: {}, back: {internal: true}}
secrets: {token: {file: token}}
configs: {motd: {content: "welcome\\n"}}
"""
PAGE = """
FROM busybox
ARG GREETING
RUN mkdir /www && echo $GREETING > /www/index
CMD ["sh", "-c", "trap 'echo bye; exit 0' TERM; echo web up; while :; do sleep 0.1; done"]
"""


class Compose:
    """`docker compose` (or `onggi compose`) in the project's directory."""

    def __init__(self, program: str, daemon: Daemon, directory: Path) -> None:
        if not (PLUGINS / "docker-compose").exists():
            pytest.fail("no docker-compose: make test fetches it (scripts/cli-plugins)")
        self.program, self.daemon, self.directory = program, daemon, directory
        (directory / "page").mkdir(parents=True)
        for name, text in {
            "compose.yaml": PROJECT, "page/Dockerfile": PAGE, "web.env": "B=two\n", "token": "secret\n", "config.json": json.dumps({"cliPluginsExtraDirs": [str(PLUGINS)]}),
        }.items():  # fmt: skip
            (directory / name).write_text(text)

    def __call__(self, *words: str, code: int = 0, **more: str) -> str:
        """What it prints; it ends with `code`."""
        done = subprocess.run(
            [self.program, "compose", "--ansi=never", "--progress=plain", *words], cwd=self.directory, capture_output=True, text=True, check=False, timeout=90, stdin=subprocess.DEVNULL,
            env=os.environ | {"DOCKER_HOST": self.daemon.host, "DOCKER_CONFIG": str(self.directory), "COMPOSE_PROJECT_NAME": "shop"} | more,
        )  # fmt: skip
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout

    def ids(self) -> dict[str, str]:
        """Container name → id, the ended ones too."""
        lines = self("ps", "-a", "--no-trunc", "--format", "{{.Name}} {{.ID}}").splitlines()
        return dict(line.split() for line in lines)  # type: ignore[misc]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture(scope="module", params=[DOCKER, ONGGI], ids=["docker", "onggi"])
def shop(request: pytest.FixtureRequest, daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """A project that is up, and gone without a trace afterwards."""
    compose = Compose(request.param, daemon, tmp_path_factory.mktemp("shop") / "shop")
    compose("up", "-d", "--wait", "web", "worker", "db")
    yield compose
    compose("--profile", "tools", "down", "-t", "1", "-v", "--rmi", "local")
    assert daemon.say("ps", "-aq") == daemon.say("volume", "ls", "-q") == ""
    assert daemon.say("network", "ls", "--format", "{{.Name}}").split() == ["bridge", "host", "none"]
    assert daemon.say("images", "-q", "shop-web") == ""


@pytest.mark.row("CL-153")
def test_services_come_up_in_the_order_of_their_health(shop: Compose) -> None:
    states = shop("ps", "-a", "--format", "{{.Service}} {{.State}} {{.Health}}{{.ExitCode}}").split("\n")
    assert sorted(filter(None, states)) == [
        "db running healthy0", "migrate exited 0", "web running 0", "worker running 0", "worker running 0",
    ]  # fmt: skip
    logs = shop("logs", "--no-color")
    assert {line.replace(" ", "") for line in logs.splitlines()} >= {
        "db-1|dbup", "migrate-1|migrated", "web-1|webup", "worker-1|working", "worker-2|working",
    }  # fmt: skip
    inspected = json.loads(shop.daemon.say("inspect", "shop-db-1", "shop-migrate-1", "shop-web-1"))
    db, migrate, web = (one["State"] for one in inspected)
    assert db["StartedAt"] < migrate["StartedAt"] < migrate["FinishedAt"] < web["StartedAt"]


@pytest.mark.row("CL-153")
def test_a_service_has_its_secrets_configs_limits_and_neighbours(shop: Compose) -> None:
    look = (
        "cat /run/secrets/token /etc/motd /www/index; echo $A $B; grep -c far /etc/hosts; ulimit -n; grep CapEff /proc/self/status;"
        " nslookup database | grep -c Name; grep -c /scratch /proc/mounts"
    )
    said = shop("exec", "-T", "web", "sh", "-c", look).split()
    assert said == ["secret", "welcome", "hello", "one", "two", "1", "100", "CapEff:", "0" * 16, "1", "1"]
    shop("exec", "-T", "--index", "2", "worker", "touch", "/x", code=1)
    assert shop("exec", "-T", "db", "cat", "/data/kept") == "kept\n"
    # Nobody in an internal network alone has a way out.
    routes = shop("exec", "-T", "db", "cat", "/proc/net/route").splitlines()[1:]
    assert "00000000" not in [line.split()[1] for line in routes]
    assert json.loads(shop.daemon.say("inspect", "shop-db-1"))[0]["HostConfig"]["Memory"] == 64 << 20
    assert shop("port", "web", "8080").startswith("127.0.0.1:")


@pytest.mark.row("CL-153")
def test_a_changed_service_is_made_anew_and_the_others_are_left_alone(shop: Compose) -> None:
    before = shop.ids()
    shop("up", "-d", A="changed")
    after = shop.ids()
    assert {name for name in before if before[name] != after.get(name)} == {"shop-web-1"}
    assert shop("exec", "-T", "web", "sh", "-c", "echo $A") == "changed\n"
    shop("up", "-d", "--scale", "worker=3", "worker")
    assert len(shop("ps", "-q", "worker").split()) == 3
    shop("up", "-d", "--scale", "worker=1", "worker")
    assert len(shop("ps", "-q", "worker").split()) == 1
    shop("up", "-d", "--build", "--no-deps", "web", A="changed")
    assert shop.ids()["shop-db-1"] == before["shop-db-1"]
    shop("up", "-d", "worker")


@pytest.mark.row("CL-153")
def test_commands_of_a_day_do_what_they_say(shop: Compose) -> None:
    assert (
        shop("run", "--rm", "-T", "--no-deps", "worker", "sh", "-c", "echo once; exit 3", code=3).splitlines()[-1]
        == "once"
    )
    assert (
        shop("--profile", "tools", "up", "--exit-code-from", "tools", "tools", code=7).count("exited with code 7") == 1
    )
    shop("cp", "token", "db:/data/copied")
    assert shop("exec", "-T", "db", "cat", "/data/copied") == "secret\n"
    shop("cp", "db:/data/copied", "got")
    assert (shop.directory / "got").read_text() == "secret\n"
    shop("pause", "db")
    assert shop("ps", "--format", "{{.State}}", "db") == "paused\n"
    shop("unpause", "db")
    shop("stop", "web")
    assert shop("ps", "-a", "--format", "{{.State}} {{.ExitCode}}", "web") == "exited 0\n"
    assert shop("logs", "--no-log-prefix", "web").splitlines()[-1] == "bye"
    shop("start", "web")
    shop("restart", "-t", "1", "worker")
    shop("kill", "-s", "KILL", "web")
    assert shop("ps", "-a", "--format", "{{.ExitCode}}", "web") == "137\n"
    assert "sleep 1000" in shop("top", "db")
    assert json.loads(shop("ls", "-a", "--format", "json"))[0]["Name"] == "shop"
    time.sleep(1.1)  # --until is asked for in whole seconds
    events = [
        json.loads(line) for line in shop("events", "--json", "--since", "10m", "--until", "0s", code=1).splitlines()
    ]
    actions = {(event["service"], event["action"]) for event in events}
    assert actions >= {("db", "pause"), ("db", "unpause"), ("web", "kill"), ("web", "die"), ("worker", "restart")}
    shop("rm", "-sf", "worker")
    assert shop("ps", "-aq", "worker") == ""
