"""BuildKit's calls one by one, as a client makes them that isn't buildx."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from onggi.build.buildkit.http2 import Connection
from onggi.build.buildkit.pb import control_pb2, gateway_pb2, status_pb2
from onggi.build.buildkit.rpc import Code, RpcError
from tests.clients.daemon import Daemon, running
from tests.clients.gateway import CONTROL, Client, Directory, connected, upgraded

pytestmark = pytest.mark.root
pb, gw = control_pb2, gateway_pb2


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


def run(daemon: Daemon, files: dict[str, bytes], work: Callable[[Client, Directory], Awaitable[None]]) -> None:
    async def go() -> None:
        directory = Directory(files)
        async with asyncio.timeout(50), connected(daemon.socket, directory) as client:
            await work(client, directory)

    asyncio.run(go())


def solving(client: Client, **request: object) -> asyncio.Task[control_pb2.SolveResponse]:
    """Control.Solve, which waits for what the client returns as frontend."""
    wanted = pb.SolveRequest(Ref=client.ref, Session=client.session, **request)  # type: ignore[arg-type]
    return asyncio.create_task(client.channel.unary(CONTROL + "Solve", wanted, pb.SolveResponse))


@pytest.mark.row("F-260")
@pytest.mark.row("F-270")
@pytest.mark.row("F-281")
def test_the_engine_says_what_it_is_and_what_it_can(daemon: Daemon) -> None:
    async def work(client: Client, directory: Directory) -> None:
        info = await client.channel.unary(CONTROL + "Info", pb.InfoRequest(), pb.InfoResponse)
        assert info.buildkitVersion.version.startswith("v0.")
        workers = await client.channel.unary(CONTROL + "ListWorkers", pb.ListWorkersRequest(), pb.ListWorkersResponse)
        assert len(workers.record) == 1
        task = solving(client)
        pong = await client.bridge("Ping", gw.PingRequest(), gw.PongResponse)
        assert {"solve.base", "return", "readfile"} <= {cap.ID for cap in pong.FrontendAPICaps if cap.Enabled}
        offered = {cap.ID for cap in pong.LLBCaps}
        assert "source.local" in offered
        assert {"mergeop", "diffop", "exec.meta.base", "file.base"} <= offered
        assert "source.imageblob" not in offered
        assert pong.Workers[0].ID == workers.record[0].ID
        task.cancel()

    run(daemon, {}, work)


@pytest.mark.row("F-264")
@pytest.mark.row("F-272")
@pytest.mark.row("F-273")
@pytest.mark.row("F-274")
@pytest.mark.row("F-275")
def test_a_result_can_be_looked_into_before_it_is_returned(daemon: Daemon) -> None:
    dockerfile = b"FROM busybox\nCOPY word /d/word\nRUN ln -s word /d/link && chmod 4750 /d/word && mkfifo /d/fifo\n"

    async def work(client: Client, directory: Directory) -> None:
        task = solving(client, Exporters=[pb.Exporter(Type="moby", Attrs={"name": "returned"})])
        result = await client.solve()
        assert b'"architecture"' in result.metadata["containerimage.config"]
        ref = result.ref.id
        await client.bridge("Evaluate", gw.EvaluateRequest(Ref=ref), gw.EvaluateResponse)
        read = gw.ReadFileRequest(Ref=ref, FilePath="/d/link")
        assert (await client.bridge("ReadFile", read, gw.ReadFileResponse)).Data == b"hello"
        read.Range.Offset, read.Range.Length = 1, 3
        assert (await client.bridge("ReadFile", read, gw.ReadFileResponse)).Data == b"ell"
        listed = await client.bridge("ReadDir", gw.ReadDirRequest(Ref=ref, DirPath="d"), gw.ReadDirResponse)
        assert [entry.path for entry in listed.entries] == ["fifo", "link", "word"]
        assert listed.entries[1].linkname == "word"
        wanted = gw.ReadDirRequest(Ref=ref, DirPath="/d", IncludePattern="w*")
        assert len((await client.bridge("ReadDir", wanted, gw.ReadDirResponse)).entries) == 1
        found = await client.bridge("StatFile", gw.StatFileRequest(Ref=ref, Path="d/word"), gw.StatFileResponse)
        assert (found.stat.size, found.stat.mode) == (5, 0o750 | 1 << 23)
        for path, code in (
            ("/nothing", Code.NOT_FOUND),
            ("/d/fifo", Code.INVALID_ARGUMENT),
            ("/d", Code.INVALID_ARGUMENT),
        ):
            with pytest.raises(RpcError) as caught:
                await client.bridge("ReadFile", gw.ReadFileRequest(Ref=ref, FilePath=path), gw.ReadFileResponse)
            assert caught.value.code is code
        await client.bridge("Return", gw.ReturnRequest(result=result), gw.ReturnResponse)
        response = await task
        assert response.ExporterResponse["containerimage.digest"].startswith("sha256:")

    run(daemon, {"Dockerfile": dockerfile, "word": b"hello"}, work)
    assert daemon.say("inspect", "-f", "{{.Os}}", "returned") == "linux"


@pytest.mark.row("F-275")
@pytest.mark.row("F-279")
@pytest.mark.row("F-280")
def test_a_frontend_may_warn_fail_and_name_no_build_of_others(daemon: Daemon) -> None:
    async def work(client: Client, directory: Directory) -> None:
        with pytest.raises(RpcError, match="no buildid"):
            await client.bridge("Ping", gw.PingRequest(), gw.PongResponse, ref="")
        task = solving(client)
        warning = gw.WarnRequest(digest="sha256:x", short=b"mind the gap", url="https://example.org")
        await client.bridge("Warn", warning, gw.WarnResponse)
        error = status_pb2.Status(code=Code.UNKNOWN, message="the frontend gave up")
        await client.bridge("Return", gw.ReturnRequest(error=error), gw.ReturnResponse)
        with pytest.raises(RpcError, match="the frontend gave up"):
            await task
        async with client.channel.call(CONTROL + "Status") as call:
            await call.send(pb.StatusRequest(Ref=client.ref))
            call.end()
            told = []
            while (message := await call.receive(pb.StatusResponse)) is not None:
                told += [warned.short for warned in message.warnings]
        assert told == [b"mind the gap"]
        with pytest.raises(RpcError) as caught:
            await client.bridge("Ping", gw.PingRequest(), gw.PongResponse, ref="nobody's")
        assert caught.value.code is Code.NOT_FOUND

    run(daemon, {}, work)


@pytest.mark.row("F-263")
@pytest.mark.row("F-295")
@pytest.mark.row("F-265")
def test_a_frontend_named_in_solve_needs_no_gateway(daemon: Daemon) -> None:
    async def work(client: Client, directory: Directory) -> None:
        attrs = {"build-arg:A": "straight", "unknown-attribute": "ignored"}
        exporters = [pb.Exporter(Type="moby", Attrs={"name": "straight"})]
        await solving(client, Frontend="dockerfile.v0", FrontendAttrs=attrs, Exporters=exporters, Internal=True)
        assert {"Dockerfile", "Dockerfile.dockerignore"} <= set(directory.asked[0]["followpaths"])
        history = pb.BuildHistoryRequest(Ref=client.ref, EarlyExit=True)
        async with client.channel.call(CONTROL + "ListenBuildHistory") as call:
            await call.send(history)
            call.end()
            assert await call.receive(pb.BuildHistoryEvent) is None  # internal: no record
        # A client on a busy machine asks what was told when all is over; it gives up after 3 s.
        async with asyncio.timeout(2), client.channel.call(CONTROL + "Status") as call:
            await call.send(pb.StatusRequest(Ref=client.ref))
            call.end()
            message = await call.receive(pb.StatusResponse)
            assert message is not None
            assert "exporting to image" in {vertex.name for vertex in message.vertexes}
            assert await call.receive(pb.StatusResponse) is None

    run(daemon, {"Dockerfile": b"FROM scratch\nARG A\nLABEL said=$A\n"}, work)
    assert daemon.say("inspect", "-f", "{{.Config.Labels.said}}", "straight") == "straight"


@pytest.mark.row("F-293")
@pytest.mark.row("F-294")
def test_a_session_is_known_by_its_id_and_asked_for_what_it_offers(daemon: Daemon) -> None:
    async def work(client: Client, directory: Directory) -> None:
        with pytest.raises(AssertionError, match="HTTP/1.1 409"):
            await upgraded(daemon.socket, "/session", Connection(), [("X-Docker-Expose-Session-Uuid", client.session)])
        with pytest.raises(RpcError, match="secret none: not found"):
            await solving(client, Frontend="dockerfile.v0")

    files = {"Dockerfile": b"FROM busybox\nRUN --mount=type=secret,id=none,required=true true\n"}
    run(daemon, files, work)
