"""SourceOp: images, directories of the client, repositories, files behind URLs, OCI layouts, each as layers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from onggi.build import state
from onggi.build.buildkit.rpc import Code, RpcError
from onggi.build.copyjob import CopyArgs, InTree, Spooled
from onggi.build.fetching import name_of
from onggi.build.keys import step_key
from onggi.build.plan import Kind, Origin
from onggi.build.sources import tree_of
from onggi.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onggi.build.buildkit.llb.carrying import Carrying, Layers
    from onggi.build.buildkit.llb.reading import Node
    from onggi.build.buildkit.tracing import Step
    from onggi.build.context import Context
    from onggi.store.layers import LayerInfo

_LISTS: Final = ("local.includepattern", "local.excludepatterns", "local.followpaths")


async def fetched(carrying: Carrying, node: Node, step: Step) -> Layers:
    """The tree of a source. Raises RpcError for a scheme that isn't known, and what the source raises."""
    scheme, _, rest = node.op.source.identifier.partition("://")
    match scheme:
        case "docker-image":
            return await _image(carrying, node, step, rest)
        case "oci-layout":
            attrs = node.op.source.attrs
            step.start()
            built = await carrying.given.layout(rest, attrs.get("oci.store", ""), carrying.platform(node))
            step.done()
            for layer in built.layers:
                carrying.solving.hold(layer)
            return built.layers
        case "local":
            return await _local(carrying, node, step, rest)
        case "git":
            return await _git(carrying, node, step, rest)
        case "http" | "https":
            return await _file(carrying, node, step)
    raise RpcError(Code.UNIMPLEMENTED, f"unsupported source scheme {scheme!r}: {node.op.source.identifier}")


async def _image(carrying: Carrying, node: Node, step: Step, reference: str) -> Layers:
    attrs = node.op.source.attrs
    step.start()
    pull = attrs.get("image.resolvemode") == "pull"
    if checksum := attrs.get("image.checksum"):
        reference = f"{reference.partition('@')[0]}@{checksum}"
    origin = Origin(Kind.IMAGE, reference, platform=carrying.platform(node))
    image = await carrying.solving.sources.bases.image(origin, pull=pull)
    step.done()
    return tuple(image.layers)


async def _local(carrying: Carrying, node: Node, step: Step, name: str) -> Layers:
    include, exclude, follow = (_words(node.op.source.attrs.get(each, "")) for each in _LISTS)
    step.start()
    context = await carrying.solving.request.contexts.local(
        name, follow=follow, exclude=exclude, include=include, vertex=step
    )
    try:
        return await _tree(carrying, node, step, context)
    finally:
        context.close()


async def _git(carrying: Carrying, node: Node, step: Step, rest: str) -> Layers:
    attrs = node.op.source.attrs
    step.start()
    context = await carrying.solving.sources.git.context(
        repository(rest, attrs),
        step,
        keep_git_dir=attrs.get("git.keepgitdir") == "true",
        checksum=attrs.get("git.checksum", ""),
    )
    try:
        return await _tree(carrying, node, step, context)
    finally:
        context.close()


def repository(rest: str, attrs: Mapping[str, str]) -> str:
    """The address of a git source: clients say it in full beside the identifier, which has no scheme of its own."""
    remote = attrs.get("git.fullurl") or f"https://{rest.partition('#')[0]}"
    fragment = rest.partition("#")[2]
    return f"{remote.partition('#')[0]}#{fragment}" if fragment else remote


async def _tree(carrying: Carrying, node: Node, step: Step, context: Context) -> Layers:
    """All files of a context as one layer, known by their content."""
    found = await asyncio.to_thread(tree_of, context, "/")
    return await _layer(carrying, node, step, found.digest, found.items, context.spool)


async def _file(carrying: Carrying, node: Node, step: Step) -> Layers:
    """A file by itself, named as the URL or the client names it."""
    attrs, url = node.op.source.attrs, node.op.source.identifier
    if (urlsplit(url).hostname or "") == "":
        raise InvalidArgument(f"invalid URL {url}")
    step.start()
    fetcher = carrying.solving.fetcher
    entry = await fetcher.fetch(url, attrs.get("http.checksum", ""))
    name = attrs.get("http.filename") or name_of(url, needed=False)
    if "/" in name or name in (".", ".."):
        raise InvalidArgument(f"invalid file name {name!r}")
    mode = _number(attrs.get("http.perm", ""), 0o600)
    entry = msgspec.structs.replace(entry, mode=mode, path="")
    owner = f"{_number(attrs.get('http.uid', ''), 0)}:{_number(attrs.get('http.gid', ''), 0)}"
    told = repr((name, mode, owner, entry.digest, entry.mtime_ns))
    return await _layer(carrying, node, step, told, [Spooled(name, [entry])], fetcher.fd, owner=owner)


async def _layer(
    carrying: Carrying,
    node: Node,
    step: Step,
    told: str,
    items: Sequence[Spooled | InTree],
    spool: int,
    *,
    owner: str = "",
) -> Layers:
    solving = carrying.solving
    key = step_key(("step", "llb tree"), ("files", told))
    known = await solving.known(key)
    if known is None:
        made = await _made(carrying, items, spool, owner)
        now = state.now_text()
        solving.builder.cache.add(key.digest, now, node.name, made.diff_id, made.size, kind="source.local")
        layer = made.diff_id
    else:
        layer = known.layer
    solving.hold(layer)
    step.done()
    return (layer,)


async def _made(carrying: Carrying, items: Sequence[Spooled | InTree], spool: int, owner: str) -> LayerInfo:
    layering = carrying.solving.builder.layering
    async with layering.step(()) as snapshot:
        args = CopyArgs([], snapshot.upper, snapshot.work, "/", list(items), chown=owner)
        return await layering.copy(snapshot, args, [spool])


def _words(text: str) -> list[str]:
    """A JSON list of strings, as clients put lists into attributes. Raises InvalidArgument."""
    try:
        return msgspec.json.decode(text, type=list[str]) if text else []
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"invalid list {text!r}: {error}") from error


def _number(text: str, default: int) -> int:
    """Go's strconv.ParseInt with base 0. Raises InvalidArgument."""
    if not text:
        return default
    try:
        return int(text, 8) if text.isdigit() and text.startswith("0") else int(text, 0)
    except ValueError:
        raise InvalidArgument(f"invalid number {text!r}") from None
