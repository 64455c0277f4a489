"""Events, each step of a container's life with what dockerd 28 tells of it; and replay, filters and forms of the stream."""

from __future__ import annotations

import http.client
import json
import socket
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clients.daemon import Daemon, running
from tests.clients.rawapi import RawApi

OWN = {"a": "b", "image": "busybox", "name": "ev1"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture(scope="module")
def api(daemon: Daemon) -> RawApi:
    return RawApi(daemon.socket)


class Stream:
    """GET /events, open while the block runs."""

    def __init__(self, api: RawApi, query: str = "", version: str = "1.51", accept: str = "") -> None:
        self.connection = http.client.HTTPConnection("d", timeout=10)
        self.connection.sock = socket.socket(socket.AF_UNIX)
        self.connection.sock.settimeout(10)
        self.connection.sock.connect(api.path)
        self.connection.request("GET", f"/v{version}/events?{query}", headers={"Accept": accept} if accept else {})
        self.answer = self.connection.getresponse()

    def next(self) -> dict[str, Any]:
        found = json.loads(self.answer.readline().lstrip(b"\x1e"))
        assert isinstance(found, dict)
        return found

    def until(self, action: str) -> list[dict[str, Any]]:
        found = [self.next()]
        while found[-1]["Action"] != action:
            found.append(self.next())
        return found

    def rest(self) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.answer.read().splitlines()]
        self.close()
        return found

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def plain(event: dict[str, Any]) -> tuple[str, dict[str, str]]:
    return f"{event['Type']} {event['Action']}", event["Actor"]["Attributes"]


STEPS: list[tuple[str, str, Any, list[tuple[str, dict[str, Any]]]]] = [
    ("POST", "/start", None, [
        ("volume mount", {"destination": "/vol", "driver": "local", "propagation": "", "read/write": "true"}),
        ("network connect", {"name": "none", "type": "null"}),
        ("container start", OWN)]),
    ("GET", "/top", None, [("container top", OWN)]),
    ("POST", "/resize?h=10&w=20", None, [("container resize", OWN | {"height": "10", "width": "20"})]),
    ("POST", "/pause", None, [("container pause", OWN)]),
    ("POST", "/unpause", None, [("container unpause", OWN)]),
    ("POST", "/rename?name=ev2", None, [("container rename", OWN | {"name": "ev2", "oldName": "/ev1"})]),
    ("POST", "/rename?name=ev1", None, [("container rename", OWN | {"oldName": "/ev2"})]),
    ("POST", "/update", {"CpuShares": 512}, [("container update", OWN)]),
    ("GET", "/archive?path=/bin/sh", None, [("container archive-path", OWN)]),
    ("PUT", "/archive?path=/tmp", bytes(1024), [("container extract-to-dir", OWN)]),
    ("GET", "/export", None, [("container export", OWN)]),
    ("POST", "/kill?signal=WINCH", None, [("container kill", OWN | {"signal": "28"})]),
    ("POST", "/stop?t=0", None, [
        ("container kill", OWN | {"signal": "9"}),
        ("network disconnect", {"name": "none", "type": "null"}),
        ("volume unmount", {"driver": "local"}),
        ("container die", OWN | {"exitCode": "137"}),
        ("container stop", OWN)]),
    ("DELETE", "?v=1", None, [("container destroy", OWN)]),
]  # fmt: skip


@pytest.mark.row("E-044", "E-250", "E-252", "E-253", "E-255")
def test_each_step_of_a_containers_life_is_told_in_order_with_its_attributes(api: RawApi) -> None:
    stream = Stream(api)
    api.call("DELETE", "/volumes/evvol")
    api.json("POST", "/volumes/create", {"Name": "evvol"})
    made = api.make("ev1", "sleep", "600", host={"Binds": ["evvol:/vol"]}, Labels={"a": "b"}, Tty=True)
    assert [plain(event) for event in stream.until("create")] == [("volume create", {"driver": "local"})]
    assert plain(stream.next()) == ("container create", OWN)
    for method, path, body, expected in STEPS:
        status, text = api.call(method, f"/containers/{made}{path}", body)
        assert status < 300, text
        for what, attributes in expected:
            event = stream.next()
            found, said = plain(event)
            assert (found, attributes | said) == (what, said), path
            if what.startswith(("network", "volume")):
                assert said["container"] == made
            else:
                assert set(said) - set(attributes) <= {"execDuration"}
    stream.close()


@pytest.mark.row("E-250")
def test_an_exec_is_told_with_its_command_its_id_and_its_code(api: RawApi) -> None:
    api.run("ev3", "sleep", "600")
    stream = Stream(api, "filters=" + urllib.parse.quote('{"container":["ev3"]}'))
    made = api.exec("ev3", "sh", "-c", "exit 3")
    api.hijack(f"/exec/{made}/start", body=b"{}")
    found = [plain(event) for event in stream.until("exec_die")]
    own = {"image": "busybox", "name": "ev3", "execID": made}
    assert found == [
        ("container exec_create: sh -c exit 3", own),
        ("container exec_start: sh -c exit 3", own),
        ("container exec_die", own | {"exitCode": "3"}),
    ]
    left = api.exec("ev3", "sleep", "5", Tty=True, AttachStdin=True)
    api.hijack(f"/exec/{left}/start", 0.2, b"\x10\x11", body=b'{"Tty":true}')
    assert plain(stream.until("exec_detach")[-1]) == ("container exec_detach", own | {"execID": left})
    stream.close()


@pytest.mark.row("E-251", "E-252", "E-253", "E-254")
def test_images_volumes_and_networks_tell_of_themselves(api: RawApi) -> None:
    api.run("ev4", "sleep", "600", Labels={"l": "v"})
    stream = Stream(api)
    image = api.json("POST", "/commit?container=ev4&pause=0&repo=evimg&tag=1")["Id"]
    labels = {"l": "v"}
    assert [plain(stream.next()) for _ in range(2)] == [
        ("image create", labels | {"name": image}),
        ("image tag", labels | {"name": "evimg:1"}),
    ]
    what, said = plain(stream.next())
    assert (what, said["imageID"], said["imageRef"]) == ("container commit", image, "evimg:1")
    api.call("GET", "/images/evimg:1/get")
    assert plain(stream.next()) == ("image save", labels | {"name": image})
    api.call("DELETE", "/images/evimg:1")
    assert [event["Action"] for event in stream.until("delete")] == ["untag", "delete"]
    nothing = urllib.parse.quote('{"label":["no-such-label"]}')
    for kind, path in (("image", "images"), ("volume", "volumes"), ("network", "networks")):
        api.json("POST", f"/{path}/prune?filters={nothing}")
        event = stream.next()
        assert (event["Type"], event["Action"], event["Actor"]["Attributes"]) == (kind, "prune", {"reclaimed": "0"})
        assert "id" not in event
    api.json("POST", "/build/prune")
    assert plain(stream.next())[0] == "builder prune"
    network = api.json("POST", "/networks/create", {"Name": "evnet"})["Id"]
    assert plain(stream.next()) == ("network create", {"name": "evnet", "type": "bridge"})
    api.call("DELETE", f"/networks/{network}")
    assert plain(stream.next()) == ("network destroy", {"name": "evnet", "type": "bridge"})
    stream.close()


@pytest.mark.row("E-256")
def test_since_replays_and_until_ends_without_loss_or_doubling(api: RawApi) -> None:
    began = time.time_ns()
    for number in range(3):
        api.call("POST", "/volumes/create", json.dumps({"Name": f"seam{number}"}).encode())
    moment = f"{began // 10**9}.{began % 10**9:09d}"
    stream = Stream(api, f"since={moment}")
    assert [stream.next()["Actor"]["ID"] for _ in range(3)] == ["seam0", "seam1", "seam2"]
    api.call("DELETE", "/volumes/seam0")
    live = stream.next()
    assert (live["Action"], live["Actor"]["ID"]) == ("destroy", "seam0")
    stream.close()
    ended = Stream(api, f"since={moment}&until={live['timeNano'] // 10**9}.{live['timeNano'] % 10**9:09d}")
    assert [event["Actor"]["ID"] for event in ended.rest()] == ["seam0", "seam1", "seam2", "seam0"]
    past = Stream(api, f"since={moment}&until={moment}")
    assert past.rest() == []


FILTERS: list[tuple[dict[str, list[str]], Callable[[dict[str, Any]], bool]]] = [
    ({"type": ["volume"]}, lambda e: e["Type"] == "volume"),
    ({"type": ["volume", "network"]}, lambda e: e["Type"] in ("volume", "network")),
    ({"event": ["start", "die"]}, lambda e: e["Action"] in ("start", "die")),
    ({"event": ["exec_create"]}, lambda e: e["Action"].startswith("exec_create")),
    ({"container": ["ev5"]}, lambda e: e["Type"] == "container" and e["Actor"]["Attributes"]["name"] == "ev5"),
    ({"label": ["a=b"]}, lambda e: e["Actor"]["Attributes"].get("a") == "b"),
    ({"label": ["a"]}, lambda e: "a" in e["Actor"]["Attributes"]),
    ({"image": ["busybox"]}, lambda e: e["Actor"]["Attributes"].get("image") == "busybox"),
    ({"volume": ["evf"]}, lambda e: e["Type"] == "volume" and e["Actor"]["ID"] == "evf"),
    ({"network": ["none"]}, lambda e: e["Type"] == "network" and e["Actor"]["Attributes"]["name"] == "none"),
    ({"scope": ["local"]}, lambda _: True),
    ({"scope": ["swarm"]}, lambda _: False),
    ({"type": ["container"], "event": ["start"]}, lambda e: (e["Type"], e["Action"]) == ("container", "start")),
]


@pytest.mark.row("E-257")
def test_filters_choose_what_they_say(api: RawApi) -> None:
    began = time.time_ns()
    api.run("ev5", "sleep", "600", host={"Binds": ["evf:/x"]}, Labels={"a": "b"})
    api.hijack(f"/exec/{api.exec('ev5', 'true')}/start", body=b"{}")
    api.call("DELETE", "/containers/ev5?force=1")
    window = f"since={began // 10**9}.{began % 10**9:09d}&until={time.time():.9f}"
    everything = Stream(api, window).rest()
    assert len(everything) > 8
    for filters, wanted in FILTERS:
        found = Stream(api, f"{window}&filters={urllib.parse.quote(json.dumps(filters))}").rest()
        assert found == [event for event in everything if wanted(event)], filters
    status, text = api.call("GET", "/events?filters=" + urllib.parse.quote('{"nope":["x"]}'))
    assert (status, json.loads(text)["message"]) == (400, "invalid filter 'nope'")


@pytest.mark.parametrize(
    ("version", "accept", "kind", "old"),
    [
        ("1.51", "", "application/json", True),
        ("1.52", "", "application/json", False),
        ("1.52", "application/json-seq", "application/json-seq", False),
        ("1.52", "application/x-ndjson", "application/x-ndjson", False),
        ("1.55", "application/jsonl", "application/jsonl", False),
    ],
)
@pytest.mark.row("E-044", "E-293")
def test_the_streams_form_is_that_of_version_and_accept(
    api: RawApi, version: str, accept: str, kind: str, old: bool
) -> None:
    stream = Stream(api, "filters=" + urllib.parse.quote('{"container":["ev6"]}'), version, accept)
    assert stream.answer.getheader("Content-Type") == kind
    api.make("ev6", "true")
    event = stream.until("create")[-1]
    assert ({"status", "id", "from"} <= set(event)) is old
    stream.close()
