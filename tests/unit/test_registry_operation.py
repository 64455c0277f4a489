"""The registry in operation: health, read-only, immutable tags, scrubbing, certificates, and in a thread of a test of one's own."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import bcrypt
import pytest

import onggi.registry
from onggi.errors import InvalidArgument
from onggi.registry import Access, Registry
from tests.certificates import certificates
from tests.imaging import OCI_MANIFEST, digest, make_image, publish, put_manifest, upload

IMAGE, OTHER = make_image({"a": b"1"}), make_image({"a": b"2"})
COMMAND = [sys.executable, "-I", "-m", "onggi.registry.command"]


def with_registry(root: Path, test, **words: object) -> None:
    async def run() -> None:
        registry = Registry(str(root), **words)
        port = await registry.listen("127.0.0.1", 0)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            try:
                await test(session)
            finally:
                await session.close()
                await registry.close()

    asyncio.run(run())


async def refusal(answer: aiohttp.ClientResponse) -> tuple[int, str]:
    return answer.status, json.loads(await answer.read())["errors"][0]["code"]


@pytest.mark.row("I-264")
def test_health_is_told_to_everybody_and_readiness_only_if_the_disk_takes_bytes(tmp_path: Path) -> None:
    (tmp_path / "users").write_bytes(b"anna:" + bcrypt.hashpw(b"x", bcrypt.gensalt(10)))

    async def test(session: aiohttp.ClientSession) -> None:
        for path in ("/livez", "/readyz"):
            async with session.get(path) as answer:
                assert (answer.status, await answer.text()) == (200, "ok\n")
        os.rename(tmp_path / "root" / "repositories", tmp_path / "gone")
        async with session.get("/readyz") as answer:
            assert answer.status == 503
        async with session.get("/livez") as answer:
            assert answer.status == 200
        assert list((tmp_path / "gone").iterdir()) == []

    with_registry(tmp_path / "root", test, access=Access(str(tmp_path / "users")))


@pytest.mark.row("I-267")
def test_a_registry_is_read_only_while_a_file_says_so(tmp_path: Path) -> None:
    async def test(session: aiohttp.ClientSession) -> None:
        await publish(session, "a", "v1", IMAGE)
        (tmp_path / "read-only").touch()
        for method, path in (
            ("POST", "/v2/a/blobs/uploads/"),
            ("DELETE", "/v2/a/manifests/v1"),
            ("PUT", "/v2/a/manifests/v2"),
        ):
            async with session.request(method, path) as answer:
                assert await refusal(answer) == (405, "UNSUPPORTED")
        async with session.get("/v2/a/manifests/v1") as answer:
            assert await answer.read() == IMAGE.manifest
        (tmp_path / "read-only").unlink()
        await upload(session, "a", b"again")

    with_registry(tmp_path, test)


@pytest.mark.row("I-267")
def test_a_registry_that_is_told_to_go_lets_uploads_under_way_end(tmp_path: Path) -> None:
    with serving(tmp_path) as (port, process):
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/v2/a/blobs/uploads/", b"", method="POST")
        with urllib.request.urlopen(asked) as answer:
            place = answer.headers["Location"]
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(
                f"PATCH {place} HTTP/1.1\r\nHost: r\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n".encode()
            )
            assert client.recv(1000).startswith(b"HTTP/1.1 100")
            client.sendall(b"1234")
            data = tmp_path / "uploads" / place.rpartition("/")[2] / "data"
            process.terminate()
            deadline = time.monotonic() + 10
            while not refused(port):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            client.sendall(b"5678")
            assert client.recv(1000).startswith(b"HTTP/1.1 202")
        assert process.wait(20) == 0
        assert data.read_bytes() == b"12345678"


def refused(port: int) -> bool:
    """Whether nobody new is let in."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.row("I-244")
def test_tags_of_a_pattern_stay_where_they_are(tmp_path: Path) -> None:
    async def test(session: aiohttp.ClientSession) -> None:
        await publish(session, "prod/app", "v1", IMAGE)
        await publish(session, "prod/app", "latest", IMAGE)
        await publish(session, "prod/app", "v1", IMAGE)  # to where it is, as often as one likes
        for blob in OTHER.blobs:
            await upload(session, "prod/app", blob)
        headers = {"Content-Type": OCI_MANIFEST}
        async with session.put("/v2/prod/app/manifests/v1", data=OTHER.manifest, headers=headers) as answer:
            assert await refusal(answer) == (403, "DENIED")
        for path in ("v1", digest(IMAGE.manifest)):
            async with session.delete(f"/v2/prod/app/manifests/{path}") as answer:
                assert await refusal(answer) == (403, "DENIED")
        assert await put_manifest(session, "prod/app", "latest", OTHER.manifest) == 201
        await publish(session, "dev/app", "v1", IMAGE)
        await publish(session, "dev/app", "v1", OTHER)
        async with session.get("/v2/prod/app/manifests/v1") as answer:
            assert await answer.read() == IMAGE.manifest

    with_registry(tmp_path, test, immutable=["prod/*:v*"])
    with pytest.raises(InvalidArgument, match="invalid pattern"):
        Registry(str(tmp_path), immutable=["v*"])


@pytest.mark.row("I-242")
def test_a_scrub_names_what_is_damaged(tmp_path: Path) -> None:
    with onggi.registry.serve(tmp_path) as served:
        urllib.request.urlopen(f"{served.url}/v2/").close()
        for data in (b"one", b"two"):
            asked = urllib.request.Request(
                f"{served.url}/v2/a/blobs/uploads/?digest={digest(data)}",
                data,
                {"Content-Type": "application/octet-stream"},
            )
            urllib.request.urlopen(asked).close()
    done = subprocess.run([*COMMAND, "scrub", "--root", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "2 blobs read, 0 damaged\n")
    (tmp_path / "blobs" / digest(b"one").replace(":", "/")).write_bytes(b"0ne")
    done = subprocess.run([*COMMAND, "scrub", "--root", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, f"{digest(b'one')}\n", "2 blobs read, 1 damaged\n")


@pytest.mark.row("I-282")
def test_a_test_has_a_registry_in_a_moment_and_nothing_of_it_runs_afterwards(tmp_path: Path) -> None:
    began = time.process_time()
    with onggi.registry.serve(tmp_path) as served:
        with urllib.request.urlopen(f"{served.url}/v2/") as answer:
            assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
        seconds = time.process_time() - began
    assert seconds < 0.5
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{served.url}/v2/")
    with pytest.raises(OSError, match="Not a directory"), onggi.registry.serve("/dev/null"):
        pass


@contextmanager
def serving(root: Path, *words: object) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*COMMAND, "serve", "--root", root, "--listen", f"127.0.0.1:{port}", *map(str, words)], stderr=subprocess.PIPE
    )
    try:
        assert process.stderr
        while b"serving" not in (line := process.stderr.readline()):
            assert line
        yield port, process
    finally:
        if process.poll() is None:
            process.terminate()
        assert process.wait(20) == 0
        process.stderr.close()


def test_certificates_are_shown_asked_for_and_read_again_while_it_serves(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        certificates(folder)
    cert, key = tmp_path / "cert", tmp_path / "key"
    cert.write_bytes((old / "server.pem").read_bytes())
    key.write_bytes((old / "server-key.pem").read_bytes())

    def status(authority: Path, port: int, client: Path | None = None, version: ssl.TLSVersion | None = None) -> int:
        context = ssl.create_default_context(cafile=str(authority / "ca.pem"))
        if version:
            context.minimum_version = context.maximum_version = version
        if client:
            context.load_cert_chain(client / "client.pem", client / "client-key.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status
        finally:
            connection.close()

    words = ("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", old / "ca.pem")
    with serving(tmp_path / "root", *words) as (port, process):
        assert status(old, port, old) == 200
        assert [status(old, port, old, version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)] == [
            200,
            200,
        ]
        for client in (None, new):  # none, and somebody else's
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
                status(old, port, client)
        cert.write_bytes((new / "server.pem").read_bytes())
        key.write_bytes((new / "server-key.pem").read_bytes())
        process.send_signal(signal.SIGHUP)
        assert process.stderr
        assert b"certificate is read again" in process.stderr.readline()
        assert status(new, port, old) == 200
        cert.write_text("none")
        process.send_signal(signal.SIGHUP)
        assert b"can't be read again" in process.stderr.readline()
        assert status(new, port, old) == 200
