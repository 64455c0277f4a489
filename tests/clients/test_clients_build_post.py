"""`POST /build` as its oldest clients speak it: parameters, headers and bodies, and the stream word for word as dockerd 28 tells it."""

from __future__ import annotations

import bz2
import gzip
import http.client
import json
import lzma
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from tests.clients.daemon import Daemon, running
from tests.engine.building import context

pytestmark = pytest.mark.root

GROUP = f"onggi-posted-{os.getpid()}"


def forget_cgroup(name: str) -> None:
    """A parent that a client named stays: nobody knows whether it is somebody else's, too. Holds: the engine has ended."""
    root = Path("/sys/fs/cgroup")
    for path in {found.resolve() for found in (root / name, *root.glob(f"*/{name}")) if found.exists()}:
        path.rmdir()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)
    forget_cgroup(GROUP)


class Posted(NamedTuple):
    """`said` is what the stream says, ids masked; before its beginning, the message of the answer."""

    status: int
    said: str
    raw: str


def connect(daemon: Daemon) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("d", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(30)
    connection.sock.connect(str(daemon.socket))
    return connection


def post(daemon: Daemon, body: bytes, headers: Mapping[str, str] | None = None, **query: Any) -> Posted:
    connection = connect(daemon)
    try:
        words = urlencode({"networkmode": "none", **query}, doseq=True)
        connection.request(
            "POST", f"/v1.51/build?{words}", body, {"Content-Type": "application/x-tar", **(headers or {})}
        )
        answer = connection.getresponse()
        raw = answer.read().decode()
    finally:
        connection.close()
    said = ""
    for line in raw.splitlines():
        message = json.loads(line)
        said += message.get("stream") or "".join(
            f"<{part} {message[part]}>" for part in ("aux", "error", "message") if part in message
        )
    masked = re.sub(r"\b[0-9a-f]{64}\b", "DIGEST", said)
    return Posted(answer.status, re.sub(r"\b[0-9a-f]{12}\b", "ID", masked), raw)


AUX = "<aux {'ID': 'sha256:DIGEST'}>"
DONE = f"{AUX}Successfully built ID\n"
RAN = " ---> Running in ID\n ---> Removed intermediate container ID\n ---> ID\n"

STREAMS: list[tuple[str, dict[str, Any], int, str]] = [
    ("FROM busybox\nRUN true # 1\n", {"nonsense": "1"}, 200, f"Step 1/2 : FROM busybox\n ---> ID\nStep 2/2 : RUN true # 1\n{RAN}{DONE}"),
    ("FROM busybox\nRUN true # 2\n", {"rm": "0"}, 200, f"Step 1/2 : FROM busybox\n ---> ID\nStep 2/2 : RUN true # 2\n ---> Running in ID\n ---> ID\n{DONE}"),
    ("FROM busybox\nRUN true # 3\n", {"rm": "0", "forcerm": "1"}, 200, f"Step 1/2 : FROM busybox\n ---> ID\nStep 2/2 : RUN true # 3\n{RAN}{DONE}"),
    ("FROM busybox\nRUN true # 4\n", {"q": "1"}, 200, "sha256:DIGEST\n"),
    (
        "FROM busybox\nRUN echo x;false\n", {"q": "1"}, 200,
        "Step 1/2 : FROM busybox\n ---> ID\nStep 2/2 : RUN echo x;false\n ---> Running in ID\nx\n<error The command '/bin/sh -c echo x;false' returned a non-zero code: 1>",
    ),
    ("FROM busybox AS a\nRUN echo a\nFROM busybox AS b\nRUN exit 1\n", {"target": "A", "t": ["one:1", "two"]}, 200,
     ("Step 1/2 : FROM busybox AS a\n ---> ID\nStep 2/2 : RUN echo a\n ---> Running in ID\na\n ---> Removed intermediate container ID\n"
     f" ---> ID\n{DONE}Successfully tagged one:1\nSuccessfully tagged two:latest\n")),
    ("FROM busybox\n", {"buildargs": '{"A":null,"B":"1"}'}, 200,
     f"Step 1/1 : FROM busybox\n ---> ID\n{AUX}[Warning] One or more build-args [A B] were not consumed\nSuccessfully built ID\n"),
    ("FROM busybox\nCOPY nope /x\n", {}, 200,
     ("Step 1/2 : FROM busybox\n ---> ID\nStep 2/2 : COPY nope /x\n"
     "<error COPY failed: file not found in build context or excluded by .dockerignore: stat nope: file does not exist>")),
    ("ARG A=1\nFROM UPPER\nRUN true\n", {}, 200,
     "Step 1/3 : ARG A=1\nStep 2/3 : FROM UPPER\n<error invalid reference format: repository name (library/UPPER) must be lowercase>"),
    ("FROM busybox AS aaa\n", {"target": "aab"}, 400, '<message target stage "aab" could not be found (did you mean aaa?)>'),
    ("FROM busybox\nNOPE\n", {}, 400, "<message dockerfile parse error on line 2: unknown instruction: NOPE (did you mean COPY?)>"),
    ("FROM busybox\n", {"dockerfile": "nope"}, 400, "<message Cannot locate specified Dockerfile: nope>"),
    ("FROM busybox\n", {"dockerfile": "../Dockerfile"}, 400, "<message the Dockerfile (../Dockerfile) must be within the build context>"),
    ("FROM busybox\n", {"version": "3"}, 400, '<message invalid version "3">'),
    ("FROM busybox\n", {"securityopt": '["a"]'}, 400, "<message security options are not supported on linux>"),
    ("FROM busybox\n", {"squash": "1"}, 400, "<message squash is only supported with experimental mode>"),
]  # fmt: skip


@pytest.mark.row("F-223", "F-224", "F-239", "F-244", "F-249", "F-250", "F-231", "F-256", "F-245")
@pytest.mark.parametrize(("dockerfile", "query", "status", "said"), STREAMS)
def test_the_stream_is_dockerds(daemon: Daemon, dockerfile: str, query: dict[str, Any], status: int, said: str) -> None:
    found = post(daemon, context(dockerfile), **query)
    assert (found.status, found.said) == (status, said)


@pytest.mark.row("F-243", "F-246")
@pytest.mark.parametrize(
    "pack",
    [gzip.compress, bz2.compress, lzma.compress, lambda data: subprocess.run(["zstd", "-q"], input=data, capture_output=True, check=True).stdout],
    ids=["gzip", "bzip2", "xz", "zstd"],
)  # fmt: skip
def test_a_packed_context_is_known_by_its_first_bytes(daemon: Daemon, pack: Callable[[bytes], bytes]) -> None:
    found = post(daemon, pack(context("FROM busybox\nLABEL c=1\n")), {"Content-Type": "text/plain"})
    assert found.said.endswith(DONE)


@pytest.mark.row("F-251")
@pytest.mark.parametrize("header", ["%%%", "bm9uc2Vuc2U", "e30=", "W10"])
def test_logins_that_can_not_be_read_say_nothing(daemon: Daemon, header: str) -> None:
    assert post(daemon, context("FROM busybox\n"), {"X-Registry-Config": header}).said.endswith(DONE)


@pytest.mark.row("F-076", "F-077", "F-226", "F-234", "F-232")
def test_limits_and_hosts_hold_in_each_step(daemon: Daemon) -> None:
    groups = "/sys/fs/cgroup"
    dockerfile = (
        "FROM busybox\nRUN ulimit -n; ulimit -Hn; grep -c ' /dev/shm tmpfs .*size=1024k' /proc/mounts; cat /etc/hosts\n"
        f"RUN cat {groups}/memory/memory.limit_in_bytes {groups}/memory.max {groups}/cpu/cpu.shares {groups}/cpu/cpu.cfs_quota_us"
        f" {groups}/cpu.max {groups}/cpuset/cpuset.cpus {groups}/cpuset.cpus 2> /dev/null; echo :; cat /proc/self/cgroup\n"
    )
    found = post(
        daemon, context(dockerfile), ulimits='[{"Name":"nofile","Soft":100,"Hard":200}]', shmsize=str(1 << 20),
        extrahosts=["a:1.2.3.4", "up:host-gateway"], memory=str(64 << 20), memswap="-1", cpushares="200", cpuquota="50000", cpuperiod="100000",
        cpusetcpus="0", cgroupparent=f"/{GROUP}",
    )  # fmt: skip
    assert "\n100\n200\n1\n" in found.said
    assert "1.2.3.4\ta\n" in found.said
    gateway = json.loads(daemon.say("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]["Gateway"]
    assert f"{gateway}\tup\n" in found.said
    assert f"\n{64 << 20}\n" in found.said
    assert "\n50000" in found.said
    assert f"/{GROUP}/" in found.said or "0::/\n" in found.said


@pytest.mark.row("F-237", "F-354", "F-069")
def test_steps_are_in_the_network_that_was_asked_for(daemon: Daemon) -> None:
    daemon.say("network", "create", "building")
    daemon.say("run", "-d", "--name", "neighbour", "--network", "building", "busybox", "sleep", "1000")
    try:
        dockerfile = context("FROM busybox\nRUN ls /sys/class/net; ip -4 addr\n")
        assert "eth0" not in post(daemon, dockerfile).said
        address = daemon.say("inspect", "-f", "{{.NetworkSettings.Networks.building.IPAddress}}", "neighbour")
        assert f"inet {address}/" in post(daemon, dockerfile, networkmode="container:neighbour", nocache="1").said
        inside = post(daemon, dockerfile, networkmode="building", nocache="1").said
        assert f"inet {address.rpartition('.')[0]}." in inside
        assert f"inet {address}/" not in inside
        assert "No such container: nope" in post(daemon, dockerfile, networkmode="container:nope", nocache="1").said
    finally:
        daemon.clear()


@pytest.mark.row("F-078")
def test_a_step_that_the_kernel_killed_for_its_memory_says_so(daemon: Daemon) -> None:
    eats = context("FROM busybox\nRUN x=a; while true; do x=$x$x; done\n")
    found = post(daemon, eats, memory=str(16 << 20), memswap=str(16 << 20))
    assert "returned a non-zero code: 137: the kernel killed it, out of memory" in found.said


@pytest.mark.row("F-198", "F-197", "F-365")
def test_a_name_moves_when_all_has_gone_well_and_its_old_image_stays(daemon: Daemon) -> None:
    def identifier() -> str:
        return daemon.say("inspect", "-f", "{{.Id}}", "moving")

    post(daemon, context("FROM busybox\nLABEL v=1\n"), t="moving")
    first = identifier()
    assert post(daemon, context("FROM busybox\nLABEL v=2\nRUN exit 1\n"), t="moving").status == 200
    assert identifier() == first
    post(daemon, context("FROM busybox\nLABEL v=2\n"), t="moving")
    assert identifier() != first
    assert first in daemon.say("images", "--no-trunc", "-q", "-f", "dangling=true").split()


@pytest.mark.row("F-247")
def test_an_answer_comes_while_the_context_is_still_being_sent(daemon: Daemon) -> None:
    connection = connect(daemon)
    try:
        connection.putrequest("POST", "/v1.51/build?t=UPPER")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        connection.send(b"400\r\n" + bytes(1024) + b"\r\n")
        answer = connection.getresponse()
        assert (answer.status, b"must be lowercase" in answer.read()) == (400, True)
    finally:
        connection.close()


@pytest.mark.row("F-254")
def test_a_build_is_cancelled_by_its_id(daemon: Daemon) -> None:
    connection = connect(daemon)
    try:
        body = context("FROM busybox\nRUN echo go; sleep 1000\n")
        connection.request(
            "POST", "/v1.51/build?networkmode=none&buildid=mine", body, {"Content-Type": "application/x-tar"}
        )
        answer = connection.getresponse()
        said = b""
        while b"go\\n" not in said:
            said += answer.readline()
        for query, status in (("", 400), ("?id=other", 200), ("?id=mine", 200)):
            cancelling = connect(daemon)
            cancelling.request("POST", f"/v1.51/build/cancel{query}")
            assert cancelling.getresponse().status == status
            cancelling.close()
        assert b'"error":"context canceled"' in answer.read()
    finally:
        connection.close()


@pytest.mark.row("F-255", "F-168")
def test_the_cache_is_pruned_by_what_is_asked(daemon: Daemon) -> None:
    def prune(**query: str) -> dict[str, Any]:
        connection = connect(daemon)
        try:
            connection.request("POST", f"/v1.51/build/prune?{urlencode(query)}")
            answer = connection.getresponse()
            assert answer.status == 200
            return dict(json.loads(answer.read()))
        finally:
            connection.close()

    prune(all="1")
    for size in (1, 2, 3):
        post(daemon, context("FROM busybox\nCOPY f /f\n", {"f": bytes([size]) * 1_000_000 * size}))
    daemon.say("image", "prune", "-f")
    assert prune(all="1", filters='{"until":["1h"]}') == {"CachesDeleted": None, "SpaceReclaimed": 0}
    assert prune(all="1", filters='{"description":["nothing like it"]}')["CachesDeleted"] is None
    # The one that was used longest ago goes first, until what is left fits.
    found = prune(all="1", **{"max-used-space": "5500000"})
    assert (len(found["CachesDeleted"]), found["SpaceReclaimed"]) == (1, 1_000_000)
    found = prune(all="1", **{"reserved-space": "3500000"})
    assert (len(found["CachesDeleted"]), found["SpaceReclaimed"]) == (1, 2_000_000)
    found = prune(all="1", filters='{"type":["regular"]}')
    assert (len(found["CachesDeleted"]), found["SpaceReclaimed"]) == (1, 3_000_000)


@pytest.mark.row("F-257")
def test_a_ping_says_that_buildkit_is_spoken(daemon: Daemon) -> None:
    connection = connect(daemon)
    try:
        connection.request("GET", "/_ping")
        assert connection.getresponse().getheader("Builder-Version") == "2"
    finally:
        connection.close()
