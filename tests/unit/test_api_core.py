"""The HTTP core on a real unix socket: versions, errors, bodies, pipelining, hang-ups."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from onggi.api import connection
from onggi.api.answers import Answer, json_answer
from onggi.api.call import Call
from onggi.api.guards import HostGuard
from onggi.api.hangup import HangUp
from onggi.api.hijack import MULTIPLEXED, RAW, Hijack
from onggi.api.progress import progress
from onggi.api.routes_absent import routes as absent
from onggi.api.routes_system import routes as system
from onggi.api.service import Service
from onggi.api.site import Site
from onggi.api.streams import Stream
from onggi.api.table import Routes
from onggi.errors import Conflict, NotModified

routes = Routes()
gone = asyncio.Event()
finished: list[str] = []


class Body(msgspec.Struct):
    Name: str = ""
    Count: int = 0


@routes.on("POST", "/things/create", "T-1")
async def create(call: Call) -> Answer:
    body = await call.json(Body)
    return json_answer({"name": body.Name, "count": body.Count}, 201)


@routes.on("GET", "/things/{name*}/json", "T-2")
async def inspect(call: Call) -> Answer:
    return json_answer({"name": call.params["name"], "version": call.version})


@routes.on("GET", "/things/fail/{how}", "T-3")
async def fail(call: Call) -> Answer:
    kind = {"conflict": Conflict("it is taken"), "same": NotModified("as it is"), "bug": RuntimeError("/secret/path")}
    raise kind[call.params["how"]]


@routes.on("GET", "/things/wait", "T-4", hang_up=HangUp.CANCEL)
async def wait(call: Call) -> Stream:
    stream = Stream(call)
    await stream.line({"begun": True})
    try:
        await asyncio.sleep(60)
    finally:
        gone.set()
    return stream


@routes.on("POST", "/things/load", "T-7", hang_up=HangUp.CANCEL)
async def load(call: Call) -> object:
    async def work(_output: object) -> None:
        async for _ in call.chunks():
            pass
        if call.query.flag("fail"):
            raise Conflict("it is taken")

    return await progress(call, work)


@routes.on("POST", "/things/slow", "T-5")
async def slow(call: Call) -> Answer:
    await asyncio.sleep(0.05)
    finished.append("slow")
    return json_answer({})


@routes.on("POST", "/things/attach", "T-6", hang_up=HangUp.HALF_CLOSE)
async def attach(call: Call) -> object:
    import socket

    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=theirs)

    async def echo() -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data.upper())
                await writer.drain()
            writer.write(b"bye")

    task = asyncio.create_task(echo())
    await call.body()
    hijack = Hijack(call, MULTIPLEXED)
    hijack.open()
    done = await hijack.join(ours)
    await task
    return done


@asynccontextmanager
async def serving(tmp_path: Path, *, trusted: bool = True, ready: bool = True) -> AsyncIterator[str]:
    path = str(tmp_path / "api.sock")
    service = Service()
    if ready:
        service.ready(object())  # type: ignore[arg-type]
    site = Site(service, [*absent.all, *system.all, *routes.all])
    server = await asyncio.get_running_loop().create_unix_server(
        site.connections(None if trusted else HostGuard()), path
    )
    try:
        yield path
    finally:
        server.close()
        await site.close(1)


async def exchange(path: str, request: bytes, *, end: bool = False) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request)
    if end:
        writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read() if end else reader.read(1 << 20), 5)
    finally:
        writer.close()


def ask(
    tmp_path: Path, request: bytes, *, trusted: bool = True, ready: bool = True, end: bool = True
) -> tuple[int, dict[str, str], bytes]:
    async def run() -> bytes:
        async with serving(tmp_path, trusted=trusted, ready=ready) as path:
            return await exchange(path, request, end=end)

    return split(asyncio.run(run()))


def split(data: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return int(lines[0].split()[1]), headers, body


def get(target: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: d", *headers, "", ""]).encode()


def post(target: str, body: bytes, kind: str = "application/json") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: d\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        target.encode(),
        kind.encode(),
        len(body),
        body,
    )


def message(body: bytes) -> str:
    text = json.loads(body)["message"]
    assert isinstance(text, str)
    return text


@pytest.mark.row("E-041")
@pytest.mark.row("E-228")
def test_ping_tells_what_negotiation_reads(tmp_path: Path) -> None:
    status, headers, body = ask(tmp_path, get("/_ping"))
    assert (status, body) == (200, b"OK")
    assert headers["api-version"] == "1.55"
    assert headers["ostype"] == "linux"
    assert headers["builder-version"] == "2"
    assert headers["swarm"] == "inactive"
    assert headers["cache-control"] == "no-cache, no-store, must-revalidate"
    assert headers["pragma"] == "no-cache"
    assert headers["docker-experimental"] == "false"
    assert headers["server"].startswith("Docker/")
    assert headers["content-type"].startswith("text/plain")


@pytest.mark.row("E-042")
def test_head_ping_has_the_headers_and_no_body(tmp_path: Path) -> None:
    status, headers, body = ask(tmp_path, get("/_ping").replace(b"GET", b"HEAD"))
    assert (status, body, headers["content-length"]) == (200, b"", "0")
    assert headers["api-version"] == "1.55"


@pytest.mark.row("R-08")
def test_ping_answers_503_until_the_engine_has_its_state(tmp_path: Path) -> None:
    status, headers, _ = ask(tmp_path, get("/_ping"), ready=False)
    assert status == 503
    assert headers["api-version"] == "1.55"


@pytest.mark.row("E-227")
@pytest.mark.parametrize(
    ("version", "text"),
    [
        (
            "1.23",
            "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
        ),
        ("1.56", "client version 1.56 is too new. Maximum supported API version is 1.55"),
        ("2.0", "client version 2.0 is too new. Maximum supported API version is 1.55"),
    ],
)
def test_versions_outside_the_range_are_refused_in_dockerds_words(tmp_path: Path, version: str, text: str) -> None:
    status, headers, body = ask(tmp_path, get(f"/v{version}/things/a/json"))
    assert (status, message(body)) == (400, text)
    assert headers["api-version"] == "1.55"


@pytest.mark.row("E-227")
def test_a_path_without_version_means_the_newest(tmp_path: Path) -> None:
    assert json.loads(ask(tmp_path, get("/things/a/json"))[2])["version"] == 55
    assert json.loads(ask(tmp_path, get("/v1.24/things/a/json"))[2])["version"] == 24


@pytest.mark.row("I-009")
def test_names_keep_slashes_and_percent_escapes(tmp_path: Path) -> None:
    assert json.loads(ask(tmp_path, get("/things/a/b:c/json"))[2])["name"] == "a/b:c"
    assert json.loads(ask(tmp_path, get("/v1.40/things/a%2Fb%20c/json"))[2])["name"] == "a/b c"


@pytest.mark.row("E-116")
def test_unknown_paths_and_methods_are_json_errors(tmp_path: Path) -> None:
    status, _, body = ask(tmp_path, get("/v1.43/nothing"))
    assert (status, message(body)) == (404, "page not found")
    status, _, body = ask(tmp_path, get("/v1.43/things/create"))
    assert status == 405
    assert message(body)


@pytest.mark.row("E-109")
def test_options_is_empty_and_names_no_origin(tmp_path: Path) -> None:
    status, headers, body = ask(tmp_path, get("/v1.43/anything").replace(b"GET", b"OPTIONS"))
    assert (status, body) == (200, b"")
    assert not any(name.startswith("access-control") for name in headers)


@pytest.mark.row("E-226")
def test_errors_have_their_kinds_status_and_one_message(tmp_path: Path) -> None:
    status, headers, body = ask(tmp_path, get("/things/fail/conflict"))
    assert (status, message(body), headers["content-type"]) == (409, "it is taken", "application/json")
    status, headers, body = ask(tmp_path, get("/things/fail/same"))
    assert (status, body) == (304, b"")
    assert "content-length" not in headers


@pytest.mark.row("S-69")
def test_a_bug_is_answered_with_an_id_and_nothing_of_ours(tmp_path: Path) -> None:
    status, _, body = ask(tmp_path, get("/things/fail/bug"))
    assert status == 500
    assert b"secret" not in body
    assert b"internal error" in body


@pytest.mark.row("E-231")
@pytest.mark.parametrize(
    ("body", "kind", "part"),
    [
        (b"", "application/json", "got EOF while reading request body"),
        (b"{", "application/json", "invalid JSON"),
        (b"{} {}", "application/json", "invalid JSON"),
        (b'{"Name": 3}', "application/json", "invalid JSON"),
        (b'{"Name": "a"}', "text/plain", "must be 'application/json'"),
        (b"null", "application/json", "invalid JSON"),
    ],
)
def test_bodies_that_are_no_such_object_are_refused(tmp_path: Path, body: bytes, kind: str, part: str) -> None:
    status, _, answer = ask(tmp_path, post("/things/create", body, kind))
    assert status == 400
    assert part in message(answer)


@pytest.mark.row("E-231")
def test_field_names_match_without_case_and_unknown_ones_are_ignored(tmp_path: Path) -> None:
    body = b'{"name": "a", "COUNT": 3, "Other": {"x": 1}}'
    status, _, answer = ask(tmp_path, post("/things/create", body))
    assert (status, json.loads(answer)) == (201, {"name": "a", "count": 3})


@pytest.mark.row("S-66")
def test_a_json_body_has_a_limit(tmp_path: Path) -> None:
    head = (
        b"POST /things/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
    )
    status, _, body = ask(tmp_path, head, end=False)
    assert status == 413
    assert "too large" in message(body)


@pytest.mark.row("E-225")
def test_chunked_bodies_and_expect_continue_work(tmp_path: Path) -> None:
    request = (
        b"POST /things/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
        b'Transfer-Encoding: chunked\r\n\r\n4\r\n{"na\r\n9\r\nme": "b"}\r\n0\r\n\r\n'
    )
    answer = ask(tmp_path, request)
    assert answer[0] == 100
    assert split(answer[2])[0] == 201


@pytest.mark.row("E-225")
def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async def run() -> bytes:
        async with serving(tmp_path) as path:
            requests = post("/things/create", b'{"Name": "first"}') + get("/things/second/json") + get("/nothing")
            return await exchange(path, requests, end=True)

    data = asyncio.run(run())
    assert data.count(b"HTTP/1.1 ") == 3
    assert data.index(b"first") < data.index(b"second") < data.index(b"page not found")


@pytest.mark.row("S-66")
@pytest.mark.parametrize(
    "request_",
    [
        b"POST /things/create HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\nHost: d\r\nX: a\r\n folded\r\n\r\n",
        b"GET /_ping HTTP/1.1\nHost: d\n\n",
        b"GET /_ping HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: d\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\nHost: d\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_ambiguous_or_outsized_requests_are_400_and_end_the_connection(tmp_path: Path, request_: bytes) -> None:
    async def run() -> bytes:
        async with serving(tmp_path) as path:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(request_)
            try:
                return await asyncio.wait_for(reader.read(), 5)  # to the end: it must close
            finally:
                writer.close()

    status, headers, body = split(asyncio.run(run()))
    assert status == 400
    assert headers["api-version"] == "1.55"
    assert message(body)


@pytest.mark.row("S-65")
@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Host: evil.example", 403),
        ("Host: localhost:2375", 200),
        ("Host: 127.0.0.1:2375", 200),
        ("Host: [::1]:2375", 200),
        ("Host: localhost\r\nOrigin: http://localhost", 403),
        ("Host: localhost\r\nOrigin: null", 403),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site", 403),
        ("Host: localhost\r\nSec-Fetch-Site: same-site", 403),
        ("Host: ", 403),
    ],
)
def test_a_web_page_cannot_drive_tcp(tmp_path: Path, header: str, status: int) -> None:
    request = f"GET /_ping HTTP/1.1\r\n{header}\r\n\r\n".encode()
    assert ask(tmp_path, request, trusted=False)[0] == status


@pytest.mark.row("R-24")
def test_what_only_waits_ends_with_its_client(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as path:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(get("/things/wait"))
            assert b"begun" in await reader.readuntil(b"}\r\n")
            writer.close()
            await asyncio.wait_for(gone.wait(), 5)

    asyncio.run(run())


@pytest.mark.row("R-24")
def test_a_client_that_only_ends_its_side_hears_that_its_request_was_given_up(tmp_path: Path) -> None:
    async def run(request: bytes) -> tuple[int, dict[str, str], bytes]:
        async with serving(tmp_path) as path:
            return split(await exchange(path, request, end=True))

    for query in ("", "?fail=1"):  # the work may have failed meanwhile: nobody is there to hear of it
        status, _, body = asyncio.run(run(post(f"/things/load{query}", b"")))
        assert (status, message(body)) == (500, "context canceled")


@pytest.mark.row("E-248")
def test_work_that_says_nothing_has_an_empty_answer_and_one_that_fails_first_a_status(tmp_path: Path) -> None:
    async def run(target: str) -> tuple[int, dict[str, str], bytes]:
        async with serving(tmp_path) as path:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(post(target, b"").replace(b"Host: d", b"Host: d\r\nConnection: close"))
            with contextlib.closing(writer):
                return split(await asyncio.wait_for(reader.read(), 5))

    status, headers, body = asyncio.run(run("/things/load"))
    assert (status, headers["transfer-encoding"], body) == (200, "chunked", b"0\r\n\r\n")
    status, _, body = asyncio.run(run("/things/load?fail=1"))
    assert (status, message(body)) == (409, "it is taken")


@pytest.mark.row("R-24")
def test_what_changes_something_runs_to_its_end(tmp_path: Path) -> None:
    async def run() -> None:
        finished.clear()
        async with serving(tmp_path) as path:
            _, writer = await asyncio.open_unix_connection(path)
            writer.write(post("/things/slow", b""))
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.transport.abort()
        # serving() gives it a second to end
        assert finished == ["slow"]

    asyncio.run(run())


@pytest.mark.row("E-236")
@pytest.mark.row("E-239")
@pytest.mark.parametrize(
    ("upgrade", "line"), [("Connection: Upgrade\r\nUpgrade: tcp\r\n", "101 UPGRADED"), ("", "200 OK")]
)
def test_a_taken_over_connection_is_raw_both_ways_and_half_closes(tmp_path: Path, upgrade: str, line: str) -> None:
    async def run() -> bytes:
        async with serving(tmp_path) as path:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(
                f"POST /v1.43/things/attach HTTP/1.1\r\nHost: d\r\n{upgrade}Content-Length: 2\r\n\r\n{{}}".encode()
            )
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert f"HTTP/1.1 {line}\r\n".encode() in head
            assert (MULTIPLEXED if line.startswith("101") else RAW).encode() in head
            writer.write(b"GET / HTTP/1.1\r\n\r\nhello")
            got = await asyncio.wait_for(reader.readexactly(23), 5)
            writer.write_eof()
            rest = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            return got + rest

    assert asyncio.run(run()) == b"GET / HTTP/1.1\r\n\r\nHELLObye"


@pytest.mark.row("R-20")
def test_a_taken_over_connection_holds_one_buffer_for_a_slow_client(tmp_path: Path) -> None:
    async def run() -> int:
        async with serving(tmp_path) as path:
            reader, writer = await asyncio.open_unix_connection(path, limit=1024)
            writer.write(b"POST /things/attach HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            sent = 0
            try:
                async with asyncio.timeout(0.5):
                    while sent < 64 << 20:
                        writer.write(b"x" * 65536)
                        await writer.drain()
                        sent += 65536
            except TimeoutError:
                pass
            writer.transport.abort()
            writer.close()
            return sent

    assert asyncio.run(run()) < 8 << 20


def test_every_answer_of_a_missing_part_names_it(tmp_path: Path) -> None:
    for method, target, status, text in (
        ("GET", "/swarm", 503, "not a swarm manager"),
        ("POST", "/swarm/leave", 503, "This node is not part of a swarm"),
        ("POST", "/plugins/pull", 501, "plugins are not supported"),
        ("GET", "/plugins/a/b/json", 404, 'plugin "a/b" not found'),
    ):
        answer = ask(tmp_path, get(target).replace(b"GET", method.encode(), 1))
        assert answer[0] == status
        assert text in message(answer[2])


@pytest.mark.row("R-16")
@pytest.mark.row("S-66")
def test_clients_leave_descriptors_for_the_engines_own_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "most_connections", lambda: 5)

    async def run() -> list[bytes]:
        async with serving(tmp_path) as path:
            pairs = [await asyncio.open_unix_connection(path) for _ in range(8)]
            answers = []
            for reader, writer in pairs:
                with contextlib.suppress(ConnectionError):
                    writer.write(get("/_ping"))
                    answers.append(await reader.read(15))
            for _, writer in pairs:
                writer.close()
            return answers

    answers = asyncio.run(run())
    assert answers.count(b"HTTP/1.1 200 OK") == 5


@pytest.mark.row("E-234")
def test_taken_over_and_waiting_connections_end_with_the_engine_at_once(tmp_path: Path) -> None:
    async def run() -> float:
        loop = asyncio.get_running_loop()
        async with serving(tmp_path) as path:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"POST /things/attach HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            waiting, other = await asyncio.open_unix_connection(path)
            other.write(get("/things/wait"))
            await waiting.readuntil(b"}\r\n")
            begin = loop.time()
        await asyncio.wait_for(reader.read(), 5)
        await asyncio.wait_for(waiting.read(), 5)
        writer.close()
        other.close()
        return loop.time() - begin

    assert asyncio.run(run()) < 0.9  # not the second that serving() grants


def test_a_client_that_closes_an_idle_connection_leaves_no_socket_behind(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as path:
            here = len(list(Path("/proc/self/fd").iterdir()))
            for _ in range(8):
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(get("/_ping"))
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
                writer.close()
                await writer.wait_closed()
            async with asyncio.timeout(5):
                while len(list(Path("/proc/self/fd").iterdir())) > here:
                    await asyncio.sleep(0.01)

    asyncio.run(main())
