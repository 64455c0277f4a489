"""Graphs of operations as buildctl's kin write them: each operation's bytes, named by their digest; and a client that sends them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from onggi.build.buildkit.pb import control_pb2, gateway_pb2
from onggi.build.buildkit.pb import ops_pb2 as pb
from onggi.build.buildkit.rpc import RpcError
from tests.clients.daemon import Daemon
from tests.clients.gateway import CONTROL, Client, Directory, connected

gw = gateway_pb2
Tree = dict[str, object]
Output = tuple[str, int]
"""An operation's digest, and which of its outputs."""


class Graph:
    """Collects operations; `definition` ends them."""

    def __init__(self) -> None:
        self._parts: dict[str, bytes] = {}
        self._made = pb.Definition()

    def add(self, op: pb.Op, inputs: Sequence[Output] = (), **metadata: Any) -> Output:
        """`metadata` are fields of OpMetadata."""
        op.inputs.extend(pb.Input(digest=digest, index=index) for digest, index in inputs)
        data = op.SerializeToString(deterministic=True)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self._parts[digest] = data
        self._made.metadata[digest].CopyFrom(pb.OpMetadata(**metadata))
        return digest, 0

    def source(self, identifier: str, **attrs: str) -> Output:
        words = {name.replace("_", "."): value for name, value in attrs.items()}
        return self.add(pb.Op(source=pb.SourceOp(identifier=identifier, attrs=words)))

    def run(
        self, base: Output, *args: str, mounts: Sequence[tuple[pb.Mount, Output | None]] = (), **more: Any
    ) -> Output:
        """A process over `base`, whose changed tree is output 0. `more` are fields of Meta, ExecOp (`exec_…`) and OpMetadata (`op_…`)."""
        inputs, asked = [base], [pb.Mount(input=0, dest="/", output=0)]
        for mount, shown in mounts:
            mount.input = -1
            if shown is not None:
                mount.input = len(inputs)
                inputs.append(shown)
            asked.append(mount)
        meta = {name: value for name, value in more.items() if not name.startswith(("exec_", "op_"))}
        fields = {name.removeprefix("exec_"): value for name, value in more.items() if name.startswith("exec_")}
        told = {name.removeprefix("op_"): value for name, value in more.items() if name.startswith("op_")}
        made = pb.ExecOp(meta=pb.Meta(args=args, **{"cwd": "/", **meta}), mounts=asked, **fields)
        return self.add(pb.Op(exec=made), inputs, **told)

    def shell(self, base: Output, script: str, **more: Any) -> Output:
        return self.run(base, "/bin/sh", "-c", script, **more)

    def file(self, base: Output | None, *actions: pb.FileAction, others: Sequence[Output] = ()) -> Output:
        """Actions one after the other; those without an input go on from the one before. Inputs: `base` if any, then `others`."""
        inputs = [*([base] if base else []), *others]
        before = 0 if base else -1
        for at, action in enumerate(actions):
            action.input, action.output = before, 0 if at == len(actions) - 1 else -1
            if not action.HasField("copy"):
                action.secondaryInput = -1
            before = len(inputs) + at
        return self.add(pb.Op(file=pb.FileOp(actions=actions)), inputs)

    def merge(self, *inputs: Output) -> Output:
        return self.add(pb.Op(merge=pb.MergeOp(inputs=[pb.MergeInput(input=n) for n in range(len(inputs))])), inputs)

    def diff(self, lower: Output | None, upper: Output) -> Output:
        inputs = [*([lower] if lower else []), upper]
        low = pb.LowerDiffInput(input=0 if lower else -1)
        return self.add(pb.Op(diff=pb.DiffOp(lower=low, upper=pb.UpperDiffInput(input=len(inputs) - 1))), inputs)

    def definition(self, result: Output) -> pb.Definition:
        made = pb.Definition()
        made.CopyFrom(self._made)
        end = pb.Op(inputs=[pb.Input(digest=result[0], index=result[1])]).SerializeToString()
        getattr(made, "def").extend([*self._parts.values(), end])
        made.metadata["sha256:" + hashlib.sha256(end).hexdigest()].CopyFrom(pb.OpMetadata())
        return made


def mkfile(path: str, data: str = "", mode: int = 0o644, **more: Any) -> pb.FileAction:
    made = pb.FileActionMkFile(path=path, data=data.encode(), mode=mode, timestamp=more.pop("timestamp", -1), **more)
    return pb.FileAction(mkfile=made)


def mkdir(path: str, mode: int = 0o755, **more: Any) -> pb.FileAction:
    made = pb.FileActionMkDir(path=path, mode=mode, timestamp=more.pop("timestamp", -1), **more)
    return pb.FileAction(mkdir=made)


def remove(path: str, **more: Any) -> pb.FileAction:
    return pb.FileAction(rm=pb.FileActionRm(path=path, **more))


def symlink(target: str, path: str, **more: Any) -> pb.FileAction:
    return pb.FileAction(symlink=pb.FileActionSymlink(oldpath=target, newpath=path, timestamp=-1, **more))


def copy(source: str, destination: str, tree: int, **more: Any) -> pb.FileAction:
    """From the input `tree`."""
    words = {"mode": -1, "timestamp": -1, **more}
    made = pb.FileActionCopy(src=source, dest=destination, **words)
    return pb.FileAction(copy=made, secondaryInput=tree)


def owner(user: int | str, group: int | str | None = None, tree: int = 0) -> pb.ChownOpt:
    """Names are those of the input `tree`."""

    def option(value: int | str) -> pb.UserOpt:
        if isinstance(value, int):
            return pb.UserOpt(byID=value)
        return pb.UserOpt(byName=pb.NamedUserOpt(name=value, input=tree))

    return pb.ChownOpt(user=option(user), group=option(group) if group is not None else None)


class Builder:
    """A client that is its build's frontend, and sends graphs."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def solve(self, graph: Graph, result: Output) -> str:
        """The id of a result. Raises RpcError."""
        request = gw.SolveRequest(
            Definition=graph.definition(result), allowResultReturn=True, allowResultArrayRef=True, Evaluate=True
        )
        return (await self.client.bridge("Solve", request, gw.SolveResponse)).result.ref.id

    async def tree(self, ref: str, path: str = "/") -> Tree:
        """Path → [mode, owner,] content; directories end with a slash."""
        found: Tree = {}
        listed = await self.client.bridge("ReadDir", gw.ReadDirRequest(Ref=ref, DirPath=path), gw.ReadDirResponse)
        for each in listed.entries:
            below = path + each.path
            told = f"{each.mode & 0o777:o} {each.uid}:{each.gid}"
            if each.mode & 1 << 31:
                found[below + "/"] = told
                found |= await self.tree(ref, below + "/")
            elif each.mode & 1 << 27:
                found[below] = f"-> {each.linkname}"
            else:
                read = gw.ReadFileRequest(Ref=ref, FilePath=below)
                data = (await self.client.bridge("ReadFile", read, gw.ReadFileResponse)).Data
                found[below] = f"{told} {data.decode()}"
        return found

    async def files(self, graph: Graph, result: Output) -> Tree:
        return await self.tree(await self.solve(graph, result))


@asynccontextmanager
async def building(daemon: Daemon, directory: Directory | None = None, **request: object) -> AsyncIterator[Builder]:
    """A build is open for the block."""
    async with asyncio.timeout(50), connected(daemon.socket, directory or Directory({})) as client:
        wanted = control_pb2.SolveRequest(Ref=client.ref, Session=client.session, **request)  # type: ignore[arg-type]
        task = asyncio.create_task(client.channel.unary(CONTROL + "Solve", wanted, control_pb2.SolveResponse))
        try:
            yield Builder(client)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, RpcError):
                await task


def with_builder(
    daemon: Daemon, work: Callable[[Builder], Awaitable[None]], directory: Directory | None = None
) -> None:
    async def go() -> None:
        async with building(daemon, directory) as builder:
            await work(builder)

    asyncio.run(go())


def image(graph: Graph) -> Output:
    return graph.source("docker-image://docker.io/library/busybox:latest")
