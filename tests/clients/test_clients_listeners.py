"""onggid's sockets as other programs meet them: TLS, systemd's activation and notices, reload, stalled and rude clients."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import certificates
from tests.clients.daemon import DOCKER, Daemon, running

pytestmark = pytest.mark.root


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    certificates(folder)
    return folder


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, keys: Path, port: int) -> Iterator[Daemon]:
    yield from running(
        tmp_path_factory, "-H", f"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert", str(keys / "ca.pem"),
        "--tlscert", str(keys / "server.pem"), "--tlskey", str(keys / "server-key.pem"),
    )  # fmt: skip


ONGGI = str(Path(sys.executable).parent / "onggi")


def over_tls(
    keys: Path, port: int, name: str, *words: str, text: str = "", program: str = DOCKER
) -> subprocess.CompletedProcess[str]:
    files = [
        "--tlsverify",
        "--tlscacert",
        keys / "ca.pem",
        "--tlscert",
        keys / f"{name}.pem",
        "--tlskey",
        keys / f"{name}-key.pem",
    ]
    return subprocess.run(
        [program, "-H", f"tcp://127.0.0.1:{port}", *files, *words],
        input=text,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.row("D-03")
@pytest.mark.row("E-239")
@pytest.mark.row("CL-145", "CL-147")
@pytest.mark.parametrize("program", [DOCKER, ONGGI], ids=["docker", "onggi"])
def test_tls_serves_known_clients_and_keeps_half_close(daemon: Daemon, keys: Path, port: int, program: str) -> None:
    text = "line\n" * 100_000
    words = ["run", "--rm", "-i", "--network", "none", "busybox", "wc", "-c"]
    done = over_tls(keys, port, "client", *words, text=text, program=program)
    assert (done.returncode, done.stdout.strip()) == (0, str(len(text)))
    words = ["run", "--rm", "--network", "none", "busybox", "seq", "100000"]
    done = over_tls(keys, port, "client", *words, program=program)
    assert done.stdout.split()[-1] == "100000"


@pytest.mark.row("D-03")
def test_tls_refuses_strangers_and_old_protocols(daemon: Daemon, keys: Path, port: int) -> None:
    assert over_tls(keys, port, "wrong", "ps").returncode == 1
    for words in (
        ["-k"],
        ["-k", "--tls-max", "1.1", "--cert", f"{keys}/client.pem", "--key", f"{keys}/client-key.pem"],
    ):
        done = subprocess.run(
            ["curl", "-s", *words, f"https://127.0.0.1:{port}/_ping"], capture_output=True, check=False
        )
        assert done.returncode != 0
        assert done.stdout == b""
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(b"GET /_ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"OK" not in plain.recv(1000)


@pytest.mark.row("P-342")
def test_hangup_reloads_certificates_and_level_without_a_gap(daemon: Daemon, keys: Path, port: int) -> None:
    assert daemon.process is not None
    follower = subprocess.Popen(
        [DOCKER, "-H", daemon.host, "events", "--format", "{{.Type}} {{.Action}}"], stdout=subprocess.PIPE
    )
    assert follower.stdout is not None
    time.sleep(0.2)
    daemon.process.send_signal(signal.SIGHUP)
    assert follower.stdout.readline() == b"daemon reload\n"
    assert over_tls(keys, port, "client", "ps").returncode == 0
    follower.terminate()
    follower.wait(10)
    follower.stdout.close()


def raw(daemon: Daemon, request: bytes) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(daemon.socket))
    sock.sendall(request)
    return sock


def ask(daemon: Daemon, method: str, target: str, body: object = None) -> tuple[int, bytes]:
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {target} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    with raw(daemon, head.encode() + data) as sock:
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    head_, _, rest = answer.partition(b"\r\n\r\n")
    return int(head_.split()[1]), rest


@pytest.mark.row("S-67")
@pytest.mark.row("R-20")
def test_stalled_readers_hold_up_nobody(daemon: Daemon) -> None:
    daemon.say(
        "run",
        "-d",
        "--name",
        "loud",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "while :; do seq 1000; usleep 1000; done",
    )
    targets = [
        f"{method} /v1.43/containers/loud/{path}"
        for method, path in (
            ("POST", "attach?stream=1&stdout=1"), ("GET", "logs?follow=1&stdout=1"), ("GET", "stats"), ("GET", "export"),
            ("GET", "archive?path=/bin"),
        )
    ] + ["GET /v1.43/events"]  # fmt: skip
    stalled = [
        raw(daemon, f"{target} HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n".encode()) for target in targets * 12
    ]
    try:
        time.sleep(1.0)
        times = []
        for _ in range(30):
            begin = time.monotonic()
            assert ask(daemon, "GET", "/v1.43/containers/json")[0] == 200
            times.append(time.monotonic() - begin)
        assert sorted(times)[28] < 0.5
        assert ask(daemon, "POST", "/v1.43/containers/loud/kill")[0] == 204
    finally:
        for sock in stalled:
            sock.close()
    daemon.say("rm", "-f", "loud")


@pytest.mark.row("R-24")
def test_a_create_that_is_cut_anywhere_is_whole_or_not_there(daemon: Daemon) -> None:
    body = json.dumps({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}).encode()
    request = (
        b"POST /v1.43/containers/create?name=cut%d HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )
    for number, position in enumerate(range(1, len(request), max(1, len(request) // 50))):
        raw(daemon, (request % number)[:position]).close()
    whole = request % 1000
    raw(daemon, whole).close()
    deadline = time.monotonic() + 10
    while b"/cut1000" not in ask(daemon, "GET", "/v1.43/containers/json?all=1")[1] and time.monotonic() < deadline:
        time.sleep(0.05)
    names = [name for one in json.loads(ask(daemon, "GET", "/v1.43/containers/json?all=1")[1]) for name in one["Names"]]
    assert names == ["/cut1000"]
    assert ask(daemon, "POST", "/v1.43/containers/cut1000/start")[0] == 204
    daemon.say("wait", "cut1000")
    daemon.say("rm", "cut1000")


@pytest.mark.row("E-019")
def test_attach_over_a_websocket_is_unframed(daemon: Daemon) -> None:
    import asyncio

    import aiohttp

    daemon.say("run", "-di", "--name", "web", "--network", "none", "busybox", "cat")

    async def talk() -> bytes:
        connector = aiohttp.UnixConnector(path=str(daemon.socket))
        async with aiohttp.ClientSession(connector=connector) as session:
            target = "http://d/v1.43/containers/web/attach/ws?stream=1&stdin=1&stdout=1"
            async with session.ws_connect(target) as stream:
                await stream.send_bytes(b"hello\n")
                message = await asyncio.wait_for(stream.receive(), 10)
                assert message.type is aiohttp.WSMsgType.BINARY
                return bytes(message.data)

    assert asyncio.run(talk()) == b"hello\n"
    daemon.say("rm", "-f", "web")


@pytest.mark.row("E-225")
@pytest.mark.row("P-342")
def test_systemd_hands_over_its_socket_and_hears_when_it_is_ready(tmp_path: Path) -> None:
    notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notices.bind(str(tmp_path / "notify"))
    notices.settimeout(20)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "sock"))
    listener.listen()
    data = tmp_path / "data"
    data.mkdir()
    from onggi.doctor import engine_tag

    script = 'import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ["LISTEN_PID"] = str(os.getpid()); os.execv(sys.argv[2], sys.argv[2:])'
    command = [sys.executable, "-I", "-m", "onggi.api.onggid", "-H", "fd://", "--data-root", str(data), "--exec-root", str(tmp_path / "exec"),
               "--bridge", f"og-{engine_tag(data)}", "--default-address-pool", "base=10.249.0.0/16,size=24", "--config-file", os.devnull]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(listener.fileno()), *command],
        pass_fds=[listener.fileno()],
        env={**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(tmp_path / "notify")},
        stderr=subprocess.DEVNULL,
    )
    try:
        assert notices.recv(100) == b"READY=1"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "sock"))
            client.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
            assert client.recv(20).startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGTERM)
        assert notices.recv(100) == b"STOPPING=1"
        assert process.wait(20) == 0
        assert (tmp_path / "sock").exists()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(10)
        listener.close()
        notices.close()
