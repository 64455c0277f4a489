"""Queries, times, bodies, detach keys, credentials: what a request says in words."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest

from onggi.api.auth import RegistryAuth, decode_auth
from onggi.api.bodies import decode_body
from onggi.api.detachkeys import DetachScanner, keys_of_attach, keys_of_exec, parse_keys
from onggi.api.query import Query
from onggi.api.shapes_containers import adapt_create, inspect_at
from onggi.api.shapes_images import reference_matches
from onggi.api.times import parse_duration, parse_moment, rfc3339_nano
from onggi.engine.config import CreateBody
from onggi.errors import InvalidArgument

NOW = 1_700_000_000_000_000_000


@pytest.mark.row("E-230")
@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("", False),
        ("a=", False),
        ("a=0", False),
        ("a=no", False),
        ("a=False", False),
        ("a=none", False),
        ("a=1", True),
        ("a=true", True),
        ("a=yes", True),
        ("a=whatever", True),
    ],
)
def test_booleans_are_false_when_absent_empty_or_named_so(raw: str, value: bool) -> None:
    assert Query(raw).flag("a") is value


@pytest.mark.row("E-229")
def test_filters_take_lists_and_the_older_map_of_maps() -> None:
    allowed = frozenset({"label", "name"})
    for form in ('{"label":["a=b","c"]}', '{"label":{"a=b":true,"c":true}}'):
        assert Query(f"filters={form}").filters(allowed) == {"label": ["a=b", "c"]}
    assert Query("filters=").filters(allowed) == {}


@pytest.mark.row("E-229")
@pytest.mark.parametrize("form", ['{"x":["1"]}', '["label"]', "{", '{"label":"a"}', '{"label":[1]}'])
def test_filters_that_are_none_are_refused(form: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid filter"):
        Query(f"filters={form}").filters(frozenset({"label"}))


@pytest.mark.row("E-232")
@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1700000000", NOW),
        ("1700000000.5", NOW + 500_000_000),
        ("1700000000.000000001", NOW + 1),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T22:13:20.25Z", NOW + 250_000_000),
        ("2023-11-14T23:13:20+01:00", NOW),
        ("2023-11-14T22:13", NOW - 20_000_000_000),
        ("2023-11-14", NOW - (22 * 3600 + 13 * 60 + 20) * 1_000_000_000),
        ("10m", NOW - 600_000_000_000),
        ("1h30m", NOW - 5_400_000_000_000),
        ("1.5s", NOW - 1_500_000_000),
    ],
)
def test_times_are_unix_dates_or_durations_back(text: str, ns: int) -> None:
    assert parse_moment(text, NOW) == ns


@pytest.mark.parametrize("text", ["yesterday", "2023-13-01", "1x", "10", "-"])
def test_what_is_no_duration_is_none(text: str) -> None:
    assert parse_duration(text) is None


def test_what_is_no_time_is_refused() -> None:
    for text in ("soon", "2023-02-31", "1" * 100):
        with pytest.raises(InvalidArgument):
            parse_moment(text, NOW)


def test_times_are_written_as_go_writes_them() -> None:
    assert rfc3339_nano(NOW) == "2023-11-14T22:13:20Z"
    assert rfc3339_nano(NOW + 120_000_000) == "2023-11-14T22:13:20.12Z"


@pytest.mark.row("E-231")
def test_null_leaves_a_field_at_its_default() -> None:
    body = decode_body(
        b'{"Image":"a","Env":null,"Hostname":null,"Labels":null,"HostConfig":{"Memory":null,"Init":null,"PidsLimit":5},'
        b'"ExposedPorts":{"80/tcp":null}}',
        CreateBody,
    )
    assert (body.image, body.hostname, body.env, body.labels) == ("a", "", None, None)
    assert body.host_config is not None
    assert (body.host_config.memory, body.host_config.init, body.host_config.pids_limit) == (0, None, 5)
    assert body.exposed_ports == {"80/tcp": {}}


@pytest.mark.row("E-205")
def test_a_command_may_be_text() -> None:
    assert decode_body(b'{"Cmd":"date"}', CreateBody).cmd == "date"
    assert decode_body(b'{"cmd":["date"]}', CreateBody).cmd == ["date"]


def test_names_fold_in_parts_of_parts_but_not_in_maps() -> None:
    body = decode_body(
        b'{"labels":{"MixedCase":"x"},"hostconfig":{"PORTBINDINGS":{"80/tcp":[{"hostport":"8080"}]},"mounts":[{"TYPE":"bind"}]}}',
        CreateBody,
    )
    assert body.labels == {"MixedCase": "x"}
    assert body.host_config is not None
    assert body.host_config.port_bindings is not None
    assert body.host_config.port_bindings["80/tcp"][0].host_port == "8080"  # type: ignore[index]
    assert body.host_config.mounts is not None
    assert body.host_config.mounts[0].type == "bind"


@pytest.mark.parametrize(
    "data", [b'{"Env":"a"}', b'{"Tty":1}', b"[]", b'{"HostConfig":[]}', b"\xff", b'{"A":' * 100000]
)
def test_wrong_types_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="invalid JSON"):
        decode_body(data, CreateBody)


@pytest.mark.row("E-240")
def test_detach_keys_are_parsed_as_docker_does() -> None:
    assert parse_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert parse_keys("a,ctrl-@,ctrl-[,ctrl-_") == b"a\x00\x1b\x1f"
    with pytest.raises(InvalidArgument, match=r"Invalid detach keys \(ctrl-1\)"):
        keys_of_attach("ctrl-1")
    with pytest.raises(InvalidArgument, match=r"Invalid escape keys \(xx\)"):
        keys_of_exec("xx")


@pytest.mark.row("E-240")
def test_a_first_key_alone_is_held_then_passed_on() -> None:
    scanner = DetachScanner(b"\x10\x11")
    assert scanner.feed(b"ab\x10") == b"ab"
    assert scanner.feed(b"c") == b"\x10c"
    assert scanner.feed(b"\x10\x10") == b"\x10"
    assert not scanner.found
    assert scanner.feed(b"\x11tail") == b""
    assert scanner.found


@pytest.mark.row("I-117")
@pytest.mark.row("E-235")
@pytest.mark.parametrize("encode", [base64.urlsafe_b64encode, base64.b64encode])
@pytest.mark.parametrize("padded", [True, False])
def test_credentials_come_in_either_alphabet_padded_or_not(encode: object, padded: bool) -> None:
    data = json.dumps({"username": "a??>>", "password": "sécret~~", "serveraddress": "r:5000"}).encode()
    header = encode(data).decode()  # type: ignore[operator]
    auth = decode_auth(header if padded else header.rstrip("="))
    assert auth is not None
    assert (auth.username, auth.password) == ("a??>>", "sécret~~")
    assert decode_auth("") is None
    assert decode_auth(base64.urlsafe_b64encode(b"{}").decode()) is None


@pytest.mark.row("I-131")
@pytest.mark.row("D-06")
def test_credentials_are_never_printed() -> None:
    assert "hush" not in repr(RegistryAuth(username="me", password="hush", identitytoken="hush"))
    with pytest.raises(InvalidArgument) as caught:
        decode_auth(base64.b64encode(b'{"password": ["hush"]}').decode())
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.row("E-003")
@pytest.mark.row("E-293")
def test_inspect_of_old_versions_has_the_flat_address_and_new_ones_do_not() -> None:
    endpoint = {"IPAddress": "172.17.0.2", "Gateway": "172.17.0.1", "MacAddress": "02:42:ac:11:00:02", "IPPrefixLen": 16,
                "Aliases": None, "DNSNames": None, "GwPriority": 0}  # fmt: skip
    newest = msgspec.json.encode(
        {"Id": "c" * 64, "Config": {"Image": "a"}, "HostConfig": {"NetworkMode": "bridge", "Annotations": {"a": "b"}},
         "NetworkSettings": {"Networks": {"bridge": endpoint}}}
    )  # fmt: skip
    assert inspect_at(newest, 55) is newest
    old = json.loads(inspect_at(newest, 42))
    assert old["NetworkSettings"]["IPAddress"] == "172.17.0.2"
    assert old["NetworkSettings"]["MacAddress"] == "02:42:ac:11:00:02"
    assert old["NetworkSettings"]["IPPrefixLen"] == 16
    assert "DNSNames" not in old["NetworkSettings"]["Networks"]["bridge"]
    assert "Annotations" not in old["HostConfig"]
    assert "OnBuild" in old["Config"]
    # One that was made from the IPv4 address wasn't asked for.
    assert "MacAddress" not in old["Config"]
    asked = json.loads(inspect_at(newest.replace(b"02:42:ac:11:00:02", b"02:42:ac:11:00:99"), 51))
    assert list(asked["Config"].items())[-2:] == [("MacAddress", "02:42:ac:11:00:99"), ("OnBuild", None)]


@pytest.mark.row("E-220")
@pytest.mark.row("E-209")
def test_older_create_bodies_get_todays_meaning() -> None:
    body = decode_body(b'{"Image":"a","MacAddress":"02:00:00:00:00:01"}', CreateBody)
    adapt_create(body, 39)
    assert body.host_config is not None
    assert (body.host_config.ipc_mode, body.host_config.cgroupns_mode) == ("shareable", "host")
    assert body.networking_config is not None
    assert body.networking_config.endpoints_config["bridge"].mac_address == "02:00:00:00:00:01"  # type: ignore[union-attr]
    two = decode_body(b'{"NetworkingConfig":{"EndpointsConfig":{"a":{},"b":null}}}', CreateBody)
    with pytest.raises(InvalidArgument, match="multiple network endpoints"):
        adapt_create(two, 43)
    adapt_create(two, 44)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("busybox", "busybox:latest", True),
        ("busy*", "busybox:latest", True),
        ("busybox:*", "busybox:1", True),
        ("*:latest", "busybox:latest", True),
        ("*", "a/b:latest", False),
        ("*/*", "a/b:latest", True),
        ("host:5000/a", "host:5000/a:1", True),
        ("box", "busybox:latest", False),
        ("busy[a-c]ox", "busybox:1", True),
    ],
)
def test_reference_filters_are_globs_on_name_or_repository(pattern: str, name: str, matches: bool) -> None:
    assert reference_matches(pattern, name) is matches
