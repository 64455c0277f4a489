"""Graphs that a client sends itself, as buildctl and Dagger's kin do. What trees come to is what dockerd's BuildKit answered."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onggi.build.buildkit.pb import control_pb2, gateway_pb2, ops_pb2, session_pb2
from onggi.build.buildkit.rpc import Code, Methods, RpcError, ServerCall, unary
from tests.clients.daemon import Daemon, running
from tests.clients.gateway import CONTROL, Directory, connected
from tests.clients.llb import Builder, Graph, Output, copy, image, mkdir, mkfile, owner, remove, with_builder
from tests.engine.test_build_git import daemon as git_daemon

pytestmark = pytest.mark.root
pb, gw = control_pb2, gateway_pb2


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


class Secrets(Directory):
    """Serves what `tell` says of a secret's name."""

    def __init__(self, tell: Callable[[str], bytes]) -> None:
        super().__init__({})
        self._tell = tell

    def methods(self) -> Methods:
        secret = unary(session_pb2.GetSecretRequest, self._give)
        return {**super().methods(), "/moby.buildkit.secrets.v1.Secrets/GetSecret": secret}

    async def _give(self, request: session_pb2.GetSecretRequest, call: ServerCall) -> session_pb2.GetSecretResponse:
        del call
        return session_pb2.GetSecretResponse(data=self._tell(request.ID))


@pytest.mark.row("F-285", "F-290")
def test_a_process_has_what_its_operation_says(daemon: Daemon) -> None:
    script = "{ echo $A; id -u; id -g; pwd; hostname; echo $PATH; grep -c hh /etc/hosts; ulimit -n; } > /tmp/out"

    async def work(builder: Builder) -> None:
        graph = Graph()
        base = image(graph)
        end = graph.shell(
            base, script, env=["A=1"], user="7:8", cwd="/tmp", hostname="hn",
            extraHosts=[ops_pb2.HostIP(Host="hh", IP="1.2.3.4")], ulimit=[ops_pb2.Ulimit(Name="nofile", Soft=99, Hard=99)],
        )  # fmt: skip
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        told = f"1\n7\n8\n/tmp\nhn\n{path}\n1\n99\n"
        assert (await builder.files(graph, graph.diff(base, end)))["/tmp/out"] == f"644 7:8 {told}"
        for status, valid, refused in ((3, [3], ""), (4, [], "exit code: 4"), (0, [3], "exit code: 0")):
            result = graph.shell(base, f"exit {status}", validExitCodes=valid)
            if refused:
                with pytest.raises(RpcError, match=refused):
                    await builder.solve(graph, result)
            else:
                await builder.solve(graph, result)
        for field, value, name in (("exec_network", 1, "network.host"), ("exec_security", 1, "security.insecure")):
            with pytest.raises(RpcError, match=f"entitlement {name} is not allowed"):
                await builder.solve(graph, graph.run(base, "true", **{field: value}))

    with_builder(daemon, work)


@pytest.mark.row("F-285")
def test_mounts_show_parts_of_trees_and_become_trees(daemon: Daemon) -> None:
    script = "cat /m/u > /m2/out; echo w > /m3/w; echo t > /tm/x; ls /tm >> /m2/out; echo kept > /cache/k; cat /sec >> /m2/out; echo $S >> /m2/out; ! touch /m/x"

    async def work(builder: Builder) -> None:
        graph = Graph()
        tree = graph.file(None, mkdir("/s/t", makeParents=True), mkfile("/s/t/u", "hello\n"))
        kinds = ops_pb2
        ran = graph.shell(
            image(graph),
            script,
            mounts=[
                (kinds.Mount(dest="/m", selector="/s/t", output=-1, readonly=True), tree),
                (kinds.Mount(dest="/m2", output=1), None),
                (kinds.Mount(dest="/m3", output=2), tree),
                (kinds.Mount(dest="/tm", output=-1, mountType=kinds.TMPFS), None),
                (kinds.Mount(dest="/cache", output=-1, mountType=kinds.CACHE, cacheOpt=kinds.CacheOpt(ID="llb")), None),
                (kinds.Mount(dest="/sec", output=-1, mountType=kinds.SECRET, secretOpt=kinds.SecretOpt(ID="a")), None),
            ],
            exec_secretenv=[kinds.SecretEnv(ID="b", name="S")],
        )
        assert await builder.files(graph, (ran[0], 1)) == {"/out": "644 0:0 hello\nx\nsecret a\nsecret b\n"}
        assert (await builder.files(graph, (ran[0], 2)))["/w"] == "644 0:0 w\n"
        whole = await builder.files(graph, graph.merge((ran[0], 1), (ran[0], 2)))
        assert set(whole) == {"/out", "/w", "/s/", "/s/t/", "/s/t/u"}
        mount = (kinds.Mount(dest="/c", output=-1, mountType=kinds.CACHE, cacheOpt=kinds.CacheOpt(ID="llb")), None)
        await builder.solve(graph, graph.shell(image(graph), "test -f /c/k", mounts=[mount]))

    with_builder(daemon, work, Secrets(lambda name: f"secret {name}\n".encode()))


@pytest.mark.row("F-288")
def test_trees_are_laid_over_each_other_and_told_apart_without_copying(daemon: Daemon) -> None:
    async def work(builder: Builder) -> None:
        graph = Graph()
        below = graph.file(None, mkdir("/d"), mkfile("/d/x", "a"), mkfile("/gone", "1"), mkfile("/same", timestamp=5))
        above = graph.file(below, remove("/gone"), mkfile("/d/y", "b"))
        await builder.solve(graph, above)
        layers = set((daemon.root / "data" / "layers").iterdir())
        changed = graph.diff(below, above)
        new = {"/d/": "755 0:0", "/d/y": "644 0:0 b"}
        assert await builder.files(graph, changed) == new
        assert set((daemon.root / "data" / "layers").iterdir()) == layers
        other = graph.file(None, mkfile("/gone", "here"), mkfile("/keep", "k"))
        assert await builder.files(graph, graph.merge(other, changed)) == new | {"/keep": "644 0:0 k"}
        assert await builder.files(graph, graph.diff(None, other)) == {"/gone": "644 0:0 here", "/keep": "644 0:0 k"}
        # Of one tree from the other's layers nothing is known: what differs is looked for.
        apart = graph.file(None, mkdir("/d"), mkfile("/d/y", "b"), mkfile("/same", timestamp=5), mkfile("/new", "n"))
        assert await builder.files(graph, graph.diff(below, apart)) == new | {"/new": "644 0:0 n"}
        assert await builder.files(graph, graph.merge(below, graph.diff(below, apart))) == new | {
            "/new": "644 0:0 n",
            "/same": "644 0:0 ",
        }

    with_builder(daemon, work)


async def meta(builder: Builder, identifier: str, **attrs: str) -> gateway_pb2.ResolveSourceMetaResponse:
    request = gw.ResolveSourceMetaRequest(Source=ops_pb2.SourceOp(identifier=identifier, attrs=attrs))
    return await builder.client.bridge("ResolveSourceMeta", request, gw.ResolveSourceMetaResponse)


@pytest.mark.row("F-286", "F-271")
def test_sources_come_from_the_client_from_repositories_and_from_urls(daemon: Daemon, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(repository)]
    repository.mkdir()
    (repository / "sub").mkdir()
    (repository / "sub" / "f").write_text("in git")
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    files = {"a": b"1", "b": b"2"}

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words: object) -> None:
            super().__init__(*words, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, format: str, *words: object) -> None:
            pass

    async def work(builder: Builder) -> None:
        graph = Graph()
        assert await builder.files(graph, graph.source("local://context")) == {"/a": "644 0:0 1", "/b": "644 0:0 2"}
        only = graph.source("local://context", local_followpaths=json.dumps(["b"]))
        assert await builder.files(graph, only) == {"/b": "644 0:0 2"}
        place = f"127.0.0.1:{server.server_address[1]}"
        url = f"http://{place}/repository/sub/f"
        named = graph.source(url, http_filename="g", http_perm="0755", http_uid="3", http_gid="4")
        assert await builder.files(graph, named) == {"/g": "755 3:4 in git"}
        assert await builder.files(graph, graph.source(url)) == {"/f": "600 0:0 in git"}
        with pytest.raises(RpcError, match="digest mismatch"):
            await builder.solve(graph, graph.source(url, http_checksum="sha256:" + "0" * 64))
        full = f"{served}/repository"
        found = graph.source(f"git://{full.partition('://')[2]}#main:sub", git_fullurl=full)
        assert await builder.files(graph, found) == {"/f": "644 0:0 in git"}
        with pytest.raises(RpcError, match="unsupported source scheme 'nope'"):
            await builder.solve(graph, graph.source("nope://x"))
        told = await meta(builder, url)
        assert told.HTTP.Checksum == "sha256:" + hashlib.sha256(b"in git").hexdigest()
        assert told.HTTP.Filename == "f"
        told = await meta(builder, f"git://{full.partition('://')[2]}#main", **{"git.fullurl": full})
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        assert (told.Git.Checksum, told.Git.Ref) == (head, "main")
        told = await meta(builder, "docker-image://busybox")
        assert b'"rootfs"' in told.Image.Config
        pinned = graph.source(f"docker-image://docker.io/library/busybox@{told.Image.Digest}")
        stat = gw.StatFileRequest(Ref=await builder.solve(graph, pinned), Path="/bin")
        assert (await builder.client.bridge("StatFile", stat, gw.StatFileResponse)).stat.path == "bin"
        with pytest.raises(RpcError, match="unsupported source scheme 'local'"):
            await meta(builder, "local://context")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server, git_daemon(tmp_path) as served:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with_builder(daemon, work, Directory(files))
        server.shutdown()


@pytest.mark.row("F-281", "F-291")
def test_what_is_not_understood_is_refused_by_its_name_before_anything_runs(daemon: Daemon) -> None:
    async def work(builder: Builder) -> None:
        graph = Graph()
        odd = graph.add(ops_pb2.Op(merge=ops_pb2.MergeOp()), caps={"mergeop": True, "op.of.tomorrow": True})
        with pytest.raises(RpcError, match=r"unknown API capability op\.of\.tomorrow") as caught:
            await builder.solve(graph, odd)
        assert caught.value.code is Code.UNIMPLEMENTED
        broken = ops_pb2.Definition()
        getattr(broken, "def").extend([b"\xff\xff", b""])
        missing = ops_pb2.Definition()
        end = ops_pb2.Op(inputs=[ops_pb2.Input(digest="sha256:" + "0" * 64)])
        getattr(missing, "def").extend([b"\x1a\x02\x0a\x00", end.SerializeToString()])
        for definition, told in ((broken, "failed to parse llb"), (missing, "invalid missing input digest")):
            with pytest.raises(RpcError, match=told):
                await builder.client.bridge("Solve", gw.SolveRequest(Definition=definition), gw.SolveResponse)

    with_builder(daemon, work)


@pytest.mark.row("F-284")
def test_a_hostile_graph_is_refused(daemon: Daemon) -> None:
    def of_itself(graph: Graph) -> Output:
        action = copy("/", "/x", 0)
        action.input, action.secondaryInput = -1, 0
        return graph.add(ops_pb2.Op(file=ops_pb2.FileOp(actions=[action])))

    def of_what_comes_later(graph: Graph) -> Output:
        action = mkfile("/x", owner=owner("root", tree=7))
        action.input, action.secondaryInput = -1, -1
        return graph.add(ops_pb2.Op(file=ops_pb2.FileOp(actions=[action])))

    def over_the_root(graph: Graph) -> Output:
        return graph.shell(image(graph), "true", mounts=[(ops_pb2.Mount(dest="/x/..", output=-1), None)])

    def of_no_output(graph: Graph) -> Output:
        return graph.merge((image(graph)[0], 3))

    def of_no_graph(graph: Graph) -> Output:
        made = graph.file(None, mkfile("/buildkit.llb.definition", "\xff"))
        return graph.add(ops_pb2.Op(build=ops_pb2.BuildOp(builder=-1)), [made])

    def of_a_directory(graph: Graph) -> Output:
        made = graph.file(None, mkdir("/buildkit.llb.definition"))
        return graph.add(ops_pb2.Op(build=ops_pb2.BuildOp(builder=-1)), [made])

    async def work(builder: Builder) -> None:
        for made in (
            of_itself,
            of_what_comes_later,
            over_the_root,
            of_no_output,
            of_no_graph,
            of_a_directory,
        ):
            graph = Graph()
            result = made(graph)
            with pytest.raises(RpcError) as caught:
                await builder.solve(graph, result)
            assert caught.value.code in (Code.INVALID_ARGUMENT, Code.UNKNOWN), made.__name__

    with_builder(daemon, work)


@pytest.mark.row("F-289")
def test_a_graph_that_makes_itself_for_ever_ends(daemon: Daemon) -> None:
    graph = Graph()
    secret = ops_pb2.Mount(dest="/s", output=-1, mountType=ops_pb2.SECRET, secretOpt=ops_pb2.SecretOpt(ID="graph"))
    ran = graph.shell(image(graph), "cat /s > /buildkit.llb.definition", mounts=[(secret, None)])
    result = graph.add(ops_pb2.Op(build=ops_pb2.BuildOp(builder=-1)), [ran])
    itself = graph.definition(result).SerializeToString()

    async def work(builder: Builder) -> None:
        with pytest.raises(RpcError, match="graphs that make graphs"):
            await builder.solve(graph, result)

    with_builder(daemon, work, Secrets(lambda _: itself))


@pytest.mark.row("F-284", "F-290", "F-309")
def test_operations_are_known_by_their_digests_names_and_places(daemon: Daemon) -> None:
    async def work(builder: Builder) -> None:
        graph = Graph()
        named = graph.shell(image(graph), "echo out; exit 9", op_description={"llb.customname": "the step"})
        definition = graph.definition(named)
        definition.Source.infos.add(filename="build.py", data=b"one\ntwo\n", language="Python")
        place = definition.Source.locations[named[0]].locations.add(sourceIndex=0)
        place.ranges.add(start=ops_pb2.Position(line=2), end=ops_pb2.Position(line=2))
        with pytest.raises(RpcError, match="exit code: 9") as caught:
            await builder.client.bridge("Solve", gw.SolveRequest(Definition=definition), gw.SolveResponse)
        details = {detail.type_url.rpartition(".")[2]: detail.value for detail in caught.value.details}
        assert json.loads(details["Vertex+json"])["digest"] == named[0]
        assert json.loads(details["Source+json"])["info"]["filename"] == "build.py"
        async with builder.client.channel.call(CONTROL + "Status") as call:
            await call.send(pb.StatusRequest(Ref=builder.client.ref))
            call.end()
            seen: dict[str, str] = {}
            logs = b""
            while not logs or not seen.get(named[0]):
                message = await call.receive(pb.StatusResponse)
                assert message is not None
                seen |= {vertex.digest: vertex.name for vertex in message.vertexes}
                logs += b"".join(log.msg for log in message.logs if log.vertex == named[0])
        assert seen[named[0]] == "the step"
        assert logs == b"out\n"

    with_builder(daemon, work)


@pytest.mark.row("F-284", "F-290")
def test_equal_operations_are_done_once_in_whatever_graph_unless_the_client_says_otherwise(daemon: Daemon) -> None:
    async def work(builder: Builder) -> None:
        once = Graph()
        result = once.shell(image(once), "cat /proc/sys/kernel/random/uuid > /id")
        first = await builder.solve(once, result)
        again = Graph()
        other = again.shell(again.file(image(again), mkdir("/x")), "true")
        same = again.shell(image(again), "cat /proc/sys/kernel/random/uuid > /id")
        second = await builder.solve(again, again.merge(other, same))
        fresh = Graph()
        third = await builder.solve(
            fresh, fresh.shell(image(fresh), "cat /proc/sys/kernel/random/uuid > /id", op_ignore_cache=True)
        )
        ids = [
            (
                await builder.client.bridge(
                    "ReadFile", gw.ReadFileRequest(Ref=ref, FilePath="/id"), gw.ReadFileResponse
                )
            ).Data
            for ref in (first, second, third)
        ]
        assert ids[0] == ids[1] != ids[2]

    with_builder(daemon, work)


@pytest.mark.row("F-289")
def test_a_graph_may_be_made_by_a_graph(daemon: Daemon) -> None:
    async def work(builder: Builder) -> None:
        inner = Graph()
        definition = inner.definition(inner.file(None, mkfile("/inner", "in")))
        outer = Graph()
        made = ops_pb2.FileActionMkFile(path="/g", mode=0o644, data=definition.SerializeToString(), timestamp=-1)
        holds = outer.file(None, ops_pb2.FileAction(mkfile=made))
        build = ops_pb2.BuildOp(
            builder=-1,
            inputs={"buildkit.llb.definition": ops_pb2.BuildInput(input=0)},
            attrs={"llbbuild.filename": "g"},
        )
        nested = outer.add(ops_pb2.Op(build=build), [holds])
        passed = outer.add(ops_pb2.Op(passthrough=ops_pb2.PassthroughOp(id="p", outputs=[0])), [nested])
        assert await builder.files(outer, passed) == {"/inner": "644 0:0 in"}

    with_builder(daemon, work)


@pytest.mark.row("F-284", "F-272")
def test_a_graph_becomes_an_image_with_the_config_that_its_frontend_says(daemon: Daemon) -> None:
    async def returned() -> None:
        async with asyncio.timeout(50), connected(daemon.socket, Directory({})) as client:
            exporters = [pb.Exporter(Type="moby", Attrs={"name": "from-llb"})]
            wanted = pb.SolveRequest(Ref=client.ref, Session=client.session, Exporters=exporters)
            task = asyncio.create_task(client.channel.unary(CONTROL + "Solve", wanted, pb.SolveResponse))
            graph = Graph()
            ref = await Builder(client).solve(graph, graph.shell(image(graph), "echo made > /made"))
            config = {"config": {"Cmd": ["cat", "/made"], "Labels": {"a": "b"}}}
            result = gw.Result(ref=gw.Ref(id=ref), metadata={"containerimage.config": json.dumps(config).encode()})
            await client.bridge("Return", gw.ReturnRequest(result=result), gw.ReturnResponse)
            await task

    async def straight() -> None:
        async with asyncio.timeout(50), connected(daemon.socket, Directory({})) as client:
            exporters = [pb.Exporter(Type="moby", Attrs={"name": "straight-llb"})]
            graph = Graph()
            definition = graph.definition(graph.shell(image(graph), "echo straight > /made"))
            wanted = pb.SolveRequest(Ref=client.ref, Session=client.session, Exporters=exporters, Definition=definition)
            await client.channel.unary(CONTROL + "Solve", wanted, pb.SolveResponse)

    asyncio.run(returned())
    assert daemon.say("run", "--rm", "--network=none", "from-llb") == "made"
    assert daemon.say("inspect", "-f", "{{.Config.Labels.a}}", "from-llb") == "b"
    asyncio.run(straight())
    assert daemon.say("run", "--rm", "--network=none", "straight-llb", "cat", "/made") == "straight"


@pytest.mark.row("F-284", "F-282")
def test_a_dockerfile_may_stand_on_a_graph(daemon: Daemon) -> None:
    files = {"Dockerfile": b"FROM scratch\nCOPY --from=given /g /h\n"}

    async def work(builder: Builder) -> None:
        graph = Graph()
        given = graph.definition(graph.file(None, mkfile("/g", "graph")))
        request = gw.SolveRequest(
            Frontend="dockerfile.v0",
            FrontendOpt={"context:given": "input:given"},
            FrontendInputs={"given": given},
            allowResultReturn=True,
            allowResultArrayRef=True,
        )
        answer = await builder.client.bridge("Solve", request, gw.SolveResponse)
        assert await builder.tree(answer.result.ref.id) == {"/h": "644 0:0 graph"}
        # And a graph on the Dockerfile's result, by the definition that came with it.
        data = getattr(getattr(answer.result.ref, "def"), "def")[0]
        on_top = Graph()
        base = on_top.add(ops_pb2.Op.FromString(data))
        found = await builder.files(on_top, on_top.file(base, mkfile("/i", "top")))
        assert found == {"/h": "644 0:0 graph", "/i": "644 0:0 top"}

    with_builder(daemon, work, Directory(files))
