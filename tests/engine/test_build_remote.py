"""What a build gets over HTTP: ADD of a URL, a context from a URL. The server is real, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from onggi.build.errors import BuildFailed
from onggi.engine.engine import Engine
from onggi.errors import InvalidArgument, OnggiError
from tests.engine.building import archive, build, context, tree
from tests.engine.engines import an_engine, needs_root

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")

CONTENT = b"from the network\n"
DATED = {"Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT"}


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def files_of(files: dict[str, bytes]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        body = files.get(request.path)
        return web.Response(status=404) if body is None else web.Response(body=body, headers=DATED)

    return answer


@contextlib.asynccontextmanager
async def serving(answer: Handler) -> AsyncIterator[str]:
    """A server; its address."""
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def with_server(root: Path, files: dict[str, bytes], test: Callable[[Engine, str], Awaitable[None]]) -> None:
    async def main() -> None:
        async with an_engine(root) as engine, serving(files_of(files)) as address:
            async with asyncio.timeout(60):
                await test(engine, address)

    asyncio.run(main())


@pytest.mark.row("F-099")
@pytest.mark.row("F-101")
def test_add_fetches_a_url_and_checks_its_digest(tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()

    async def test(engine: Engine, address: str) -> None:
        dockerfile = f"FROM busybox\nADD {address}/a/file.txt?x=1 /into/\nADD --checksum=sha256:{digest} {address}/a/file.txt /named\n"
        found = await build(engine, dockerfile)
        assert tree(engine, found.image)["into/file.txt"] == f"600 0:0 {CONTENT.decode()}"
        assert tree(engine, found.image)["named"] == f"600 0:0 {CONTENT.decode()}"
        assert (await build(engine, dockerfile)).cached == 2
        with pytest.raises(BuildFailed, match="digest mismatch"):
            await build(engine, f"FROM busybox\nADD --checksum=sha256:{'0' * 64} {address}/a/file.txt /x\n")
        with pytest.raises(BuildFailed, match="with status 404"):
            await build(engine, f"FROM busybox\nADD {address}/nothing /x\n")
        with pytest.raises(BuildFailed, match="cannot determine filename from url"):
            await build(engine, f"FROM busybox\nADD {address}/dir/ /x/\n")
        with pytest.raises(BuildFailed, match="source can't be a URL for COPY"):
            await build(engine, f"FROM busybox\nCOPY {address}/a/file.txt /x\n")

    with_server(tmp_path, {"/a/file.txt": CONTENT}, test)


@pytest.mark.row("F-098")
def test_archives_from_the_network_are_unpacked_when_asked(tmp_path: Path) -> None:
    async def test(engine: Engine, address: str) -> None:
        found = tree(
            engine,
            (
                await build(engine, f"FROM busybox\nADD {address}/a.tgz /k/\nADD --unpack=true {address}/a.tgz /u/\n")
            ).image,
        )
        assert "k/a.tgz" in found
        assert found["u/f"] == "644 0:0 packed"

    with_server(tmp_path, {"/a.tgz": gzip.compress(archive({"f": "packed"}))}, test)


@pytest.mark.row("F-227")
@pytest.mark.row("F-173")
def test_a_context_may_be_the_url_of_an_archive_or_of_a_dockerfile(tmp_path: Path) -> None:
    files = {
        "/c.tar.gz": gzip.compress(context("FROM busybox\nCOPY f /f\n", {"f": "1"})),
        "/plain": b"FROM busybox\nLABEL a=1\n",
    }

    async def test(engine: Engine, address: str) -> None:
        built = await build(engine, "", remote=f"{address}/c.tar.gz")
        assert tree(engine, built.image) == {"f": "644 0:0 1"}
        built = await build(engine, "", remote=f"{address}/plain", dockerfile="ignored")
        assert built.image.config.run.labels == {"a": "1"}
        with pytest.raises(InvalidArgument, match="must be an http or https URL"):
            await build(engine, "", remote="client-session")

    with_server(tmp_path, files, test)


class Server:
    """One file with an ETag or a time, behind a token; `asked` is what each request had, `sent` how many bodies went out."""

    def __init__(self) -> None:
        self.body, self.headers = CONTENT, {"ETag": '"1"'}
        self.asked: list[tuple[str, str, str]] = []
        self.sent = 0

    async def answer(self, request: web.Request) -> web.Response:
        given = request.headers
        conditions = given.get("If-None-Match", ""), given.get("If-Modified-Since", "")
        self.asked.append((*conditions, given.get("Authorization", "")))
        if given.get("Authorization") not in ("Bearer let-me-in", "Basic whole-header"):
            return web.Response(status=401)
        if any(conditions) and any(each in self.headers.values() for each in conditions):
            return web.Response(status=304)
        self.sent += 1
        return web.Response(body=self.body, headers=self.headers)


def with_locked_server(root: Path, server: Server, test: Callable[[Engine, str], Awaitable[None]]) -> None:
    async def main() -> None:
        async with serving(server.answer) as address, asyncio.timeout(60):
            async with an_engine(root) as engine:
                await test(engine, address)
            async with an_engine(root) as engine:
                before = server.sent
                await test_again(engine, address)
                assert server.sent == before

    async def test_again(engine: Engine, address: str) -> None:
        """Another engine over the same data knows what the server said."""
        await build(engine, f"FROM busybox\nADD {address}/f /f\n", secrets=TOKEN)

    asyncio.run(main())


TOKEN = {"HTTP_AUTH_TOKEN_127.0.0.1": b"let-me-in"}


@pytest.mark.row("F-099", "F-100")
def test_a_file_that_its_server_calls_unchanged_is_not_sent_again(tmp_path: Path) -> None:
    server = Server()

    async def test(engine: Engine, address: str) -> None:
        dockerfile = f"FROM busybox\nADD {address}/f /f\n"
        with pytest.raises(BuildFailed, match="with status 401"):
            await build(engine, dockerfile)
        first = await build(engine, dockerfile, secrets=TOKEN)
        again = await build(engine, dockerfile, secrets={"HTTP_AUTH_HEADER_127.0.0.1": b"Basic whole-header"})
        assert (again.cached, server.sent, server.asked[-1]) == (1, 1, ('"1"', "", "Basic whole-header"))
        assert again.image.id == first.image.id
        # A step that isn't in the cache needs the bytes after all.
        elsewhere = await build(engine, f"FROM busybox\nADD {address}/f /elsewhere\n", secrets=TOKEN)
        assert tree(engine, elsewhere.image)["elsewhere"] == f"600 0:0 {CONTENT.decode()}"
        # A time does where there is no tag, and another body is another step.
        server.body, server.headers, server.sent = b"new\n", DATED, 0
        changed = await build(engine, dockerfile, secrets=TOKEN)
        assert tree(engine, changed.image)["f"] == "600 0:0 new\n"
        assert ((await build(engine, dockerfile, secrets=TOKEN)).cached, server.sent) == (1, 1)
        assert server.asked[-1][:2] == ("", DATED["Last-Modified"])
        wrong = f"FROM busybox\nADD --checksum=sha256:{'0' * 64} {address}/f /f\n"
        with pytest.raises(BuildFailed, match="digest mismatch"):
            await build(engine, wrong, secrets=TOKEN)
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or b"let-me-in" not in path.read_bytes(), path

    with_locked_server(tmp_path, server, test)


class Hostile:
    """A server that means no good; `seen` is what another host got of the client's credentials."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        port = request.url.port
        places = {
            "/file": "file:///etc/hostname", "/loop": "/loop", "/elsewhere": f"http://localhost:{port}/told", "/unix": "unix:///run/docker.sock",
        }  # fmt: skip
        if request.path in places:
            return web.Response(status=302, headers={"Location": places[request.path]})
        if request.path == "/told":
            self.seen.append(request.headers.get("Authorization", ""))
            return web.Response(body=b"told")
        if request.path == "/unasked":
            return web.Response(status=304)
        if request.path == "/short":
            response = web.StreamResponse(headers={"Content-Length": "1000", "ETag": '"short"'})
            await response.prepare(request)
            await response.write(b"less")
            if request.transport is not None:
                request.transport.close()
            return response
        return web.Response(body=b"named")


@pytest.mark.row("S-48", "S-49", "F-099", "F-101")
@pytest.mark.parametrize("kind", ["ADD", "context"])
def test_a_server_that_means_no_good_gives_nothing(tmp_path: Path, kind: str) -> None:
    hostile = Hostile()

    async def main() -> None:
        async with an_engine(tmp_path) as engine, serving(hostile.answer) as address, asyncio.timeout(60):
            for path in ("file", "loop", "unix", "unasked", "short", "short"):
                url = f"{address}/{path}"
                dockerfile, query = (f"FROM busybox\nADD {url} /x\n", {}) if kind == "ADD" else ("", {"remote": url})
                with pytest.raises(OnggiError):
                    await build(engine, dockerfile, secrets=TOKEN, **query)
            if kind == "ADD":
                for path in ("%2e%2e", "a/..%2f", "%00", "a/.."):
                    with pytest.raises(OnggiError):
                        await build(engine, f"FROM busybox\nADD {address}/{path} /x/\n")
                await build(engine, f"FROM busybox\nADD {address}/elsewhere /x\n", secrets=TOKEN)
                assert hostile.seen == [""]
            assert (await build(engine, "FROM busybox\nRUN true\n")).image.layers

    asyncio.run(main())
