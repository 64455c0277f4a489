"""DiffOp: what a tree has that another hasn't."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from onggi.build.buildkit.llb import diffjob

if TYPE_CHECKING:
    from onggi.build.buildkit.llb.carrying import Carrying, Layers
    from onggi.build.buildkit.llb.reading import Node
    from onggi.build.buildkit.tracing import Step
    from onggi.build.flights import Listener
    from onggi.store.layers import LayerInfo


async def difference(carrying: Carrying, node: Node, step: Step, lower: Layers, upper: Layers) -> Layers:
    """The layers by which `upper` goes on from `lower`, without copying; of unrelated trees a layer that is made."""
    if upper[: len(lower)] == lower:
        step.cached()
        return upper[len(lower) :]

    async def make(listener: Listener) -> Sequence[LayerInfo]:
        del listener
        layering = carrying.solving.builder.layering
        after = carrying.paths(upper or await carrying.nothing())
        async with layering.step(()) as snapshot:
            args = diffjob.DiffArgs(carrying.paths(lower), after, snapshot.upper)
            await layering.workers.run("onggi.build.buildkit.llb.diffjob:diff", args)
            return [await layering.capture(snapshot)]

    return tuple(await carrying.layers(node, step, carrying.key(node, [lower, upper]), 1, make))
