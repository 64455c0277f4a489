"""What a graph comes to as an image: its layers, and the config that the client's frontend says in the result's metadata.

Source: moby buildkit exporter/containerimage/writer.go (patchImageConfig, normalizeLayersAndHistory).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from onggi.build import state
from onggi.build.buildkit.llb.carrying import Carrying, Given
from onggi.build.request import Built
from onggi.build.vertices import SourceFile
from onggi.oci.image import History, ImageConfig, RootFS, decode_image_config
from onggi.oci.platform import Platform, host_platform, parse_platform

if TYPE_CHECKING:
    from onggi.build.builder import Builder
    from onggi.build.buildkit.pb import ops_pb2
    from onggi.build.buildkit.tracing import Trace
    from onggi.build.request import Request
    from onggi.oci.digest import Digest

CONFIG_KEY: Final = "containerimage.config"
_COMMENT: Final = "buildkit.exporter.image.v0"


@asynccontextmanager
async def solved(
    builder: Builder, request: Request, trace: Trace, given: Given, definition: ops_pb2.Definition
) -> AsyncIterator[Sequence[Built]]:
    """The result of a graph, whose layers are held while the block lasts; none for an empty graph."""
    async with builder.opened(request, trace) as solving:
        layers = await Carrying(solving, trace, given).run(definition)
        materials = (*solving.sources.bases.materials.values(), *solving.sources.git.materials)
        config = _config(ImageConfig(), host_platform(), layers)
        yield [Built(config.platform, config, layers, SourceFile("", b""), materials, solving.made)]


def configured(results: Mapping[str, Built], metadata: Mapping[str, bytes]) -> dict[str, Built]:
    """Results with the configs that a frontend has given them. Raises InvalidArgument."""
    found = {}
    for name, built in results.items():
        raw = metadata.get(f"{CONFIG_KEY}/{name}" if name else CONFIG_KEY, b"")
        platform = parse_platform(name) if "/" in name else built.platform
        if raw and not built.file.name:
            config = _config(decode_image_config(raw), platform, built.layers)
            built = replace(built, config=config, platform=config.platform)  # noqa: PLW2901
        found[name] = built
    return found


def _config(config: ImageConfig, platform: Platform, layers: Sequence[Digest]) -> ImageConfig:
    """With the layers that there are, and a history that speaks of as many."""
    now = state.now_text()
    history = list(config.history or ())
    told = sum(not entry.empty_layer for entry in history)
    history += [History(created=now, comment=_COMMENT)] * max(0, len(layers) - told)
    if told > len(layers):
        history = [History(created=now, comment=_COMMENT)] * len(layers)
    return msgspec.structs.replace(
        config,
        architecture=config.architecture or platform.architecture,
        os=config.os or platform.os,
        variant=config.variant or platform.variant,
        rootfs=RootFS(diff_ids=list(layers)),
        created=config.created or now,
        history=history,
    )
