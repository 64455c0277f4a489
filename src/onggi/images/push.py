"""`docker push`: what the registry lacks is sent, the manifest last."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from yarl import URL

from onggi.errors import Forbidden, InvalidArgument, NotFound, OnggiError, Unauthorized
from onggi.images.connection import RegistryClient
from onggi.images.guard import LedAstray
from onggi.images.packing import PackedLayer, kept_manifest, new_manifest, packed_layer
from onggi.images.progress import Aux, Detail, Line, Message, Output, PushedAux
from onggi.images.refusals import refusal
from onggi.images.sidebyside import side_by_side
from onggi.images.tries import TryAgain, trying
from onggi.oci.digest import Digest, hex_of, sha256_of
from onggi.oci.manifest import DOCKER_LAYER_GZIP, OCI_CONFIG, Descriptor, Manifest
from onggi.oci.reference import Reference

if TYPE_CHECKING:
    from onggi.images.catalog import Image
    from onggi.images.images import Images

_PIECE: Final = 1024 * 1024
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,18})")
_MOUNTS_TRIED: Final = 2


def announce(reference: Reference, output: Output) -> None:
    output(Message(f"The push refers to repository [{reference.name}]"))


class Push:
    """One push to one registry."""

    def __init__(self, images: Images, client: RegistryClient, output: Output) -> None:
        self._images, self._client, self._output = images, client, output
        self._slots = asyncio.Semaphore(max(1, client.options.uploads))
        self._seen: set[Digest] = set()

    async def one(self, reference: Reference, image: Image) -> None:
        """Cancelled or failed: no tag has moved; blobs that arrived stay in the registry."""
        release = self._images.lease(image.layers, [image.id])
        self._seen.clear()
        try:
            lines = [Line(self._output, hex_of(diff_id)[:12]) for diff_id in image.layers]
            for line in lines:
                line.say("Preparing")
            for line in lines[self._client.options.uploads :]:
                line.say("Waiting")
            data, manifest = await self._blobs(reference, image, lines)
            digest = sha256_of(data)
            await trying(self._client.options, lambda: self._put(reference, manifest.media_type, data))
        except LedAstray:
            raise
        except (Unauthorized, Forbidden) as error:
            raise type(error)(_denied(error)) from error
        finally:
            release()
        await self._images.sources.add(reference, [layer.digest for layer in manifest.layers])
        await self._images.name(image.id, str(reference.with_digest(digest)))
        self._images.on_event("push", reference.familiar(), reference.familiar_name)
        tag = reference.tag or ""
        self._output(Message(f"{tag}: digest: {digest} size: {len(data)}"))
        self._output(Aux(Detail(), PushedAux(tag, digest, len(data))))

    async def document(self, reference: Reference, data: bytes, media_type: str, blobs: Sequence[Descriptor]) -> None:
        """A manifest or index that is no image of ours, under the reference's tag or digest, after its blobs.

        Raises Unauthorized, Forbidden, Unavailable. Cancelled or failed: no tag has moved.
        """
        try:
            await side_by_side([self._blob(reference, blob, None) for blob in blobs])
            await trying(self._client.options, lambda: self._put(reference, media_type, data))
        except LedAstray:
            raise
        except (Unauthorized, Forbidden) as error:
            raise type(error)(_denied(error)) from error

    async def _blobs(self, reference: Reference, image: Image, lines: list[Line]) -> tuple[bytes, Manifest]:
        """All layers and the config are there. Each layer that has no blob yet is sent as soon as it is packed."""
        config = Descriptor(OCI_CONFIG, image.id, self._images.content.size(image.id))
        kept = kept_manifest(self._images, image)
        if kept is not None:
            layers = zip(kept[1].layers, lines, strict=True)
            await side_by_side([self._blob(reference, config, None), *(self._layer(reference, *one) for one in layers)])
            return kept
        named = zip(image.layers, lines, strict=True)
        works = [self._packed(reference, diff_id, line) for diff_id, line in named]
        packed = await side_by_side(works)
        await self._blob(reference, config, None)
        return await new_manifest(self._images, image, packed)

    async def _packed(self, reference: Reference, diff_id: Digest, line: Line) -> PackedLayer:
        packed = await packed_layer(self._images, diff_id)
        await self._layer(reference, Descriptor(DOCKER_LAYER_GZIP, packed.digest, packed.size), line)
        return packed

    async def _layer(self, reference: Reference, blob: Descriptor, line: Line) -> None:
        if blob.digest in self._seen:
            line.say("Layer already exists")
        elif not blob.urls:  # foreign layers stay where they are
            self._seen.add(blob.digest)
            await self._blob(reference, blob, line)

    async def _blob(self, reference: Reference, blob: Descriptor, line: Line | None) -> None:
        """Looked for, else mounted, else sent; after a broken line from where the registry has got to."""
        # Leased: the image may be removed, or another push give a layer another blob, while this one is on its way.
        release = self._images.lease([], [blob.digest])
        try:
            async with self._slots:
                upload = _Upload(self._images, self._client, reference, blob, line)
                await trying(self._client.options, upload.attempt)
        finally:
            release()

    async def _put(self, reference: Reference, media_type: str, data: bytes) -> None:
        path = f"/v2/{reference.path}/manifests/{reference.tag or reference.digest}"
        headers = {"Content-Type": media_type}
        async with self._client.request("PUT", path, _scope(reference), headers=headers, data=data) as answer:
            if answer.status not in (200, 201):
                raise await refusal(answer, pushing=True)


class _Upload:
    """One blob, over as many connections as it takes."""

    def __init__(
        self, images: Images, client: RegistryClient, reference: Reference, blob: Descriptor, line: Line | None
    ) -> None:
        self._images, self._client, self._reference = images, client, reference
        self._blob, self._line = blob, line
        self._location = ""

    async def attempt(self) -> None:
        if self._location:
            offset = await self._offset()
        elif await self._exists():
            self._say("Layer already exists")
            return
        elif source := await self._mount():
            self._say(f"Mounted from {source}")
            return
        else:
            offset = 0
        if not self._location:
            await self._begin("")
            offset = 0
        await self._send(offset)
        await self._finish()
        self._say("Pushed")

    async def _exists(self) -> bool:
        path = f"/v2/{self._reference.path}/blobs/{self._blob.digest}"
        async with self._client.request("HEAD", path, _scope(self._reference)) as answer:
            if answer.status == 200:
                return True
            if answer.status != 404:
                raise await refusal(answer, pushing=True)
            return False

    async def _mount(self) -> str:
        """The repository that the blob was mounted from, "" when it has to be sent."""
        if self._line is None:
            return ""
        for source in self._images.sources.elsewhere(self._reference, self._blob.digest)[:_MOUNTS_TRIED]:
            try:
                if await self._begin(f"?mount={self._blob.digest}&from={quote(source, safe='')}", source):
                    return source
            except (Unauthorized, Forbidden, NotFound, InvalidArgument):
                continue
            # The registry has begun an upload instead: good enough.
            return ""
        return ""

    async def _begin(self, query: str, source: str = "") -> bool:
        """Whether the blob is there already. Sets where it goes if not."""
        path = f"/v2/{self._reference.path}/blobs/uploads/{query}"
        scope = _scope(self._reference) + (f" repository:{source}:pull" if source else "")
        async with self._client.request("POST", path, scope, headers={"Content-Length": "0"}) as answer:
            if answer.status == 201:
                return True
            if answer.status != 202:
                raise await refusal(answer, pushing=True)
            self._follow(answer.headers.get("Location", ""))
            return False

    async def _offset(self) -> int:
        """How far the registry is; a new upload when it has forgotten."""
        async with self._client.request("GET", self._location, _scope(self._reference)) as answer:
            found = _RANGE.fullmatch(answer.headers.get("Range", ""))
            if answer.status not in (200, 202, 204) or not found:
                self._location = ""
                return 0
            self._follow(answer.headers.get("Location", ""))
            # "0-0" is said of an empty upload as of one with a byte; the first is what happens.
            return int(found[1]) + 1 if int(found[1]) else 0

    async def _send(self, offset: int) -> None:
        size = self._blob.size
        if offset >= size:
            return
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size - offset)}
        if offset:
            headers["Content-Range"] = f"{offset}-{size - 1}"
        async with self._client.request(
            "PATCH", self._location, _scope(self._reference), headers=headers, body=lambda: self._pieces(offset)
        ) as answer:
            if answer.status == 416:
                raise TryAgain("the registry is somewhere else in the upload")
            if answer.status not in (201, 202, 204):
                raise await self._failed(await refusal(answer, pushing=True))
            self._follow(answer.headers.get("Location", ""))

    async def _finish(self) -> None:
        url = URL(self._location, encoded=True)
        joint = "&" if url.raw_query_string else "?"
        target = f"{self._location}{joint}digest={quote(self._blob.digest, safe='')}"
        async with self._client.request(
            "PUT", target, _scope(self._reference), headers={"Content-Length": "0"}
        ) as answer:
            if answer.status not in (201, 204):
                raise await self._failed(await refusal(answer, pushing=True))

    async def _failed(self, error: OnggiError) -> OnggiError:
        """An upload that the registry doesn't know any more is begun anew."""
        if isinstance(error, NotFound):
            self._location = ""
            return TryAgain(str(error), final=error)
        return error

    async def _pieces(self, offset: int) -> AsyncIterator[bytes]:
        size = self._blob.size
        with self._images.content.open(self._blob.digest) as file:
            while offset < size and (piece := os.pread(file.fileno(), _PIECE, offset)):
                yield piece
                offset += len(piece)
                if self._line:
                    self._line.count("Pushing", offset, size)

    def _follow(self, location: str) -> None:
        """Where the next request goes: relative or absolute, with whatever query the registry has put there."""
        if location:
            self._location = str(self._client.url(location))

    def _say(self, status: str) -> None:
        if self._line:
            self._line.say(status)


def _scope(reference: Reference) -> str:
    return f"repository:{reference.path}:pull,push"


def _denied(error: Exception) -> str:
    text = str(error)
    return text if text.startswith(("denied", "unauthorized")) else f"denied: {text}"
