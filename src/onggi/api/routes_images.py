"""Images: list, inspect, pull, push, load, save, import, tag, remove, prune."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from onggi.api import filternames, shapes_images
from onggi.api.answers import TAR, empty, json_answer
from onggi.api.auth import decode_auth
from onggi.api.hangup import HangUp
from onggi.api.matching import label_test, only_flag
from onggi.api.progress import progress
from onggi.api.shapes_networks import until_of
from onggi.api.streams import Stream, closing
from onggi.api.table import Routes
from onggi.api.times import rfc3339_nano
from onggi.errors import InvalidArgument, NotFound
from onggi.oci.platform import Platform, parse_platform, preference
from onggi.oci.reference import parse_reference

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call
    from onggi.api.progress import Output
    from onggi.images import Image

routes = Routes()


@routes.on("GET", "/images/json", "E-026")
async def list_images(call: Call) -> StreamResponse:
    query, engine = call.query, call.engine
    filters = query.filters(filternames.IMAGES)
    if call.version <= 40 and query.text("filter"):
        filters = {**filters, "reference": [query.text("filter")]}
    wanted = shapes_images.image_test(filters, engine.images)
    used = engine.containers.users_of_images()
    shared = shapes_images.shared_sizes(engine.images) if query.flag("shared-size") else {}
    return json_answer(
        [
            shapes_images.summary(
                image,
                call.version,
                containers=used.get(image.id, 0),
                shared=shared.get(image.id, -1),
                names=wanted(image),
            )
            for image in engine.images.list()
            if (query.flag("all") or image.tags or image.digests or not engine.images.children(image.id))
            and wanted(image) is not None
        ]
    )


@routes.on("POST", "/images/create", "E-029", hang_up=HangUp.CANCEL)
async def create(call: Call) -> StreamResponse:
    """A pull, or an import when `fromSrc` is given."""
    query = call.query
    platform = _platform(query.text("platform")) if call.version >= 32 else None
    if query.text("fromSrc"):
        return await _import(call, platform)
    name, tag = query.text("fromImage"), query.text("tag")
    if not name:
        raise InvalidArgument("invalid reference format: fromImage or fromSrc must be given")
    reference = parse_reference(name, None)
    if tag and not reference.digest:
        reference = parse_reference(f"{reference}@{tag}" if ":" in tag else f"{reference.name}:{tag}", None)
    auth = decode_auth(call.header("X-Registry-Auth"))
    return await progress(
        call, lambda output: call.engine.pull(reference, auth=auth, platform=platform, progress=output)
    )


async def _import(call: Call, platform: Platform | None) -> StreamResponse:
    query = call.query
    source = query.text("fromSrc")
    if source != "-":
        raise InvalidArgument("importing from a URL is not supported: fetch it and send its bytes (fromSrc=-)")
    repository, tag = query.text("repo"), query.text("tag")
    name = parse_reference(f"{repository}:{tag}" if tag else repository) if repository else None
    if name is not None and name.digest:
        raise InvalidArgument("cannot import digest reference")

    async def work(output: Output) -> None:
        async with aclosing(call.chunks()) as body:
            image = await call.engine.import_image(
                body, name=name, message=query.text("message"), changes=query.texts("changes"), platform=platform
            )
        output({"status": image.id})

    return await progress(call, work)


@routes.on("GET", "/images/get", "E-047", hang_up=HangUp.CANCEL)
@routes.on("GET", "/images/{name*}/get", "E-046", hang_up=HangUp.CANCEL)
async def save(call: Call) -> StreamResponse:
    names = [call.params["name"]] if "name" in call.params else call.query.texts("names")
    names = [part for name in names for part in name.split(",") if part]
    if not names:
        raise InvalidArgument("no image names are given")
    pieces = call.engine.save(names)
    stream = Stream(call, TAR)
    async with closing(pieces):
        async for piece in pieces:  # the first comes when all names are found
            await stream.write(piece)
    return stream


@routes.on("POST", "/images/load", "E-048", hang_up=HangUp.CANCEL)
async def load(call: Call) -> StreamResponse:
    async def work(output: Output) -> None:
        async with aclosing(call.chunks()) as body:
            await call.engine.load(body, quiet=call.query.flag("quiet"), progress=output)

    return await progress(call, work)


@routes.on("GET", "/images/{name*}/json", "E-030")
async def inspect(call: Call) -> StreamResponse:
    if call.query.flag("manifests") and call.query.text("platform"):
        raise InvalidArgument("conflicting options: manifests and platform options cannot both be set")
    image = call.engine.images.resolve(call.params["name"])
    if call.version >= 49 and (text := call.query.text("platform")):
        _must_be(image, text, call.params["name"])
    tagged = image.row.last_tagged_ns
    return json_answer(
        shapes_images.inspect(
            image,
            call.version,
            lower=[str(call.engine.layers.path(layer)) for layer in reversed(image.layers)],
            last_tagged=rfc3339_nano(tagged) if tagged else "",
        )
    )


@routes.on("GET", "/images/{name*}/history", "E-032")
async def history(call: Call) -> StreamResponse:
    image = call.engine.images.resolve(call.params["name"])
    return json_answer(shapes_images.history(image, call.engine.layers.size))


@routes.on("POST", "/images/{name*}/push", "E-033", hang_up=HangUp.CANCEL)
async def push(call: Call) -> StreamResponse:
    if "X-Registry-Auth" not in call.request.headers:
        raise InvalidArgument("missing X-Registry-Auth: EOF")
    auth = decode_auth(call.header("X-Registry-Auth"))
    reference = parse_reference(call.params["name"], None)
    if tag := call.query.text("tag"):
        reference = reference.with_tag(tag)
    if call.version >= 46 and (text := call.query.text("platform")):
        _must_be(call.engine.images.resolve(str(reference)), text, reference.familiar())
    return await progress(call, lambda output: call.engine.push(reference, auth=auth, progress=output))


@routes.on("POST", "/images/{name*}/tag", "E-034")
async def tag(call: Call) -> StreamResponse:
    repository, tag = call.query.text("repo"), call.query.text("tag")
    reference = parse_reference(f"{repository}:{tag}" if tag else repository)
    if reference.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    await call.engine.images.tag(call.engine.images.resolve(call.params["name"]), reference)
    return empty(201)


@routes.on("DELETE", "/images/{name*}", "E-035")
async def remove(call: Call) -> StreamResponse:
    query = call.query
    deleted = await call.engine.images.remove(
        call.params["name"],
        force=query.flag("force"),
        prune=not query.flag("noprune"),
        users=call.engine.containers.users_of_image,
    )
    return json_answer(list(deleted))


@routes.on("POST", "/images/prune", "E-037")
async def prune(call: Call) -> StreamResponse:
    filters = call.query.filters(filternames.IMAGES_PRUNE)
    dangling = only_flag(filters, "dangling") is not False
    labels, before = label_test(filters), until_of(filters)

    def wanted(image: Image) -> bool:
        created = shapes_images.unix_time(image.config.created) * 1_000_000_000
        return labels(image.config.run.labels or {}) and (not before or created < before)

    deleted, size = await call.engine.images.prune(
        dangling_only=dangling, wanted=wanted, users=call.engine.containers.users_of_image
    )
    call.engine.events.emit("image", "prune", "", {"reclaimed": str(size)})
    return json_answer({"ImagesDeleted": list(deleted) or None, "SpaceReclaimed": size})


def _must_be(image: Image, text: str, name: str) -> None:
    """Raises NotFound for an image of another platform than the one that `text` has as JSON, InvalidArgument."""
    try:
        wanted = msgspec.json.decode(text, type=Platform)
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"failed to parse platform: {error}") from None
    if not (wanted.os and wanted.architecture):
        raise InvalidArgument("both OS and Architecture must be provided")
    if preference(wanted, image.config.platform) != 0:
        raise NotFound(
            f"image with reference {name} was found but its platform ({image.config.platform}) does not match "
            f"the specified platform ({wanted})"
        )


def _platform(text: str) -> Platform | None:
    return parse_platform(text) if text else None
