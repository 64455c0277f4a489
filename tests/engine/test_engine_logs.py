"""Logs of real containers: files that are rotated and compressed, servers that take them or don't. Needs root."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onggi.engine.config import LogConfig
from onggi.engine.engine import Engine
from onggi.engine.logs import LogOptions
from onggi.engine.streams import AttachOptions
from onggi.errors import NotImplementedHere, OnggiError
from tests.engine.engines import body, document, end_of, frames, logs, needs_root, run, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


def log_to(driver: str, **options: str) -> dict[str, Any]:
    return {"log_config": LogConfig(driver, {name.replace("_", "-"): value for name, value in options.items()})}


async def read(engine: Engine, container: str, **words: Any) -> list[str]:
    options = LogOptions(**words)
    data = b"".join([piece async for piece in engine.streams.logs(engine.containers.get(container), options)])
    return b"".join(text for _, text in frames(data)).decode().splitlines()


@pytest.mark.parametrize("driver", ["json-file", "local"])
@pytest.mark.row("E-307", "E-308", "I-10")
def test_a_log_is_read_whole_across_rotated_and_compressed_files(tmp_path: Path, driver: str) -> None:
    async def main(engine: Engine) -> None:
        host = log_to(driver, max_size="20k", max_file="40", compress="true")
        container = await run(engine, "seq", "1", "5000", host=host)
        followed = read(engine, container, follow=True)
        numbers = [str(number) for number in range(1, 5001)]
        assert await followed == numbers
        await end_of(engine, container)
        assert await read(engine, container) == numbers
        assert await read(engine, container, tail=4000) == numbers[-4000:]
        assert await read(engine, container, tail=3) == numbers[-3:]
        directory = Path(engine.snapshots.directory(container))
        names = [path.name for path in directory.rglob("*") if ".log." in path.name]
        assert sum(name.endswith(".gz") for name in names) >= len(names) - 1 > 5
        shown = document(engine, container)["LogPath"]
        assert shown.endswith(f"{container}-json.log") if driver == "json-file" else shown == ""

    with_engine(tmp_path, main)


@pytest.mark.row("E-307", "E-311")
def test_labels_environment_and_tag_go_with_each_line(tmp_path: Path) -> None:
    async def main(engine: Engine) -> None:
        host = log_to("json-file", labels="a", labels_regex="^b", env="FOO", env_regex="^X_", tag="{{.Name}}")
        words = {"labels": {"a": "1", "bb": "2", "c": "3"}, "env": ["FOO=x", "X_Y=y", "BAR=z"]}
        container = await run(engine, "echo", "hi", name="tagged", host=host, **words)
        await end_of(engine, container)
        entry = json.loads(Path(document(engine, container)["LogPath"]).read_text())
        assert entry["attrs"] == {"FOO": "x", "X_Y": "y", "a": "1", "bb": "2", "tag": "tagged"}
        assert await read(engine, container, details=True) == ["FOO=x,X_Y=y,a=1,bb=2,tag=tagged hi"]

    with_engine(tmp_path, main)


REFUSED = [
    ("json-file", {"max_size": "abc"}, "invalid size: 'abc'"),
    ("json-file", {"max_size": "0"}, "max-size must be a positive number"),
    ("json-file", {"max_file": "0"}, "max-file cannot be less than 1"),
    ("json-file", {"max_file": "x"}, 'strconv.Atoi: parsing "x": invalid syntax'),
    ("json-file", {"compress": "true"}, "compress cannot be true when max-file is less than 2 or max-size is not set"),
    ("json-file", {"tag": "{{.Name"}, "template: log-tag:1: unclosed action"),
    ("json-file", {"labels_regex": "("}, "error parsing regexp: missing closing ): `(`"),
    ("local", {"max_size": "abc"}, "invalid value for max-size: abc: invalid size: 'abc'"),
    ("local", {"max_file": "1"}, "compression cannot be enabled when max file count is 1"),
    ("syslog", {"syslog_address": "tcp://127.0.0.1:1"}, "dial tcp 127.0.0.1:1: connect: connection refused"),
    ("fluentd", {"fluentd_address": "127.0.0.1:1"}, "dial tcp 127.0.0.1:1: connect: connection refused"),
    (
        "gelf",
        {"gelf_address": "tcp://127.0.0.1:1"},
        "gelf: cannot connect to GELF endpoint: 127.0.0.1:1 dial tcp 127.0.0.1:1: connect: connection refused",
    ),
]


@pytest.mark.row("E-307", "E-308", "E-309", "E-310")
def test_what_only_a_start_finds_out_fails_it_in_dockers_words(tmp_path: Path) -> None:
    async def main(engine: Engine) -> None:
        for driver, options, text in REFUSED:
            made = await engine.containers.create("", body("true", host=log_to(driver, **options)))
            with pytest.raises(OnggiError) as refused:
                await engine.containers.start(made.id)
            whole = f"failed to create task for container: failed to initialize logging driver: {text}"
            assert str(refused.value) == whole
            state = document(engine, made.id)["State"]
            assert (state["Status"], state["ExitCode"], state["Error"]) == ("created", 128, whole)

    with_engine(tmp_path, main)


class Server:
    """A log server on a socket of its own, which keeps what it is told."""

    def __init__(self, path: Path, kind: int) -> None:
        self.sock = socket.socket(socket.AF_UNIX, kind)
        self.sock.bind(str(path))
        self.sock.setblocking(False)
        self.datagram = kind == socket.SOCK_DGRAM
        if not self.datagram:
            self.sock.listen(8)

    async def received(self, ends: bytes) -> bytes:
        """Everything until a piece had `ends` in it."""
        loop, pieces = asyncio.get_running_loop(), [b""]
        source = self.sock if self.datagram else (await loop.sock_accept(self.sock))[0]
        try:
            async with asyncio.timeout(20):
                while ends not in pieces[-1]:
                    pieces.append(await loop.sock_recv(source, 65536))
        finally:
            if source is not self.sock:
                source.close()
        return b"".join(pieces)


@pytest.fixture
def unixgram(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "datagrams", socket.SOCK_DGRAM)
    yield server
    server.sock.close()


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "stream", socket.SOCK_STREAM)
    yield server
    server.sock.close()


SPEAK = ("sh", "-c", "echo hello; echo oops >&2; sleep 0.1; echo last")


@pytest.mark.row("E-309")
def test_syslog_gets_each_line_and_logs_reads_them_too(tmp_path: Path, unixgram: Server) -> None:
    async def main(engine: Engine) -> None:
        host = log_to("syslog", syslog_address=f"unixgram://{tmp_path}/datagrams", syslog_facility="local0", tag="web")
        container = await run(engine, *SPEAK, host=host)
        data = await unixgram.received(b"last")
        await end_of(engine, container)
        lines = data.decode().splitlines()
        assert sorted((line.split(">")[0][1:], line.split(": ")[1]) for line in lines) == [
            ("131", "oops"),
            ("134", "hello"),
            ("134", "last"),
        ]
        assert sorted(await read(engine, container)) == ["hello", "last", "oops"]

    with_engine(tmp_path, main)


@pytest.mark.row("E-310")
def test_fluentd_gets_each_line_with_its_container(tmp_path: Path, stream: Server) -> None:
    async def main(engine: Engine) -> None:
        host = log_to("fluentd", fluentd_address=f"unix://{tmp_path}/stream", env="FOO", cache_disabled="true")
        container = await run(engine, *SPEAK, name="speaker", host=host, env=["FOO=bar"])
        data = await stream.received(b"last")
        await end_of(engine, container)
        first = msgspec.msgpack.decode(data[: data.index(b"\x80\x94") + 1])
        assert (first[0], first[2]["container_name"], first[2]["FOO"]) == (container[:12], "/speaker", "bar")
        with pytest.raises(NotImplementedHere, match="configured logging driver does not support reading"):
            await logs(engine, container)

    with_engine(tmp_path, main)


@pytest.mark.row("E-310")
def test_gelf_over_udp_is_compressed_json(tmp_path: Path) -> None:
    async def main(engine: Engine) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.settimeout(10)
            port = server.getsockname()[1]
            container = await run(
                engine, "echo", "hi", name="gelf", host=log_to("gelf", gelf_address=f"udp://127.0.0.1:{port}")
            )
            message = json.loads(zlib.decompress(await asyncio.to_thread(server.recv, 65536), 31))
            await end_of(engine, container)
        assert (message["short_message"], message["_container_name"], message["_command"]) == ("hi", "gelf", "echo hi")

    with_engine(tmp_path, main)


@pytest.mark.row("E-308", "R-20")
def test_a_server_that_hangs_never_stops_a_container_whose_log_does_not_block(tmp_path: Path, stream: Server) -> None:
    async def main(engine: Engine) -> None:
        address = f"unix://{tmp_path}/stream"
        quick = log_to("syslog", syslog_address=address, mode="non-blocking", max_buffer_size="100k")
        container = await run(engine, "sh", "-c", "yes | head -c 3000000", host=quick)
        assert await end_of(engine, container) == 0
        assert "bytes of the log could not be sent" in document(engine, container)["State"]["Error"]
        stream.sock.close()

    with_engine(tmp_path, main)


@pytest.mark.row("E-308")
def test_a_server_that_hangs_stops_a_container_whose_log_blocks(tmp_path: Path, stream: Server) -> None:
    async def main(engine: Engine) -> None:
        host, line = log_to("syslog", syslog_address=f"unix://{tmp_path}/stream"), "y" * 100
        container = await run(engine, "sh", "-c", f"yes {line} | head -c 2020000; echo last", host=host)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await end_of(engine, container)
        # As soon as the server reads, it goes on, and nothing is missing.
        data = await stream.received(b"last")
        assert await end_of(engine, container) == 0
        assert data.count(b"]: y") == 20_000

    with_engine(tmp_path, main)


@pytest.mark.row("E-308")
def test_a_carrier_has_no_rights_and_one_that_is_killed_is_replaced(tmp_path: Path, unixgram: Server) -> None:
    async def main(engine: Engine) -> None:
        host = log_to("syslog", syslog_address=f"unixgram://{tmp_path}/datagrams", tag="web")
        container = await run(
            engine, "sh", "-c", "echo first; read x; echo second; sleep 2; echo third", host=host, open_stdin=True
        )
        first = await unixgram.received(b"first")
        carrier = int(first.partition(b"[")[2].partition(b"]")[0])
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{carrier}/status").read_text().splitlines())
        assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapBnd")} == {0}
        assert status["NoNewPrivs"] == "1"
        # Standard input, output and error are /dev/null or nothing; then the shim's socket and the server's.
        assert len(os.listdir(f"/proc/{carrier}/fd")) <= 5
        os.kill(carrier, 9)
        attachment = await engine.streams.attach(engine.containers.get(container), AttachOptions(stdin=True))
        attachment.sock.send(b"\n")
        await unixgram.received(b"third")
        attachment.sock.close()
        assert await end_of(engine, container) == 0

    started = time.monotonic()
    with_engine(tmp_path, main)
    assert time.monotonic() - started < 20
