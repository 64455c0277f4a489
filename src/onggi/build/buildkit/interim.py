"""A build by today's solver, told as steps: until `Builder.solve` is there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from onggi.build.builder import Builder
from onggi.build.dockerfile import parse_dockerfile
from onggi.build.output import Message
from onggi.build.request import Built, Request, Solved
from onggi.build.solving import Solving
from onggi.build.vertices import Progress, SourceFile, Vertex
from onggi.ignore import read_ignore_file
from onggi.oci.image import ImageConfig

_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)\n", re.DOTALL)


class _Told:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._vertex: Vertex | None = None

    def say(self, message: msgspec.Struct) -> None:
        if not isinstance(message, Message) or not message.stream:
            return
        found = _STEP.fullmatch(message.stream)
        if found:
            self.end()
            self._vertex = self._progress.vertex(f"[{found[1]}/{found[2]}] {found[3]}")
            self._vertex.start()
        elif message.stream == " ---> Using cache\n" and self._vertex is not None:
            self._vertex.cached()
        elif self._vertex is not None and not message.stream.startswith((" --->", "Successfully")):
            self._vertex.log(1, message.stream.encode())

    def end(self, error: str = "") -> None:
        if self._vertex is not None:
            self._vertex.done(error)
            self._vertex = None


@asynccontextmanager
async def solve(builder: Builder, request: Request, progress: Progress) -> AsyncIterator[Solved]:
    options = request.options
    name = options.dockerfile or "Dockerfile"
    step = progress.vertex(f"[internal] load build definition from {name}")
    step.start()
    context = await request.contexts.local("dockerfile", follow=[name, f"{name}.dockerignore"], vertex=step)
    node = context.find(name)
    data = context.read(node, 1 << 20) if node else b""
    context.close()
    step.done()
    step = progress.vertex("[internal] load .dockerignore")
    step.start()
    context = await request.contexts.local("context", follow=[".dockerignore"], vertex=step)
    node = context.find(".dockerignore")
    exclude = read_ignore_file(context.read(node, 1 << 20)) if node else []
    context.close()
    step.done()
    dockerfile = await asyncio.to_thread(parse_dockerfile, data)
    step = progress.vertex("[internal] load build context")
    step.start()
    context = await request.contexts.local("context", exclude=exclude, vertex=step)
    step.done()
    told = _Told(progress)
    try:
        identifier = await Solving(builder, options, context, dockerfile, told.say).run()
    except Exception as error:
        told.end(str(error))
        raise
    finally:
        context.close()
    told.end()
    image = builder.images.get(identifier)
    config: ImageConfig = image.config
    yield Solved((Built(config.platform, config, tuple(image.layers), SourceFile(name, data)),))
