"""Lists, looks and prunes of images, volumes and networks, and what older versions of the API are told: statuses and shapes.

Beside each answer dockerd 28.5 gave the same one to the same request, but where docs/differences.toml says otherwise.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
import tarfile
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.daemon import Daemon, running
from tests.clients.rawapi import RawApi
from tests.engine.engines import busybox_tar


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture(scope="module")
def api(daemon: Daemon) -> RawApi:
    """Images `busybox`, `deep/er/name:1` and one without a name; volumes va, vb; networks na (used) and nb."""
    found = RawApi(daemon.socket)
    found.make("base", "true")
    for query in ("repo=deep/er/name&tag=1", "repo=loose", "repo=loose"):
        change = urllib.parse.quote(f"LABEL at={query[-4:]}\nENV N={len(found.json('GET', '/images/json'))}")
        found.json("POST", f"/commit?container=base&{query}&changes={change}")
    for name, labels in (("va", {"a": "1"}), ("vb", {"a": "2", "b": ""})):
        found.json("POST", "/volumes/create", {"Name": name, "Labels": labels})
        network = {"Name": f"n{name[1]}", "Labels": labels, "Options": {}}
        found.json("POST", "/networks/create", network)
    found.run("user", "sleep", "600", host={"NetworkMode": "na", "Binds": ["va:/v"]})
    return found


def ask(api: RawApi, path: str, version: str = "1.51", **filters: Any) -> tuple[int, Any]:
    query = urllib.parse.quote(json.dumps({name.replace("_", "!"): value for name, value in filters.items()}))
    status, text = api.call("GET", f"{path}{'&' if '?' in path else '?'}filters={query}", version=version)
    return status, json.loads(text)


IMAGES: list[tuple[dict[str, Any], int | set[str]]] = [
    ({"reference": ["busybox"]}, {"busybox:latest"}),
    ({"reference": ["deep/er/*"]}, {"deep/er/name:1"}),
    ({"reference": ["*"]}, {"busybox:latest", "loose:latest"}),
    ({"dangling": ["false"]}, {"busybox:latest", "deep/er/name:1", "loose:latest"}),
    ({"dangling": ["true"]}, {""}),
    ({"dangling": ["true", "false"]}, 400),
    ({"dangling": ["x"]}, 400),
    ({"label": ["at"]}, {"deep/er/name:1", "loose:latest", ""}),
    ({"label": ["at=ag=1"]}, {"deep/er/name:1"}),
    ({"label_": ["at"]}, {"busybox:latest"}),
    ({"since": ["busybox"]}, {"deep/er/name:1", "loose:latest", ""}),
    ({"before": ["deep/er/name:1"]}, {"busybox:latest"}),
    ({"before": ["nope"]}, 404),
    ({"until": ["1h"]}, set()),
    ({"until": ["2100-01-01"], "reference": ["busybox"]}, {"busybox:latest"}),
    ({"until": ["x"]}, 400),
    ({"nope": ["x"]}, 400),
]


@pytest.mark.row("E-026", "E-313")
@pytest.mark.parametrize(("filters", "expected"), IMAGES, ids=[str(case[0]) for case in IMAGES])
def test_a_list_of_images_has_those_that_its_filters_choose(
    api: RawApi, filters: dict[str, Any], expected: int | set[str]
) -> None:
    status, found = ask(api, "/images/json", **filters)
    if isinstance(expected, int):
        assert status == expected, found
        return
    assert {name for image in found for name in image["RepoTags"] or [""]} == expected


@pytest.mark.row("E-026")
def test_an_entry_of_the_list_is_as_its_version_has_it(api: RawApi) -> None:
    for version, shown in (("1.24", ["<none>:<none>"]), ("1.42", ["<none>:<none>"]), ("1.43", []), ("1.51", [])):
        found = ask(api, "/images/json", version, dangling=["true"])[1]
        assert [image["RepoTags"] for image in found] == [shown], version
        assert ("VirtualSize" in found[0]) == (version < "1.44")
        assert found[0]["SharedSize"] == -1
        used = ask(api, "/images/json", version, reference=["busybox"])[1][0]["Containers"]
        assert used == (2 if version == "1.51" else -1)
    size = ask(api, "/images/json?shared-size=1", reference=["busybox"])[1][0]
    assert size["SharedSize"] == size["Size"], "the other images have its layer too"
    # Until 1.40 a name could be asked for without a filter; from 1.41 on the word means nothing.
    assert len(json.loads(api.call("GET", "/images/json?filter=busybox", version="1.40")[1])) == 1
    assert len(json.loads(api.call("GET", "/images/json?filter=busybox", version="1.41")[1])) == 4


@pytest.mark.row("E-030", "E-031")
def test_an_image_is_looked_at_by_any_of_its_names(api: RawApi) -> None:
    wanted = api.json("GET", "/images/deep/er/name:1/json")["Id"]
    for name in ("deep%2Fer%2Fname:1", "docker.io/deep/er/name:1", wanted, wanted[7:19]):
        assert api.json("GET", f"/images/{name}/json")["Id"] == wanted
    for version, there in (
        ("1.24", {"Container", "ContainerConfig", "VirtualSize"}), ("1.43", {"Container", "ContainerConfig", "VirtualSize"}),
        ("1.44", {"Container", "ContainerConfig"}), ("1.45", set()), ("1.51", set()),
    ):  # fmt: skip
        document = json.loads(api.call("GET", "/images/deep/er/name:1/json", version=version)[1])
        assert {"Container", "ContainerConfig", "VirtualSize"} & set(document) == there, version
    here = urllib.parse.quote('{"os":"linux","architecture":"amd64"}')
    for query, status, part in (
        (f"platform={here}", 200, wanted),
        ("platform=x", 400, "failed to parse platform"),
        ("platform=%7B%22os%22:%22linux%22%7D", 400, "both OS and Architecture must be provided"),
        (f"platform={here.replace('amd64', 's390x')}", 404, "does not match the specified platform (linux/s390x)"),
        (f"manifests=1&platform={here}", 400, "conflicting options"),
    ):
        answer = api.call("GET", f"/images/deep/er/name:1/json?{query}")
        assert (answer[0], part in answer[1]) == (status, True), answer
    assert api.call("GET", "/images/busybox/attestations", version="1.54")[0] in (404, 405)
    assert api.call("GET", "/images/nope/attestations", version="1.55")[0] == 404
    assert api.call("GET", "/images/busybox/attestations", version="1.55")[0] == 501


VOLUMES: list[tuple[dict[str, Any], int | set[str]]] = [
    ({"dangling": ["true"]}, {"vb"}),
    ({"dangling": ["0"]}, {"va"}),
    ({"dangling": ["true", "false"]}, 400),
    ({"driver": ["local"]}, {"va", "vb"}),
    ({"driver": ["nope"]}, set()),
    ({"label": ["a=1"]}, {"va"}),
    ({"label": ["a", "b"]}, {"vb"}),
    ({"name": ["v"]}, {"va", "vb"}),
    ({"name": ["^.b$"]}, {"vb"}),
    ({"nope": ["x"]}, 400),
]
NETWORKS: list[tuple[dict[str, Any], int | set[str]]] = [
    ({}, {"bridge", "host", "none", "na", "nb"}),
    ({"dangling": ["true"]}, {"nb"}),
    ({"dangling": ["x"]}, 400),
    ({"driver": ["null"]}, {"none"}),
    ({"label": ["a=2"]}, {"nb"}),
    ({"name": ["^n"]}, {"none", "na", "nb"}),
    ({"scope": ["local"]}, {"bridge", "host", "none", "na", "nb"}),
    ({"scope": ["swarm"]}, set()),
    ({"type": ["builtin"]}, {"bridge", "host", "none"}),
    ({"type": ["custom"]}, {"na", "nb"}),
    ({"type": ["x"]}, 400),
    ({"nope": ["x"]}, 400),
]


@pytest.mark.row("E-055", "E-059", "E-314")
@pytest.mark.parametrize(
    ("path", "filters", "expected"),
    [("/volumes", *case) for case in VOLUMES] + [("/networks", *case) for case in NETWORKS],
    ids=str,
)
def test_a_list_of_volumes_or_networks_has_those_that_its_filters_choose(
    api: RawApi, path: str, filters: dict[str, Any], expected: int | set[str]
) -> None:
    status, found = ask(api, path, **filters)
    if isinstance(expected, int):
        assert status == expected, found
        return
    entries = found["Volumes"] if path == "/volumes" else found
    assert {entry["Name"] for entry in entries} == expected


@pytest.mark.row("E-055")
def test_a_volume_is_looked_at_by_its_name(api: RawApi) -> None:
    document = api.json("GET", "/volumes/vb")
    assert {
        "Name": "vb",
        "Driver": "local",
        "Labels": {"a": "2", "b": ""},
        "Options": None,
        "Scope": "local",
    }.items() <= document.items()
    assert document["Mountpoint"].endswith("/volumes/vb/_data")
    assert api.call("GET", "/volumes/nope") == (404, '{"message":"get nope: no such volume"}\n')


@pytest.mark.row("E-059", "E-060", "E-285")
def test_who_is_in_a_network_is_told_by_a_look_at_it_alone(api: RawApi) -> None:
    for version in ("1.24", "1.27", "1.28", "1.51"):
        for path in ("/networks", "/networks/"):
            listed = {one["Name"]: one for one in json.loads(api.call("GET", path, version=version)[1])}
            assert listed["na"].get("Containers", {}) == {}, version
    identifier = listed["na"]["Id"]
    for name in ("na", identifier, identifier[:12]):
        document = api.json("GET", f"/networks/{name}?verbose=1&scope=local")
        (container,) = document["Containers"].items()
        assert container[0] == api.json("GET", "/containers/user/json")["Id"]
        assert container[1]["Name"] == "user"
        assert container[1]["IPv4Address"].endswith("/24")
        assert set(container[1]) == {"Name", "EndpointID", "MacAddress", "IPv4Address", "IPv6Address"}
    subnets = json.loads(api.call("GET", "/networks/na", version="1.52")[1])["Status"]["IPAM"]["Subnets"]
    # Its gateway, its one container, and the two addresses that no host can have.
    assert list(subnets.values()) == [{"IPsInUse": 4, "DynamicIPsAvailable": 252}]
    assert "Status" not in json.loads(api.call("GET", "/networks/na", version="1.51")[1])
    for query, status in (("scope=swarm", 404), ("scope=local", 200)):
        assert api.call("GET", f"/networks/na?{query}")[0] == status
    # An id goes before another network's name.
    made = api.json("POST", "/networks/create", {"Name": identifier})["Id"]
    assert api.json("GET", f"/networks/{identifier}")["Name"] == "na"
    assert api.call("DELETE", f"/networks/{made}")[0] == 204


@pytest.mark.row("E-061", "E-065", "E-266")
def test_a_network_that_is_used_or_always_there_stays(api: RawApi) -> None:
    for name in ("bridge", "host", "none"):
        answer = api.call("DELETE", f"/networks/{name}")
        assert answer == (403, f'{{"message":"{name} is a pre-defined network and cannot be removed"}}\n')
    status, text = api.call("DELETE", "/networks/na")
    assert (status, "has active endpoints" in text) == (403, True)
    assert api.call("DELETE", "/networks/nope") == (404, '{"message":"network nope not found"}\n')
    api.json("POST", "/networks/create", {"Name": "spare", "Labels": {"go": ""}})
    for query, expected in (
        ('{"label":["never"]}', None), ('{"until":["1h"]}', None), ('{"label":["go"]}', ["spare"]), ('{"label!":["a"]}', None),
    ):  # fmt: skip
        assert api.json("POST", f"/networks/prune?filters={urllib.parse.quote(query)}") == {"NetworksDeleted": expected}
    assert api.call("POST", "/networks/prune?filters=%7B%22driver%22:%5B%22x%22%5D%7D")[0] == 400


@pytest.mark.row("E-112", "E-315")
def test_what_is_never_there_is_an_empty_list_with_filters_that_are_checked(api: RawApi) -> None:
    assert api.json("GET", "/containers/user/checkpoints") == []
    assert api.call("GET", "/containers/nope/checkpoints")[0] == 404
    assert api.call("POST", "/containers/base/start?checkpoint=x")[0] == 400
    assert api.call("POST", "/containers/base/start?checkpoint-dir=/x")[0] == 403
    for filters, status in (({"capability": ["volumedriver"], "enabled": ["true"]}, 200), ({"nope": ["x"]}, 400)):
        assert ask(api, "/plugins", **filters)[0] == status
    for name in ("until", "id", "parent", "type", "description", "inuse", "shared", "private", "nope"):
        query = urllib.parse.quote(json.dumps({name: ["1h" if name == "until" else "nothing-of-that-name"]}))
        status, text = api.call("POST", f"/build/prune?filters={query}")
        assert status == (400 if name == "nope" else 200), text


@pytest.mark.row("E-058", "E-314")
def test_a_prune_of_volumes_takes_what_has_no_name_unless_all_is_asked_for(api: RawApi) -> None:
    api.json("POST", "/volumes/create", {"Name": "kept"})
    empty = {"VolumesDeleted": [], "SpaceReclaimed": 0}
    for version, query, status, expected in (
        ("1.51", '{"all":["x"]}', 400, None),
        ("1.51", "{}", 200, empty),
        ("1.51", '{"all":["true"],"label":["never"]}', 200, empty),
        ("1.51", '{"all":["true"],"label!":["a"]}', 200, {"VolumesDeleted": ["kept"], "SpaceReclaimed": 0}),
        ("1.41", '{"label":["never"]}', 200, empty),
    ):
        answer = api.call("POST", f"/volumes/prune?filters={urllib.parse.quote(query)}", version=version)
        assert answer[0] == status, answer
        assert expected is None or json.loads(answer[1]) == expected, query


@pytest.mark.row("E-284", "E-285")
def test_the_oldest_versions_are_answered_as_they_were(api: RawApi) -> None:
    assert api.call("GET", "/version", version="1.23")[0] == 400
    for version in ("1.24", "1.30"):
        body = {"Binds": ["/tmp:/x"]}
        assert api.call("POST", "/containers/base/start", body, version=version)[0] == 400
    assert json.loads(api.call("GET", "/version", version="1.24")[1])["MinAPIVersion"] == "1.24"
    stats = json.loads(api.call("GET", "/containers/user/stats?stream=0", version="1.27")[1])
    assert stats["cpu_stats"]["online_cpus"] >= 1
    for filters, expected in (({"health": ["none"]}, 2), ({"publish": ["80"]}, 0), ({"expose": ["80"]}, 0)):
        found = ask(api, "/containers/json?all=1", "1.28", **filters)[1]
        assert len(found) == expected, filters
    made = api.make(
        "old",
        "true",
        host={"AutoRemove": True},
        StopTimeout=7,
        Healthcheck={"Test": ["CMD", "true"], "StartPeriod": 2_000_000},
    )
    config = json.loads(api.call("GET", f"/containers/{made}/json", version="1.29")[1])["Config"]
    assert (config["StopTimeout"], config["Healthcheck"]["StartPeriod"]) == (7, 2_000_000)
    api.start("old")
    answer = json.loads(api.call("POST", f"/containers/{made}/wait?condition=removed", version="1.30")[1])
    assert answer["StatusCode"] == 0
    assert api.call("GET", f"/containers/{made}/json")[0] == 404
    assert json.loads(api.call("GET", "/volumes/va", version="1.31")[1])["CreatedAt"]
    assert api.call("GET", "/networks/na?scope=swarm", version="1.31")[0] == 404


@pytest.mark.row("E-244", "E-245")
def test_progress_is_a_json_object_a_line_and_an_error_after_the_head_is_its_last(api: RawApi, daemon: Daemon) -> None:
    for path, body, told in (
        ("/images/create?fromSrc=-&repo=again", busybox_tar(), r'{"status":"sha256:[0-9a-f]{64}"}'),
        ("/build", context("FROM busybox\nRUN exit 3\n"), r'(?s).*\r\n{"errorDetail":{"code":3,"message":"[^"]+"},"error":"[^"]+"}'),
    ):  # fmt: skip
        head, text = post(daemon, path, body)
        assert head.startswith("HTTP/1.1 200 ")
        assert {"content-type: application/json", "transfer-encoding: chunked"} <= set(head.lower().split("\r\n"))
        assert re.fullmatch(rf"{told}\r\n", text), text
    built = post(daemon, "/build", context("FROM busybox\nRUN echo said\n"))[1]
    lines = [json.loads(line) for line in built.removesuffix("\r\n").split("\r\n")]
    assert {"stream": "said\n"} in lines
    (aux,) = [line["aux"]["ID"] for line in lines if "aux" in line]
    assert aux.startswith("sha256:")


def post(daemon: Daemon, path: str, body: bytes) -> tuple[str, str]:
    """Head and text of an answer, its chunks put together."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.connect(str(daemon.socket))
        words = f"POST /v1.51{path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/x-tar\r\n"
        sock.sendall(f"{words}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        said = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    head, _, chunks = said.partition("\r\n\r\n")
    text = ""
    while chunks and (size := int(chunks.partition("\r\n")[0], 16)):
        rest = chunks.partition("\r\n")[2]
        text, chunks = text + rest[:size], rest[size + 2 :]
    return head, text


def context(dockerfile: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        tar.addfile(entry, io.BytesIO(dockerfile.encode()))
    return packed.getvalue()
