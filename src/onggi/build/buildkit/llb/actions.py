"""FileOp: chains of actions on a tree. What follows one another without being an output is one layer, as in BuildKit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from onggi.build.buildkit.llb import filejob
from onggi.build.buildkit.llb.filejob import Action, Chown, FileArgs
from onggi.build.buildkit.rpc import Code, RpcError
from onggi.errors import InvalidArgument
from onggi.oci.digest import Digest

if TYPE_CHECKING:
    from onggi.build.buildkit.llb.carrying import Carrying, Layers
    from onggi.build.buildkit.llb.reading import Node
    from onggi.build.buildkit.pb import ops_pb2
    from onggi.build.buildkit.tracing import Step
    from onggi.build.flights import Listener
    from onggi.store.layers import LayerInfo


async def outputs(carrying: Carrying, node: Node, step: Step, inputs: Sequence[Layers]) -> list[Layers]:
    """The trees that the actions leave, by the numbers of outputs."""
    chains = _Chains(carrying, node.op.file, inputs)
    numbers = chains.outputs()
    key = carrying.key(node, inputs)

    async def make(listener: Listener) -> Sequence[LayerInfo]:
        del listener
        return [await chains.layer(number) for number in numbers]

    layers = await carrying.layers(node, step, key, len(numbers), make)
    return [(*chains.base(number), layer) for number, layer in zip(numbers, layers, strict=True)]


class _Chains:
    """States of one FileOp: numbers below the count of inputs are those, each further one is what an action has made."""

    def __init__(self, carrying: Carrying, op: ops_pb2.FileOp, inputs: Sequence[Layers]) -> None:
        self._carrying, self._actions, self._inputs = carrying, list(op.actions), inputs
        self._made: dict[int, Layers] = {}

    def outputs(self) -> list[int]:
        """The state of each output. Raises RpcError when one is missing."""
        found = {each.output: len(self._inputs) + at for at, each in enumerate(self._actions) if each.output >= 0}
        if sorted(found) != list(range(len(found))) or not found:
            raise RpcError(Code.INVALID_ARGUMENT, "invalid file operation: its outputs are not numbered from 0")
        return [found[number] for number in sorted(found)]

    def base(self, state: int) -> Layers:
        """The tree that a state's chain of actions begins with."""
        while state >= len(self._inputs):
            state = self._earlier(state, self._actions[state - len(self._inputs)].input)
        return self._carrying.chosen(self._inputs, state)

    async def layer(self, state: int) -> LayerInfo:
        """What the chain of actions that ends in `state` makes."""
        chain: list[int] = []
        below = state
        while below >= len(self._inputs):
            chain.insert(0, below)
            below = self._earlier(below, self._actions[below - len(self._inputs)].input)
        asked = [await self._asked(each, self._actions[each - len(self._inputs)]) for each in chain]
        layering = self._carrying.solving.builder.layering
        async with layering.step(self.base(state)) as snapshot:
            memfd = os.memfd_create("onggi-file-actions", os.MFD_CLOEXEC)
            with os.fdopen(memfd, "wb") as file:
                file.write(msgspec.msgpack.encode(FileArgs(snapshot.lower[:-1], snapshot.upper, snapshot.work, asked)))
                file.flush()
                await layering.workers.run("onggi.build.buildkit.llb.filejob:act", None, [memfd])
            return await layering.capture(snapshot)

    def _earlier(self, state: int, number: int) -> int:
        if number >= state:
            raise RpcError(Code.INVALID_ARGUMENT, f"invalid input index {number} of a file action")
        return number

    async def _tree(self, state: int, number: int) -> Layers:
        """What an action of `state` reads: a state before it, as a tree that is never empty."""
        self._earlier(state, number)
        if number >= len(self._inputs):
            if number not in self._made:
                layer = (await self.layer(number)).diff_id
                self._carrying.solving.hold(layer)
                self._made[number] = (*self.base(number), Digest(layer))
            return self._made[number]
        return self._carrying.chosen(self._inputs, number) or await self._carrying.nothing()

    async def _asked(self, state: int, action: ops_pb2.FileAction) -> Action:
        """As the worker takes it. Raises RpcError, InvalidArgument."""
        match action.WhichOneof("action"):
            case "mkfile":
                file = action.mkfile
                owner = await self._owner(state, file.owner, action.input)
                return filejob.MakeFile(_path(file.path), file.mode, file.data, owner, file.timestamp)
            case "mkdir":
                made = action.mkdir
                owner = await self._owner(state, made.owner, action.input)
                return filejob.MakeDirectory(_path(made.path), made.mode, made.makeParents, owner, made.timestamp)
            case "symlink":
                link = action.symlink
                owner = await self._owner(state, link.owner, action.input)
                return filejob.MakeLink(_path(link.newpath), link.oldpath, owner, link.timestamp)
            case "rm":
                return filejob.Remove(_path(action.rm.path), action.rm.allowNotFound, action.rm.allowWildcard)
            case "copy":
                return await self._copy(state, action)
        raise RpcError(Code.UNIMPLEMENTED, "a file action of a kind that is not known here")

    async def _copy(self, state: int, action: ops_pb2.FileAction) -> filejob.Copy:
        copy = action.copy
        if copy.alwaysReplaceExistingDestPaths:
            raise RpcError(
                Code.UNIMPLEMENTED,
                "unknown API capability file.copy.alwaysreplaceexistingdestpaths: paths of another type stay",
            )
        return filejob.Copy(
            lower=self._carrying.paths(await self._tree(state, action.secondaryInput)),
            source=_path(copy.src),
            destination=_path(copy.dest),
            owner=await self._owner(state, copy.owner, action.input),
            mode=copy.modeStr or (f"{copy.mode & 0o7777:o}" if copy.mode >= 0 else ""),
            follow=copy.followSymlink,
            contents=copy.dirCopyContents,
            unpack=copy.attemptUnpackDockerCompatibility,
            make_parents=copy.createDestPath,
            wildcard=copy.allowWildcard,
            none_is_fine=copy.allowEmptyWildcard,
            mtime_ns=copy.timestamp,
            include=list(copy.include_patterns),
            exclude=list(copy.exclude_patterns),
            required=list(copy.required_paths),
        )

    async def _owner(self, state: int, asked: ops_pb2.ChownOpt, own: int) -> Chown:
        """Names mean what they mean in the tree that the client says; usually the one that is written to."""
        if not asked.HasField("user") and not asked.HasField("group"):
            return Chown()
        words, lower = [], []
        for each in (asked.user, asked.group):
            kind = each.WhichOneof("user")
            words.append(each.byName.name if kind == "byName" else str(each.byID) if kind else "")
            if kind == "byName" and each.byName.input not in (own, -1):
                lower = self._carrying.paths(await self._tree(state, each.byName.input))
        user, group = words
        return Chown(f"{user or 0}:{group}" if group else user, lower)


def _path(text: str) -> str:
    """Absolute, with the slash at its end if it had one. Raises InvalidArgument."""
    if "\0" in text:
        raise InvalidArgument("a NUL in a path")
    return "/" + text.lstrip("/")
