"""Caches that a client names: where steps come from (`--cache-from`) and where they are left (`--cache-to`).

In a registry, in a directory of the client (a content store of its session), or inline in an image. A cache that can't be read is a
warning of its step, never the build's failure (F-163).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from onggi.build import lending
from onggi.build.buildkit.pb import control_pb2
from onggi.build.buildkit.session import Session
from onggi.build.buildkit.stores import ClientStore
from onggi.build.lending import Lender, Lent, LentStep
from onggi.build.priorimages import inline_steps
from onggi.errors import InvalidArgument, OnggiError
from onggi.images.packing import layer_type, packed_layer
from onggi.images.sidebyside import side_by_side
from onggi.oci.digest import Digest, parse_digest, sha256_of
from onggi.oci.image import decode_image_config
from onggi.oci.manifest import CONFIG_TYPES, OCI_MANIFEST, Descriptor, Manifest, decode_manifest, encode_document
from onggi.oci.reference import parse_reference
from onggi.store.blocking import blocking

if TYPE_CHECKING:
    from onggi.build.buildkit.jobs import Job
    from onggi.build.request import Built, Credentials
    from onggi.build.vertices import Vertex
    from onggi.images import Images

MANIFEST_KEY: Final = "cache.manifest"
"""Where the client finds what it writes into the index of a local cache."""

log = logging.getLogger(__name__)


class Entry(msgspec.Struct, rename="pascal"):
    """A cache that a client names."""

    type: str = ""
    attrs: dict[str, str] = {}


def imports_of(attrs: Mapping[str, str], given: Sequence[control_pb2.CacheOptionsEntry]) -> list[Entry]:
    """From the frontend's attribute and from the call. Raises InvalidArgument."""
    try:
        found = msgspec.json.decode(attrs.get("cache-imports") or "[]", type=list[Entry])
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"failed to unmarshal cache-imports: {error}") from None
    found += [Entry(each.Type, dict(each.Attrs)) for each in given]
    found += [Entry("registry", {"ref": ref}) for ref in attrs.get("cache-from", "").split(",") if ref]
    return [entry for at, entry in enumerate(found) if entry not in found[:at]]


class Borrowed:
    """Steps of one cache; a layer is fetched when a step that made it is asked for."""

    def __init__(
        self, images: Images, steps: Sequence[LentStep], fetch: Callable[[LentStep], Awaitable[None]], vertex: Vertex
    ) -> None:
        self._images, self._fetch, self._vertex = images, fetch, vertex
        self._steps = {step.key: step for step in steps}
        self._releases: list[Callable[[], None]] = []

    async def lend(self, key: str) -> Lent | None:
        """See lending.Lender."""
        step = self._steps.get(key)
        if step is None:
            return None
        self._releases.append(self._images.lease([step.diff_id]))
        if not self._images.layers.has(step.diff_id):
            try:
                self._releases.append(self._images.lease((), [step.blob.digest]))
                await self._fetch(step)
                await self._images.keep_lone_blob(step.diff_id, step.blob.digest)
            except OnggiError as error:
                log.warning("a cached layer could not be had", extra={"layer": step.diff_id, "reason": str(error)})
                return None
        return Lent(step.diff_id, step.created)

    def close(self) -> None:
        """The layers may go when nobody else needs them."""
        for release in self._releases:
            release()


class Importing:
    """Opens the caches of one build."""

    def __init__(self, images: Images, session: Session, credentials: Credentials, job: Job) -> None:
        self._images, self._session, self._credentials, self._job = images, session, credentials, job

    async def all(self, entries: Sequence[Entry]) -> list[Lender]:
        """Those that can be read. A step of the build tells of each."""
        found: list[Lender] = []
        for entry in entries:
            name = entry.attrs.get("ref") or entry.attrs.get("src") or entry.type
            vertex = self._job.trace.vertex(f"importing cache manifest from {name}")
            vertex.start()
            try:
                found.append(self._job.closing(await self._one(entry, vertex)))
                vertex.done()
            except (OnggiError, msgspec.DecodeError) as error:
                vertex.done(str(error))
        return found

    async def _one(self, entry: Entry, vertex: Vertex) -> Borrowed:
        match entry.type:
            case "registry":
                return await self._registry(entry.attrs.get("ref", ""), vertex)
            case "local":
                return await self._local(entry.attrs, vertex)
        raise InvalidArgument(f"unknown cache importer: {entry.type}")

    async def _registry(self, ref: str, vertex: Vertex) -> Borrowed:
        reference = parse_reference(ref)
        auth = await self._credentials.credentials(reference.domain)
        manifest, config = await self._images.read_remote(reference, auth=auth, limit=lending.DOCUMENT_LIMIT)

        async def fetch(step: LentStep) -> None:
            await self._images.fetch_layer(reference, step.diff_id, step.blob, auth=auth)

        return Borrowed(self._images, _steps_in(manifest, config), fetch, vertex)

    async def _local(self, attrs: Mapping[str, str], vertex: Vertex) -> Borrowed:
        store = ClientStore(self._session, f"local:{attrs.get('src', '')}")
        manifest = decode_manifest(await store.document(parse_digest(attrs.get("digest", ""))))
        if not isinstance(manifest, Manifest):
            raise InvalidArgument("a local cache's top is no manifest")
        config = await store.document(manifest.config.digest)

        async def fetch(step: LentStep) -> None:
            await store.fetch(step.blob, self._images.content)
            await self._images.layers.apply(step.blob.digest, diff_id=step.diff_id)

        return Borrowed(self._images, _steps_in(manifest, config), fetch, vertex)


def _steps_in(manifest: Manifest, config: bytes) -> Sequence[LentStep]:
    """Of a cache, or of an image that says what it was made by. Raises InvalidArgument, msgspec.DecodeError."""
    if manifest.config.media_type == lending.CONFIG_TYPE:
        return lending.decoded(config)
    if manifest.config.media_type not in CONFIG_TYPES:
        raise InvalidArgument(f"{manifest.config.media_type} is neither a cache nor an image")
    image = decode_image_config(config)
    blobs = dict(zip(image.rootfs.diff_ids, manifest.layers, strict=False))
    return [
        LentStep(key, lent.layer, lent.created, blobs[lent.layer])
        for key, lent in inline_steps(image).items()
        if lent.layer in blobs
    ]


class Exporting:
    """Leaves the steps of one build where the client wants them."""

    def __init__(self, images: Images, session: Session, credentials: Credentials, job: Job) -> None:
        self._images, self._session, self._credentials, self._job = images, session, credentials, job

    async def all(self, entries: Sequence[Entry], results: Sequence[Built]) -> dict[str, str]:
        """What the client is told. Raises OnggiError, but for caches with ignore-error."""
        answer: dict[str, str] = {}
        for entry in entries:
            if entry.type == "inline" or not results:
                continue
            vertex = self._job.trace.vertex(f"exporting cache to {_place(entry)}")
            vertex.start()
            try:
                answer |= await self._one(entry, results, vertex)
                vertex.done()
            except OnggiError as error:
                vertex.done(str(error))
                if entry.attrs.get("ignore-error", "").lower() not in ("true", "1"):
                    raise
        return answer

    async def _one(self, entry: Entry, results: Sequence[Built], vertex: Vertex) -> dict[str, str]:
        vertex.status("preparing build cache for export")
        steps = _wanted(results, everything=entry.attrs.get("mode", "min") == "max")
        data, manifest = await self._packed(steps)
        top = Descriptor(OCI_MANIFEST, sha256_of(data), len(data))
        blobs = [manifest.config, *manifest.layers]
        release = self._images.lease((), [blob.digest for blob in blobs])
        try:
            vertex.status("preparing build cache for export", done=True)
            vertex.status(f"writing cache manifest {top.digest}")
            if entry.type == "registry":
                reference = parse_reference(entry.attrs.get("ref", ""))
                auth = await self._credentials.credentials(reference.domain)
                await self._images.push_document(reference, data, OCI_MANIFEST, blobs, auth=auth)
            elif entry.type == "local":
                store = ClientStore(self._session, f"local:{entry.attrs.get('dest', '')}")
                await blocking(self._images.content.put, data)
                for blob in [*blobs, top]:
                    with self._images.content.open(blob.digest) as file:
                        await store.write(blob.digest, blob.size, file)
            else:
                raise InvalidArgument(f"unknown cache exporter: {entry.type}")
            vertex.status(f"writing cache manifest {top.digest}", done=True)
        finally:
            release()
        return {MANIFEST_KEY: msgspec.json.encode(top).decode()} if entry.type == "local" else {}

    async def _packed(self, steps: Mapping[str, Lent]) -> tuple[bytes, Manifest]:
        """The manifest of a cache, its blobs in the store."""
        layers = list(dict.fromkeys(lent.layer for lent in steps.values()))
        packed = await side_by_side(packed_layer(self._images, layer) for layer in layers)
        blobs = {
            layer: Descriptor(layer_type(one.compression, is_oci=True), one.digest, one.size)
            for layer, one in zip(layers, packed, strict=True)
        }
        config = lending.encoded(steps, blobs)
        digest = await blocking(self._images.content.put, config)
        descriptor = Descriptor(lending.CONFIG_TYPE, digest, len(config))
        manifest = Manifest(2, descriptor, list(blobs.values()), OCI_MANIFEST)
        return encode_document(manifest), manifest


def _wanted(results: Sequence[Built], *, everything: bool) -> dict[str, Lent]:
    """All steps, or those whose layers are in a result."""
    kept: set[Digest] = {layer for built in results for layer in built.layers}
    return {key: lent for built in results for key, lent in built.steps.items() if everything or lent.layer in kept}


def _place(entry: Entry) -> str:
    return {"registry": "registry", "local": "client directory"}.get(entry.type, entry.type)
