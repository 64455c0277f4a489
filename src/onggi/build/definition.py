"""A build's beginning: where its files come from, its Dockerfile, its ignore file."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from onggi.build.context import Context
from onggi.build.lines import SIZE_LIMIT
from onggi.build.plan import MAIN, Origin
from onggi.build.vertices import SourceFile, Vertex
from onggi.errors import InvalidArgument, NotFound
from onggi.ignore import IgnoreRules, clean, read_ignore_file

if TYPE_CHECKING:
    from onggi.build.remote import Remotes
    from onggi.build.request import Request
    from onggi.build.vertices import Progress

NAMES: Final = ("Dockerfile", "Containerfile")
_IGNORE_NAMES: Final = (".dockerignore", ".containerignore")
_IGNORE_LIMIT: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Definition:
    """`patterns` are the ignore file's lines, for the main context; `main` is where that comes from."""

    file: SourceFile
    patterns: tuple[str, ...]
    main: Origin = MAIN

    @property
    def ignore(self) -> IgnoreRules | None:
        return IgnoreRules(self.patterns) if self.patterns else None


async def load_definition(
    request: Request, progress: Progress, remotes: Remotes, stack: contextlib.AsyncExitStack
) -> Definition:
    """Contexts that are opened are closed with `stack`. Raises InvalidArgument, NotFound, BuildFailed."""
    options = request.options
    names = [clean(options.dockerfile)] if options.dockerfile else list(NAMES)
    if names[0].startswith("../") or names[0] == "..":
        raise InvalidArgument(f"the Dockerfile ({options.dockerfile}) must be within the build context")
    names = [name.removeprefix("/") for name in names]
    if options.remote:
        origin = remotes.origin(options.remote)
        context = await remotes.context(origin)
        return _found(context, list(NAMES) if remotes.is_plain(origin) else names, options.remote, main=origin)
    follow = [*names, *(f"{name}.dockerignore" for name in names)]
    vertex = progress.vertex(f"[internal] load build definition from {posixpath.basename(names[0])}")
    with told(vertex):
        context = await request.contexts.local("dockerfile", follow=follow, vertex=vertex)
        stack.callback(context.close)
        found = _found(context, names, names[0])
    if found.patterns:
        return found
    vertex = progress.vertex("[internal] load .dockerignore")
    with told(vertex):
        return Definition(found.file, await patterns_of(request, "context", stack, vertex))


async def patterns_of(request: Request, name: str, stack: contextlib.AsyncExitStack, vertex: Vertex) -> tuple[str, ...]:
    """The ignore file of a local directory; empty when it has none, or there is no such directory."""
    try:
        context = await request.contexts.local(name, follow=list(_IGNORE_NAMES), vertex=vertex)
    except NotFound:
        return ()
    stack.callback(context.close)
    for each in _IGNORE_NAMES:
        node = context.find(each)
        if node is not None:
            return tuple(read_ignore_file(context.read(node, _IGNORE_LIMIT)))
    return ()


@contextlib.contextmanager
def told(vertex: Vertex) -> Iterator[None]:
    """The vertex begins and ends with the block."""
    vertex.start()
    try:
        yield
    except BaseException as error:
        vertex.done(str(error) or "context canceled")
        raise
    vertex.done()


def _found(context: Context, names: list[str], shown: str, main: Origin = MAIN) -> Definition:
    name = next((name for name in names if context.find(name) is not None), names[0])
    node = context.find(name)
    if node is None:
        raise InvalidArgument(f"Cannot locate specified Dockerfile: {names[0]}")
    data = context.read(node, SIZE_LIMIT)
    if not data:
        raise InvalidArgument(f"the Dockerfile ({shown if main is not MAIN else name}) cannot be empty")
    patterns: tuple[str, ...] = ()
    for each in (f"{name}.dockerignore", *(() if main is MAIN else _IGNORE_NAMES)):
        ignore = context.find(each)
        if ignore is not None:
            patterns = tuple(read_ignore_file(context.read(ignore, _IGNORE_LIMIT)))
            break
    return Definition(SourceFile(name, data), patterns, main)
