"""What a client is told when something can't be run: status and words are those that dockerd 28.5 gave to the same requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from onggi.runtime.steps import FILE_FOR_DIRECTORY
from tests.clients.daemon import Daemon, running
from tests.clients.rawapi import RawApi

EXEC = "OCI runtime exec failed: exec failed: "
PROCESS = f"{EXEC}unable to start container process: "


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture(scope="module")
def api(daemon: Daemon) -> RawApi:
    found = RawApi(daemon.socket)
    found.run("up", "sleep", "600")
    found.run("terminal", "sleep", "600", Tty=True)
    return found


def message(text: str) -> str:
    return str(json.loads(text)["message"])


NO_EXEC: list[tuple[dict[str, Any], int, str]] = [
    ({"Cmd": []}, 400, "No exec command specified"),
    ({"User": "nope"}, 400, "unable to find user nope: no matching entries in passwd file"),
    ({"User": "1:nope"}, 400, "unable to find group nope: no matching entries in group file"),
    ({"User": "-1"}, 400, "uids and gids must be in range 0-2147483647"),
    ({"User": "99999999999"}, 400, "uids and gids must be in range 0-2147483647"),
    ({"DetachKeys": "nope"}, 400, "Invalid escape keys (nope) provided"),
]


@pytest.mark.row("E-049", "E-202")
@pytest.mark.parametrize(("words", "status", "text"), NO_EXEC)
def test_an_exec_that_can_not_be_is_refused_when_it_is_created(
    api: RawApi, words: dict[str, Any], status: int, text: str
) -> None:
    answer = api.call("POST", "/containers/up/exec", {"Cmd": ["true"], **words})
    assert (answer[0], message(answer[1])) == (status, text)


FAILING: list[tuple[dict[str, Any], int, str, int]] = [
    ({"Cmd": ["nope"]}, 400, f'{PROCESS}exec: "nope": executable file not found in $PATH', 127),
    ({"Cmd": [""]}, 400, f'{PROCESS}exec: "": executable file not found in $PATH', 127),
    ({"Cmd": ["./nope"]}, 400, f'{PROCESS}exec: "./nope": stat ./nope: no such file or directory', 127),
    ({"Cmd": ["/etc"]}, 400, f'{PROCESS}exec: "/etc": is a directory: permission denied', 126),
    ({"Cmd": ["/etc/passwd"]}, 400, f'{PROCESS}exec: "/etc/passwd": permission denied', 126),
    ({"WorkingDir": "/nope"}, 400, f'{PROCESS}chdir to cwd ("/nope") set in config.json failed: no such file or directory', 127),
    ({"WorkingDir": "/etc/passwd"}, 400, f'{PROCESS}chdir to cwd ("/etc/passwd") set in config.json failed: not a directory: {FILE_FOR_DIRECTORY}', 127),
    ({"WorkingDir": "etc"}, 500, f"{EXEC}Cwd must be an absolute path", 128),
    ({"Env": ["=x"]}, 500, f"{PROCESS}invalid environment variable: name cannot be empty", 128),
]  # fmt: skip


@pytest.mark.row("E-261", "E-268", "E-050")
@pytest.mark.parametrize(("words", "status", "text", "code"), FAILING)
def test_an_exec_that_fails_says_why_by_a_status_or_in_its_stream(
    api: RawApi, words: dict[str, Any], status: int, text: str, code: int
) -> None:
    wanted = {"Cmd": ["true"], "AttachStdout": True, **words}
    detached = api.json("POST", "/containers/up/exec", wanted)["Id"]
    answer = api.call("POST", f"/exec/{detached}/start", {"Detach": True})
    assert (answer[0], message(answer[1])) == (status, text)
    attached = api.json("POST", "/containers/up/exec", wanted)["Id"]
    answer = api.call("POST", f"/exec/{attached}/start", {"Tty": True})
    assert answer == (200, f"{text}\r\n")
    for identifier in (detached, attached):
        assert api.json("GET", f"/exec/{identifier}/json")["ExitCode"] == code


@pytest.mark.row("E-009", "E-204")
def test_a_size_is_cut_to_what_a_terminal_can_have(api: RawApi) -> None:
    for name, query, status in (
        ("up", "h=24&w=80", 200), ("up", "h=0&w=0", 200), ("terminal", "h=99999&w=70000", 200),
        ("terminal", "h=-1&w=3", 400), ("terminal", "h=4294967296&w=1", 400),
    ):  # fmt: skip
        assert api.call("POST", f"/containers/{name}/resize?{query}")[0] == status, query
    # Busybox's stty takes more than 30000 rows for none, and none for 24.
    for size, shown in (([99999, 70000], "24 4464"), ([5, 6, 7], "5 6")):
        wanted = {"Cmd": ["stty", "size"], "Tty": True, "AttachStdout": True, "ConsoleSize": size}
        identifier = api.json("POST", "/containers/up/exec", wanted)["Id"]
        assert api.call("POST", f"/exec/{identifier}/start", {"Tty": True}) == (200, f"{shown}\r\n")
    assert api.call("POST", "/containers/up/exec", {"Cmd": ["true"], "ConsoleSize": [-1, 2]})[0] == 400


@pytest.mark.row("E-219")
def test_networks_and_addresses_that_can_not_be_are_the_clients_mistake(api: RawApi) -> None:
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "x"}]}}}
    assert api.call("POST", "/containers/create", body) == (400, '{"message":"invalid IP address: x"}\n')
    body = {"Image": "busybox", "Cmd": ["true"], "NetworkingConfig": {"EndpointsConfig": {"bridge": {}, "host": {}}}}
    made = api.json("POST", "/containers/create?name=both", body)["Id"]
    status, text = api.call("POST", f"/containers/{made}/start")
    assert (status, "container must be created in host network mode" in text) == (400, True)
    assert api.json("GET", f"/containers/{made}/json")["State"]["Status"] == "created"
