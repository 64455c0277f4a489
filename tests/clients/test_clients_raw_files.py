"""Archives of containers that run and that don't: each expectation is what dockerd 28 answered to the same request."""

from __future__ import annotations

import base64
import gzip
import http.client
import io
import json
import lzma
import socket
import tarfile
import urllib.parse
from collections.abc import Callable, Iterator

import pytest

from tests.clients.daemon import Daemon, running
from tests.clients.rawapi import RawApi

DIRECTORY, LINK, FIFO, SETUID, STICKY = 1 << 31, 1 << 27, 1 << 25, 1 << 23, 1 << 20
SETUP = """mkdir -p /d/sub /e; echo a >/d/a; echo b >/d/sub/b; ln -s /d /ld; ln -s a /d/la; ln -s /nowhere /dang
ln -s ../../../../etc/passwd /d/up; echo f >/f; ln -s /f /lf; ln -s loop /loop; chmod 4755 /f; mkdir /s; chmod 1777 /s
ln -s /vol /lvol; echo v >/vol/v; ln -s sub /d/ls; nc -l -p 9 -e true & echo ready; sleep 600"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture(scope="module", params=["running", "stopped"])
def api(request: pytest.FixtureRequest, daemon: Daemon) -> RawApi:
    found = RawApi(daemon.socket)
    found.run("files", "sh", "-c", SETUP, host={"Binds": ["filesvol:/vol", "/usr:/rb:ro"]})
    while "ready" not in found.call("GET", "/containers/files/logs?stdout=1")[1]:
        pass
    if request.param == "stopped":
        found.call("POST", "/containers/files/kill")
        found.call("POST", "/containers/files/wait")
    return found


def fetch(api: RawApi, method: str, path: str, body: bytes | None = None, query: str = "") -> tuple[int, str, bytes]:
    """Status, the header with the path's stat, body."""
    connection = http.client.HTTPConnection("d", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(api.path)
    try:
        where = f"/v1.51/containers/files/archive?path={urllib.parse.quote(path)}{query}"
        connection.request(method, where, body)
        answer = connection.getresponse()
        return answer.status, answer.getheader("X-Docker-Container-Path-Stat") or "", answer.read()
    finally:
        connection.close()


STATS: list[tuple[str, int, str, int, str]] = [
    ("/", 200, "/", DIRECTORY | 0o755, ""),
    ("/d", 200, "d", DIRECTORY | 0o755, ""),
    ("/d/", 200, "d", DIRECTORY | 0o755, ""),
    ("/d/.", 200, ".", DIRECTORY | 0o755, ""),
    ("d", 200, "d", DIRECTORY | 0o755, ""),
    ("/ld", 200, "ld", LINK | 0o777, "/d"),
    ("/ld/", 200, "ld", DIRECTORY | 0o755, ""),
    ("/ld/.", 200, ".", DIRECTORY | 0o755, ""),
    ("/ld/a", 200, "a", 0o644, ""),
    ("/d/la", 200, "la", LINK | 0o777, "/d/a"),
    ("/dang", 200, "dang", LINK | 0o777, "/nowhere"),
    ("/dang/", 404, "", 0, ""),
    ("/dang/x", 404, "", 0, ""),
    ("/d/up", 200, "up", LINK | 0o777, "/etc/passwd"),
    ("/loop/", 500, "", 0, ""),
    ("/f", 200, "f", SETUID | 0o755, ""),
    ("/f/", 500, "", 0, ""),
    ("/f/.", 500, "", 0, ""),
    ("/f/x", 500, "", 0, ""),
    ("/lf", 200, "lf", LINK | 0o777, "/f"),
    ("/lf/", 500, "", 0, ""),
    ("/nope", 404, "", 0, ""),
    ("/s", 200, "s", DIRECTORY | STICKY | 0o777, ""),
    ("/vol/v", 200, "v", 0o644, ""),
    ("/lvol/v", 200, "v", 0o644, ""),
    ("/etc/hosts", 200, "hosts", 0o644, ""),
    ("/d/../f", 200, "f", SETUID | 0o755, ""),
    ("/../../f", 200, "f", SETUID | 0o755, ""),
    ("/d/ls", 200, "ls", LINK | 0o777, "/d/sub"),
    ("/d/ls/", 200, "ls", DIRECTORY | 0o755, ""),
    ("/d/ls/b", 200, "b", 0o644, ""),
    ("/d//sub/../a", 200, "a", 0o644, ""),
]


@pytest.mark.row("E-022")
def test_a_paths_stat_follows_dockers_rules_of_slashes_and_links(api: RawApi) -> None:
    for path, status, name, mode, target in STATS:
        found, header, _ = fetch(api, "HEAD", path)
        assert found == status, path
        if header:
            said = json.loads(base64.b64decode(header))
            assert (said["name"], said["mode"], said["linkTarget"]) == (name, mode, target), path


LISTINGS = [
    ("/d/sub", ["sub/", "sub/b"]),
    ("/d/sub/", ["sub/", "sub/b"]),
    ("/d/sub/.", ["./", "./b"]),
    ("/ld", ["ld -> /d"]),
    ("/ld/sub/b", ["b"]),
    ("/d/ls/", ["ls/", "ls/b"]),
    ("/f", ["f"]),
    ("/dang", ["dang -> /nowhere"]),
    ("/vol", ["vol/", "vol/v"]),
    ("/etc/hosts", ["hosts"]),
]


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return sorted(
            member.name + ("/" if member.isdir() else "") + (f" -> {member.linkname}" if member.issym() else "")
            for member in archive
        )


@pytest.mark.row("E-023")
def test_an_archive_is_named_after_the_paths_last_element(api: RawApi) -> None:
    for path, expected in LISTINGS:
        status, _, data = fetch(api, "GET", path)
        assert status == 200
        assert names(data) == expected, path
    for path in ("/nope", "/nope/x", "/dang/"):
        status, _, data = fetch(api, "GET", path)
        message = f"Could not find the file {path} in container files"
        assert (status, json.loads(data)["message"]) == (404, message)


def tar(*entries: tuple[str, str, str], owner: int = 0) -> bytes:
    """(name, kind, text or target) each; kinds as tarfile has them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, text in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid = kind.encode(), 0o640, owner, owner
            info.linkname, info.size = (text, 0) if kind in "12" else ("", len(text) if kind == "0" else 0)
            archive.addfile(info, io.BytesIO(text.encode()) if kind == "0" else None)
    return out.getvalue()


REFUSED: list[tuple[str, bytes, str, int, str]] = [
    ("/f", tar(("x", "0", "1")), "", 400, "extraction point is not a directory"),
    ("/nope", tar(("x", "0", "1")), "", 404, "Could not find the file /nope in container files"),
    ("/rb", tar(("x", "0", "1")), "", 400, "mounted volume is marked read-only"),
    ("/e", tar(("../x", "0", "1")), "", 500, 'invalid entry name "../x"'),
    ("/e", tar(("x", "1", "../../etc/passwd")), "", 500, 'invalid hardlink target "../../etc/passwd"'),
    ("/", tar(("d", "0", "1")), "&noOverwriteDirNonDir=true", 400, 'cannot overwrite directory "d" with non-directory'),
    ("/", tar(("f", "5", "")), "&noOverwriteDirNonDir=true", 400, 'cannot overwrite non-directory "f" with directory'),
    ("/e", b"x" * 1000, "", 500, "archive/tar: invalid tar header"),
]


@pytest.mark.row("E-024")
def test_what_must_not_be_unpacked_is_refused(api: RawApi) -> None:
    for path, data, query, status, text in REFUSED:
        found, _, answer = fetch(api, "PUT", path, data, query)
        assert found == status, (path, answer)
        assert json.loads(answer)["message"].startswith(text)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress], ids=["plain", "gzip", "xz"])
@pytest.mark.row("E-024")
def test_archives_go_in_packed_or_not_also_through_links(api: RawApi, pack: Callable[[bytes], bytes]) -> None:
    data = pack(tar(("one", "0", "1"), ("dir", "5", ""), ("dir/two", "0", "22"), ("link", "2", "one"), owner=1000))
    assert fetch(api, "PUT", "/e", data)[0] == 200
    assert names(fetch(api, "GET", "/e")[2]) == ["e/", "e/dir/", "e/dir/two", "e/link -> one", "e/one"]
    with tarfile.open(fileobj=io.BytesIO(fetch(api, "GET", "/e/one")[2])) as archive:
        assert [(member.uid, member.mode) for member in archive] == [(1000, 0o640)]
    for path in ("/ld", "/d/ls"):
        assert fetch(api, "PUT", path, pack(tar(("b", "0", "bb"))))[0] == 200
        assert fetch(api, "GET", f"{path}/b")[0] == 200
    assert fetch(api, "PUT", "/s", pack(tar(("owned", "0", "x"), owner=1000)), "&copyUIDGID=true")[0] == 200
    assert fetch(api, "PUT", "/e", b"")[0] == 200
