"""A graph carried out: operations side by side, each once, each from the cache, from another build that is at it, or made now."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from onggi.build import state
from onggi.build.buildkit.definitions import SCHEME as RESULT_SCHEME
from onggi.build.buildkit.llb import actions, fetching
from onggi.build.buildkit.llb.differing import difference
from onggi.build.buildkit.llb.executing import Executing
from onggi.build.buildkit.llb.reading import Graph, Node, read_graph
from onggi.build.buildkit.pb import ops_pb2
from onggi.build.buildkit.rpc import Code, RpcError, decoded
from onggi.build.errors import BuildFailed
from onggi.build.keys import StepKey, step_key
from onggi.build.running import Shown
from onggi.build.solving import Outcome
from onggi.build.together import together
from onggi.errors import InvalidArgument, NotFound, OnggiError
from onggi.oci.digest import Digest
from onggi.oci.platform import Platform, host_platform

if TYPE_CHECKING:
    from onggi.build.buildkit.tracing import Step, Trace
    from onggi.build.flights import Listener
    from onggi.build.request import Built
    from onggi.build.solving import Solving
    from onggi.store.layers import LayerInfo

Layers = tuple[Digest, ...]
"""A tree: its layers, lowest first. None of them is the empty tree."""

_DEFINITION_NAME: Final = "buildkit.llb.definition"
_DEPTH_LIMIT: Final = 16
"""Of graphs that graphs have made: a process may always make one more."""

_DEFINITION_LIMIT: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Given:
    """What a graph may name beside its own operations: results of the client's builds, images of its OCI layouts."""

    result: Callable[[str], Built]
    layout: Callable[[str, str, Platform], Awaitable[Built]]
    """By the reference and the name of the client's store."""


@dataclass(slots=True)
class Carrying:
    """One graph of one build, whose caches, sources and secrets are those of `solving`."""

    solving: Solving
    trace: Trace
    given: Given
    depth: int = 0
    _graph: Graph = field(default_factory=lambda: Graph({}, (), None))
    _group: asyncio.TaskGroup | None = None
    _tasks: dict[str, asyncio.Task[list[Layers]]] = field(default_factory=dict)
    _steps: dict[str, Step] = field(default_factory=dict)
    _keys: dict[str, str] = field(default_factory=dict)

    async def run(self, definition: ops_pb2.Definition) -> Layers:
        """The tree that the graph's end points at.

        Raises RpcError, BuildFailed with place and vertex, and what sources raise. Cancelled: nothing runs any more.
        """
        graph = self._graph = read_graph(definition)
        if graph.target is None:
            return ()
        for digest in graph.order:
            node = graph.nodes[digest]
            inputs = [self._steps[each.digest] for each in node.op.inputs]
            group = node.metadata.progress_group
            self._steps[digest] = self.trace.operation(digest, node.name, inputs, group if group.id else None)
        async with together() as tasks:
            self._group = tasks
            found = await self.output(graph.target)
        await self.solving.builder.cache.settled()
        return found

    async def output(self, wanted: ops_pb2.Input) -> Layers:
        """One output of one operation. Raises what the operation raises."""
        task = self._tasks.get(wanted.digest)
        if task is None:
            if self._group is None:
                raise AssertionError("outside of run")
            node = self._graph.nodes[wanted.digest]
            task = self._tasks[wanted.digest] = self._group.create_task(self._told(node), name=f"build {node.name}")
        outputs = await asyncio.shield(task)
        if not 0 <= wanted.index < len(outputs):
            raise RpcError(Code.INVALID_ARGUMENT, f"invalid output index {wanted.index} of {wanted.digest}")
        return outputs[wanted.index]

    async def _told(self, node: Node) -> list[Layers]:
        step = self._steps[node.digest]
        try:
            inputs = list(await asyncio.gather(*map(self.output, node.op.inputs)))
            return await self._outputs(node, step, inputs)
        except asyncio.CancelledError:
            step.done("context canceled")
            raise
        except (OnggiError, UnicodeEncodeError) as error:
            raise _placed(node, step, error) from error

    async def _outputs(self, node: Node, step: Step, inputs: Sequence[Layers]) -> list[Layers]:
        op = node.op
        match node.kind:
            case "source" if op.source.identifier.startswith(RESULT_SCHEME):
                step.cached()
                return [self.given.result(op.source.identifier.removeprefix(RESULT_SCHEME)).layers]
            case "source":
                return [await fetching.fetched(self, node, step)]
            case "exec":
                return await Executing(self, node, step, inputs).outputs()
            case "file":
                return await actions.outputs(self, node, step, inputs)
            case "merge":
                step.cached()
                # What lies below is hidden by what lies above, whichever tree a layer came with.
                found = [layer for each in op.merge.inputs for layer in self.chosen(inputs, each.input)]
                return [tuple(reversed(dict.fromkeys(reversed(found))))]
            case "diff":
                lower = self.chosen(inputs, op.diff.lower.input)
                return [await difference(self, node, step, lower, self.chosen(inputs, op.diff.upper.input))]
            case "passthrough":
                step.cached()
                return [self.chosen(inputs, each) for each in op.passthrough.outputs] or list(inputs)
            case "build":
                return [await self._nested(node, step, inputs)]
        raise AssertionError(node.kind)

    def chosen(self, inputs: Sequence[Layers], number: int) -> Layers:
        """An input by its number; -1 is the empty tree. Raises RpcError."""
        if number == -1:
            return ()
        if not 0 <= number < len(inputs):
            raise RpcError(Code.INVALID_ARGUMENT, f"invalid input index {number}")
        return inputs[number]

    async def _nested(self, node: Node, step: Step, inputs: Sequence[Layers]) -> Layers:
        """A graph that another operation has made: a file of its own encoding."""
        numbers = {name: each.input for name, each in node.op.build.inputs.items()}
        layers = self.chosen(inputs, numbers.get(_DEFINITION_NAME, 0))
        name = node.op.build.attrs.get("llbbuild.filename") or _DEFINITION_NAME
        step.start()
        data = await asyncio.to_thread(self._read, layers, name)
        if self.depth >= _DEPTH_LIMIT:
            raise BuildFailed(f"graphs that make graphs go deeper than {_DEPTH_LIMIT}")
        nested = Carrying(self.solving, self.trace, self.given, self.depth + 1)
        found = await nested.run(decoded(data, ops_pb2.Definition))
        step.done()
        return found

    def _read(self, layers: Layers, name: str) -> bytes:
        path = self.solving.directories_of(Shown(layers, name))[0]
        if not os.path.isfile(path):
            raise BuildFailed(f"{name} is no regular file")
        with open(path, "rb") as file:
            return file.read(_DEFINITION_LIMIT)

    # For operations

    def key(self, node: Node, inputs: Sequence[Layers]) -> StepKey:
        return step_key(("step", f"llb {node.kind}"), ("operation", node.key), ("inputs", tuple(inputs)))

    async def layers(
        self,
        node: Node,
        step: Step,
        key: StepKey,
        count: int,
        make: Callable[[Listener], Awaitable[Sequence[LayerInfo]]],
        *,
        own: bool = False,
    ) -> list[Digest]:
        """The `count` layers of an operation: all from the cache, or made together and remembered.

        `own`: the operation uses what only this client has.
        """
        keys = [key.with_parts(("output", number)) for number in range(count)]
        fresh = node.metadata.ignore_cache
        if not fresh:
            known = [await self.solving.known(each) for each in keys]
            if all(known):
                step.cached()
                return self._held([each for each in known if each is not None])
        step.start()

        async def work(listener: Listener) -> Outcome:
            made = await make(listener)
            now = state.now_text()
            for each, layer in zip(keys, made, strict=True):
                self.solving.remember([each], node.name, Outcome(layer.diff_id, now, each.digest), fresh=fresh)
            return Outcome(made[0].diff_id, now, key.digest)

        flight = f"{key.digest} {id(self)}" if fresh or own else key.digest
        await self.solving.builder.flights.join(flight, work, step.log)
        found = [await self.solving.known(each) for each in keys]
        step.done()
        return self._held([each for each in found if each is not None])

    def _held(self, outcomes: Sequence[Outcome]) -> list[Digest]:
        for each in outcomes:
            self.solving.hold(each.layer)
        return [each.layer for each in outcomes]

    def paths(self, layers: Layers) -> list[str]:
        """On the disk, topmost first."""
        store = self.solving.builder.layering.layers
        return [store.path(layer) for layer in dict.fromkeys(reversed(layers))]

    async def nothing(self) -> Layers:
        """An empty tree that can be mounted."""
        return (await self.solving.nothing(),)

    def platform(self, node: Node) -> Platform:
        asked = node.op.platform
        if not asked.OS:
            return host_platform()
        return Platform(asked.Architecture, asked.OS, asked.OSVersion, list(asked.OSFeatures), asked.Variant)


def _placed(node: Node, step: Step, error: Exception) -> Exception:
    """The error with its place; what the machine is to blame for stays what it is."""
    step.done(str(error))
    failed = BuildFailed(str(error)) if isinstance(error, InvalidArgument | UnicodeEncodeError | NotFound) else error
    if isinstance(failed, BuildFailed):
        failed.vertex = failed.vertex or step
        failed.location = failed.location or node.location
    return failed
