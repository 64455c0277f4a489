"""What older API versions had, as a table: create bodies in their meaning, answers in their form (moby docs/api/version-history.md)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from onggi.api.bodies import decode_body
from onggi.api.shapes_containers import adapt_create, inspect_at, list_at
from onggi.engine.config import CreateBody
from onggi.errors import InvalidArgument


def adapted(version: int, body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    decoded = decode_body(msgspec.json.encode(body), CreateBody)
    warnings = adapt_create(decoded, version)
    return json.loads(msgspec.json.encode(decoded)), warnings


READ_ONLY = {
    "HostConfig": {
        "Mounts": [
            {
                "Type": "bind",
                "Source": "/a",
                "Target": "/b",
                "ReadOnly": True,
                "BindOptions": {"CreateMountpoint": True},
            }
        ]
    }
}
BODIES = [
    ("E-287", 39, {}, ("HostConfig", "IpcMode"), "shareable"), ("E-287", 40, {}, ("HostConfig", "IpcMode"), ""),
    ("E-288", 40, {}, ("HostConfig", "CgroupnsMode"), "host"), ("E-288", 41, {}, ("HostConfig", "CgroupnsMode"), ""),
    ("E-289", 41, {"HostConfig": {"ConsoleSize": [3, 4]}}, ("HostConfig", "ConsoleSize"), [0, 0]),
    ("E-289", 42, {"HostConfig": {"ConsoleSize": [3, 4]}}, ("HostConfig", "ConsoleSize"), [3, 4]),
    ("E-289", 41, READ_ONLY, ("HostConfig", "Mounts", 0, "BindOptions"), {"ReadOnlyNonRecursive": True}),
    ("E-290", 43, READ_ONLY, ("HostConfig", "Mounts", 0, "BindOptions"), {"CreateMountpoint": True, "ReadOnlyNonRecursive": True}),
    ("E-290", 44, READ_ONLY, ("HostConfig", "Mounts", 0, "BindOptions"), {"CreateMountpoint": True}),
    ("E-290", 42, {"HostConfig": {"Annotations": {"a": "b"}}}, ("HostConfig", "Annotations"), None),
    ("E-290", 43, {"HostConfig": {"Annotations": {"a": "b"}}}, ("HostConfig", "Annotations"), {"a": "b"}),
    ("E-207", 43, {"Healthcheck": {"Test": ["CMD", "x"], "StartInterval": 5}}, ("Healthcheck",), {"Test": ["CMD", "x"]}),
    ("E-207", 44, {"Healthcheck": {"Test": ["CMD", "x"], "StartInterval": 5}}, ("Healthcheck",), {"Test": ["CMD", "x"], "StartInterval": 5}),
    ("E-209", 43, {"MacAddress": "02:00:00:00:00:01"}, ("NetworkingConfig", "EndpointsConfig", "bridge", "MacAddress"), "02:00:00:00:00:01"),
    ("E-293", 52, {"MacAddress": "02:00:00:00:00:01"}, ("NetworkingConfig",), None),
]  # fmt: skip


@pytest.mark.row("E-207", "E-209", "E-287", "E-288", "E-289", "E-290", "E-293")
@pytest.mark.parametrize(
    ("row", "version", "body", "path", "value"), BODIES, ids=[f"{b[0]}-1.{b[1]}-{b[3][-1]}" for b in BODIES]
)
def test_a_create_body_means_what_its_version_meant(
    row: str, version: int, body: dict[str, Any], path: tuple[Any, ...], value: object
) -> None:
    found: Any = adapted(version, body)[0]
    for step in path:
        found = found[step]
    assert found == value, row


@pytest.mark.row("E-290")
def test_several_networks_at_create_came_with_1_44_and_an_address_of_the_container_is_warned_of_since() -> None:
    two = {"NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}}
    with pytest.raises(InvalidArgument, match="Container cannot be created with multiple network endpoints: a, b"):
        adapted(43, two)
    assert adapted(44, two)[1] == []
    address = {"MacAddress": "02:00:00:00:00:01"}
    assert adapted(43, address)[1] == []
    assert adapted(44, address)[1] == [
        "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
    ]


def document() -> dict[str, Any]:
    return {
        "Id": "f" * 64,
        "Config": {"Healthcheck": {"Test": ["CMD", "x"], "StartInterval": 1}},
        "HostConfig": {"NetworkMode": "own", "Annotations": {"a": "b"}, "CgroupnsMode": "host", "DeviceRequests": [], "Mounts": [{"Type": "tmpfs", "TmpfsOptions": {"Options": [["exec"]]}}]},
        "NetworkSettings": {"Networks": {"own": {"Aliases": ["x"], "DNSNames": ["x"], "GwPriority": 0, "IPAddress": "192.0.2.2"}}},
        "ImageManifestDescriptor": {},
    }  # fmt: skip


ANSWERS = [
    ("E-291", 44, ("NetworkSettings", "Networks", "own", "Aliases"), ["x", "f" * 12]), ("E-291", 45, ("NetworkSettings", "Networks", "own", "Aliases"), ["x"]),
    ("E-291", 45, ("HostConfig", "Mounts", 0, "TmpfsOptions"), {}), ("E-291", 46, ("HostConfig", "Mounts", 0, "TmpfsOptions"), {"Options": [["exec"]]}),
    ("E-292", 47, ("ImageManifestDescriptor",), None), ("E-292", 48, ("ImageManifestDescriptor",), {}),
    ("E-292", 47, ("NetworkSettings", "Networks", "own", "GwPriority"), None), ("E-292", 48, ("NetworkSettings", "Networks", "own", "GwPriority"), 0),
    ("E-290", 43, ("NetworkSettings", "Networks", "own", "DNSNames"), None), ("E-290", 44, ("NetworkSettings", "Networks", "own", "DNSNames"), ["x"]),
    ("E-293", 51, ("NetworkSettings", "IPAddress"), ""), ("E-293", 52, ("NetworkSettings", "IPAddress"), None),
]  # fmt: skip


@pytest.mark.row("E-003", "E-290", "E-291", "E-292", "E-293")
@pytest.mark.parametrize(
    ("row", "version", "path", "value"), ANSWERS, ids=[f"{a[0]}-1.{a[1]}-{a[2][-1]}" for a in ANSWERS]
)
def test_inspect_has_the_form_of_its_version(row: str, version: int, path: tuple[Any, ...], value: object) -> None:
    found: Any = json.loads(inspect_at(msgspec.json.encode(document()), version))
    for step in path:
        found = found.get(step) if isinstance(found, dict) else found[step]
    assert found == value, row


@pytest.mark.row("E-001", "E-291", "E-293")
@pytest.mark.parametrize(
    ("version", "gone"),
    [
        (45, {"Health", "Annotations", "ImageManifestDescriptor"}),
        (47, {"Health", "ImageManifestDescriptor"}),
        (48, {"Health"}),
        (52, set()),
    ],
)
def test_a_list_has_the_fields_of_its_version(version: int, gone: set[str]) -> None:
    entry: dict[str, Any] = {
        "Health": {},
        "ImageManifestDescriptor": {},
        "HostConfig": {"Annotations": {}},
        "NetworkSettings": {"Networks": {}},
    }
    found = list_at([entry], version)[0]
    there = {"Health", "ImageManifestDescriptor"} & found.keys() | ({"Annotations"} & found["HostConfig"].keys())
    assert there == {"Health", "ImageManifestDescriptor", "Annotations"} - gone
