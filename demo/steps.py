"""The seven steps. Each takes the shell of a client and the platform; each shows what it claims."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from demo.platform import Platform, free_port
from demo.shell import Shell, expect, step
from demo.traffic import Visitor, fetch, fetch_when_up

HERE = Path(__file__).parent
BUILD_ARGS = [
    name
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    if name in os.environ
]


class Demo:
    """State that the steps hand on: the registry's name of the image, its digest, the published port."""

    def __init__(self, run: Shell, platform: Platform, base: Path, client: str) -> None:
        self.run, self.platform, self.base, self.client = run, platform, base, client
        self.image = f"{platform.registry}/demo/web"
        self.port = free_port()
        self.digest = ""

    def all(self) -> None:
        self.build()
        self.ship()
        self.start()
        self.limits()
        self.kill_the_engine()
        self.deploy()
        self.delete()

    def build(self) -> None:
        step(1, "build: a Debian base, the web application in two versions, Redis beside it")
        run = self.run
        run(f"import {self.base} debian:demo")
        arguments = " ".join(f"--build-arg {name}" for name in BUILD_ARGS)
        run(f"build --network default -t {self.image}:1 --build-arg BASE=debian:demo {arguments} {HERE}/web", show=4)
        run(
            f"build -t {self.image}:2 --build-arg BASE=debian:demo --build-arg VERSION=2 {arguments} {HERE}/web", show=4
        )
        run(
            f"build -t {self.image}:3 --build-arg BASE=debian:demo --build-arg VERSION=3 {arguments} {HERE}/web", show=0
        )
        run(f"build -t demo-redis --build-arg BASE=debian:demo {arguments} {HERE}/redis", show=4)
        run("images")
        run(f"history {self.image}:1", show=5)
        expect(
            run(f"image inspect --format '{{{{.Config.Entrypoint}}}}' {self.image}:1", show=1),
            "the image has its entrypoint",
        )

    def ship(self) -> None:
        step(2, "ship: push to onggi-registry, remove, pull back by digest")
        run = self.run
        run(f"push {self.image}:1", show=4)
        self.digest = run(f"image inspect --format '{{{{index .RepoDigests 0}}}}' {self.image}:1").rpartition("@")[2]
        identity = run(f"image inspect --format '{{{{.Id}}}}' {self.image}:1", show=0)
        run(f"rmi {self.image}:1", show=2)
        run(f"pull {self.image}@{self.digest}", show=4)
        run(f"tag {self.image}@{self.digest} {self.image}:1")
        expect(
            run(f"image inspect --format '{{{{.Id}}}}' {self.image}:1", show=0) == identity,
            "what came back is what was built",
        )

    def start(self) -> None:
        step(3, "run: web and Redis on a network of their own, limited, published, with a volume")
        run = self.run
        run("network create shop")
        run("volume create visits")
        run("run -d --name redis --network shop --memory 128m -e MAXMEMORY=16mb demo-redis")
        run(
            f"run -d --name web --network shop --network-alias shop-front --restart always --memory 256m --cpus 1 -p {self.port}:8000"
            f" -v visits:/var/lib/web -e GREETING='Hello, jar' -e REDIS_URL=redis://redis:6379/0 {self.image}:1"
        )
        page = fetch_when_up(self.port)
        expect("Hello, jar, version 1" in page, f"the page over the published port: {page.strip()!r}")
        self._healthy("web")
        run("ps")
        run("logs web")
        run("stats --no-stream")
        run("top web")
        run("exec web cat /run/web/web.ini")
        run(
            "exec web sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true'"
        )
        run("inspect --format '{{.State.Status}} {{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}' web")
        run("exec web python3 -c 'import socket; print(socket.gethostbyname(\"shop-front\"))'")
        run("events --since 60s --until 0s", show=6)

    def _healthy(self, name: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while (state := self.run(f"inspect --format '{{{{.State.Health.Status}}}}' {name}", show=0)) != "healthy":
            if time.monotonic() > deadline:
                expect(False, f"{name} becomes healthy (it is {state})")
            time.sleep(0.2)
        expect(True, f"{name} is healthy")

    def limits(self) -> None:
        step(4, "limits: too much memory ends in an OOM kill, a crash in a restart")
        run = self.run
        run("run --name hog --memory 32m debian:demo tail /dev/zero", check=False)
        state = json.loads(run("inspect --format '{{json .State}}' hog", show=0))
        expect(
            state["OOMKilled"] is True and state["ExitCode"] == 137,
            "the hog was killed for its memory: OOMKilled is true, exit code 137",
        )
        run("rm hog")
        try:
            fetch(self.port, "/crash")
        except OSError:
            pass
        fetch_when_up(self.port)
        restarts = run("inspect --format '{{.RestartCount}} {{.State.Status}}' web")
        expect(restarts == "1 running", "web crashed and was restarted once by its policy")

    def kill_the_engine(self) -> None:
        step(5, "the engine dies by SIGKILL and comes back: containers never notice")
        run, platform = self.run, self.platform
        run(
            "run -d --name counter debian:demo sh -c 'i=0; while [ $i -lt 400 ]; do echo $i; i=$((i+1)); sleep 0.02; done; exit 7'"
        )
        before = run("inspect --format '{{.State.Pid}}' web", show=0)
        platform.kill()
        print("  # kill -9 onggid")
        expect("version 1" in fetch(self.port), "the page is served without an engine")
        time.sleep(1)
        platform.start()
        print("  # onggid again")
        expect(run("inspect --format '{{.State.Pid}}' web", show=0) == before, "web is the same process as before")
        expect(run("exec web echo alive", show=1) == "alive", "exec works")
        expect(
            run("wait counter") == "7", "wait gives the exit code of a container that was started by the former engine"
        )
        lines = run("logs counter", show=0).splitlines()
        expect(lines == [str(n) for n in range(400)], "its log has every line from 0 to 399, each once")
        run("rm counter")

    def deploy(self) -> None:
        step(6, "deploy version 2, then a broken version 3, under constant requests")
        self._healthy("web")
        visitor = Visitor()
        with visitor.visiting(self.port):
            time.sleep(0.5)
            if self.client == "onggi":
                self.run(f"deploy web {self.image}:2")
                time.sleep(0.5)
                self.run(f"deploy --health-timeout 15s web {self.image}:3", check=False)
            else:
                self._deploy_by_hand("2")
                time.sleep(0.5)
                self._broken_by_hand("3")
            time.sleep(0.5)
        expect("version 2" in fetch(self.port), "version 2 serves, after version 3 was refused")
        print(f"  answers by version: {dict(visitor.versions)}")
        expect(visitor.versions["1"] and visitor.versions["2"], "both versions answered in their time")
        expect(not visitor.versions["3"], "version 3 never answered")
        expect(not visitor.failures, f"no request failed ({visitor.versions.total()} answered) {visitor.failures[:3]}")

    def _run_beside(self, version: str) -> None:
        """The new release on the same network; -p of a port that is taken is refused, so it gets the port with the name."""
        self.run(
            f"run -d --name web-{version} --network shop --restart always --memory 256m --cpus 1 -p {self.port}:8000"
            f" -v visits:/var/lib/web -e GREETING='Hello, jar' -l onggi.replaces=web {self.image}:{version}"
        )

    def _deploy_by_hand(self, version: str) -> None:
        run = self.run
        self._run_beside(version)
        self._healthy(f"web-{version}")
        run("rename web web-old")
        run(f"rename web-{version} web")
        run("network disconnect shop web-old", check=False)
        run("stop -t 10 web-old")
        run("rm web-old")

    def _broken_by_hand(self, version: str) -> None:
        run = self.run
        self._run_beside(version)
        deadline = time.monotonic() + 30
        while (state := run(f"inspect --format '{{{{.State.Health.Status}}}}' web-{version}", show=0)) != "unhealthy":
            if time.monotonic() > deadline:
                expect(False, f"version {version} is found unhealthy (it is {state})")
            time.sleep(0.3)
        expect(True, f"version {version} is unhealthy")
        run(f"rm -f web-{version}")

    def delete(self) -> None:
        step(7, "delete everything: nothing is left")
        run = self.run
        run("ps -a")
        names = run("ps -aq", show=0).split()
        run(f"rm -f -v {' '.join(names)}")
        run("network rm shop")
        run("volume rm visits")
        run("volume prune -f -a", check=False)
        run("image prune -a -f", show=3)
        run("system df")
