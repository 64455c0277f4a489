"""`docker pull`: from a registry into the store. Layers come, are checked and unpacked at the same time.

Invariant: the name is committed last, after blobs, layers, manifest and config are durable.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from onggi.errors import Corrupt, InvalidArgument, NoSpace, NotFound, OnggiError, Unavailable
from onggi.images.connection import RegistryClient
from onggi.images.downloads import Download, Downloads, pull_scope
from onggi.images.healing import Health, heal
from onggi.images.progress import Line, Message, Output, human_size
from onggi.images.remote import Document, choose_manifest, fetch_config, fetch_document, newest_digest
from onggi.images.sidebyside import side_by_side
from onggi.oci.digest import Digest, algorithm_of, digest_by, hex_of, is_digest
from onggi.oci.manifest import DOCUMENT_LIMIT, Descriptor, Manifest, decode_manifest
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.store.blocking import blocking

if TYPE_CHECKING:
    from onggi.images.catalog import Image
    from onggi.images.images import Images

_PAGES: Final = 100


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


@dataclass(slots=True)
class Pull:
    """One pull from one endpoint."""

    images: Images
    downloads: Downloads
    client: RegistryClient
    output: Output

    async def all_tags(self, reference: Reference, platform: Platform | None) -> None:
        """`docker pull -a`. Raises NotFound when there is none."""
        tags = await list_tags(self.client, reference)
        if not tags:
            raise NotFound(f"{reference.familiar_name} has no tag")
        for tag in tags:
            await self.one(reference.with_tag(tag), platform)

    async def one(self, reference: Reference, platform: Platform | None) -> Image:
        """Cancelled or failed: what came stays for the next try, under no name."""
        top = await self._top(reference)
        # Not before: what isn't there is answered with 404, not in a stream that has begun.
        self.output(
            Message(f"Pulling from {reference.path}", id=str(reference) if reference.digest else reference.tag or "")
        )
        found = await choose_manifest(self.client, reference, top, platform, self._kept)
        if not isinstance(found.value, Manifest):
            raise TypeError("choose_manifest answers with a manifest")
        _refuse_encrypted(found.value)
        data, config = await fetch_config(self.client, reference, found.value)
        layers = list(zip(config.rootfs.diff_ids, found.value.layers, strict=True))
        blobs_needed = [found.digest, top.digest, found.value.config.digest, *(blob.digest for _, blob in layers)]
        release = self.images.lease(config.rootfs.diff_ids, blobs_needed)
        try:
            blobs = await self._layers(reference, layers)
            manifest = await self._keep(found, top)
            names = [reference.with_digest(top.digest)]
            if reference.tag and not reference.digest:
                names.append(reference)
            known = all(self.images.named(str(name)) == found.value.config.digest for name in names)
            image = await self.images.create(config, names=names, blobs=blobs, raw=data, manifest=manifest)
            # What is built on it is pushed to a neighbour without sending these again.
            await self.images.sources.add(reference, [blob.digest for _, blob in layers if not blob.urls])
        finally:
            release()
        self.images.on_event("pull", reference.familiar(), reference.familiar_name)
        self.output(Message(f"Digest: {top.digest}"))
        what = "Image is up to date" if known else "Downloaded newer image"
        self.output(Message(f"Status: {what} for {reference.familiar()}"))
        return image

    async def _top(self, reference: Reference) -> Document:
        """What the reference leads to. A tag that is here is first asked for its digest alone: mostly nothing has changed."""
        if not reference.digest and self.images.named(str(reference)):
            # Who doesn't answer a HEAD is asked for all of it.
            with suppress(OnggiError):
                digest = await newest_digest(self.client, reference)
                if is_digest(digest) and (kept := self._kept(Digest(digest))):
                    return kept
        return await fetch_document(self.client, reference)

    def _kept(self, digest: Digest) -> Document | None:
        """A manifest or index that came with an earlier pull, if it is whole."""
        content = self.images.content
        if not content.has(digest) or content.size(digest) > DOCUMENT_LIMIT:
            return None
        data = content.read(digest, DOCUMENT_LIMIT)
        if digest_by(algorithm_of(digest), data) != digest:
            return None
        return Document(digest, data, decode_manifest(data))

    async def layer(self, reference: Reference, diff_id: Digest, blob: Descriptor) -> None:
        """One layer alone, without an image. Raises NotFound, Corrupt, Unavailable."""
        await self._layer(reference, diff_id, blob, Line(self.output, hex_of(blob.digest)[:12]))

    async def _layers(self, reference: Reference, layers: Sequence[tuple[Digest, Descriptor]]) -> dict[str, str]:
        """All layers are unpacked; which blob each came in."""
        blobs: dict[str, str] = {}
        missing: list[tuple[Digest, Descriptor, Line]] = []
        for diff_id, blob in layers:
            line = Line(self.output, hex_of(blob.digest)[:12])
            if diff_id in blobs:
                continue
            kept = self.images.packed(diff_id, blob.digest)
            # Pulled again, an image is made whole again: what is here is read, not believed.
            if kept is not None and await heal(self.images, diff_id) is not Health.LOST:
                line.say("Already exists")
                blobs[diff_id] = kept
            else:
                line.say("Pulling fs layer")
                blobs[diff_id] = blob.digest
                missing.append((diff_id, blob, line))
        self._make_sure_of_room([blob for _, blob, _ in missing])
        for _, _, line in missing[self.client.options.downloads :]:
            line.say("Waiting")
        await side_by_side(self._layer(reference, diff_id, blob, line) for diff_id, blob, line in missing)
        return {diff: blob for diff, blob in blobs.items() if blob}

    def _make_sure_of_room(self, blobs: Sequence[Descriptor]) -> None:
        """Raises NoSpace before anything has come when it can't end well: each layer is kept as it comes, and unpacked at least as large."""
        free, wanted = self.images.content.free_bytes(), 2 * sum(blob.size for blob in blobs)
        if wanted > free:
            raise NoSpace(
                f"no space left on device: the image needs more than {human_size(wanted)}, {human_size(free)} are free "
                "(free some, for example with a prune, and try again)"
            )

    async def _layer(self, reference: Reference, diff_id: Digest, blob: Descriptor, line: Line) -> None:
        """Fetched, checked and unpacked."""
        layers = self.images.layers
        if await self._is_here(blob.digest):
            await self._unpack(diff_id, blob.digest, blob, line)
        else:
            watcher = _Watcher(line, blob.size)
            async with self.downloads.get(self.client, reference.path, blob, watcher.moved) as download:
                await download.begun.wait()
                if layers.has(diff_id):
                    await download.wait()
                else:
                    await self._unpack_while_it_comes(diff_id, blob, download, line, watcher)
        line.say("Pull complete")

    async def _is_here(self, blob: Digest) -> bool:
        """A damaged one is removed, to be fetched again."""
        content = self.images.content
        if not content.has(blob):
            return False
        whole = await blocking(content.verify, blob)
        if not whole:
            await blocking(content.delete, blob)
        return whole

    async def _unpack_while_it_comes(
        self, diff_id: Digest, blob: Descriptor, download: Download, line: Line, watcher: _Watcher
    ) -> None:
        try:
            await self.images.layers.apply(download.stream(), diff_id=diff_id, progress=watcher.unpacked)
        except (Corrupt, Unavailable) as error:
            # Of a blob that breaks off or turns out wrong the download knows more than the unpacker.
            await download.wait()
            if not download.restarts:
                raise
            await self._unpack(diff_id, blob.digest, blob, line, cause=error)
        await download.wait()

    async def _unpack(
        self, diff_id: Digest, source: Digest, blob: Descriptor, line: Line, cause: OnggiError | None = None
    ) -> None:
        try:
            await self.images.layers.apply(
                source,
                diff_id=diff_id,
                progress=lambda count: line.count("Extracting", min(count, blob.size), blob.size),
            )
        except OnggiError as error:
            raise error from cause

    async def _keep(self, found: Document, top: Document) -> Digest:
        """The manifest's bytes, for the day the image is pushed on. The index goes along for whoever inspects it."""
        for document in (found, top):
            with self.images.content.ingest() as writer:
                writer.write(document.data)
                await blocking(writer.commit, document.digest, len(document.data))
        return found.digest


def _refuse_encrypted(manifest: Manifest) -> None:
    """Raises InvalidArgument for layers of ocicrypt, whose keys nobody has given us."""
    for blob in manifest.layers:
        if blob.media_type.endswith("+encrypted"):
            raise InvalidArgument(
                f"layer {blob.digest} is encrypted ({blob.media_type}): encrypted images are not supported"
            )


class _Watcher:
    """Downloading, then Extracting: docker's words come in this order, though both go on at once here."""

    def __init__(self, line: Line, total: int) -> None:
        self._line, self._total = line, total
        self._here = False

    def moved(self, offset: int) -> None:
        if self._here:
            return
        if offset < self._total:
            self._line.count("Downloading", offset, self._total)
        else:
            self._here = True
            self._line.say("Verifying Checksum")
            self._line.say("Download complete")

    def unpacked(self, packed: int) -> None:
        if self._here:
            self._line.count("Extracting", min(packed, self._total), self._total)


async def list_tags(client: RegistryClient, reference: Reference) -> list[str]:
    """All of a repository, page by page."""
    path = f"/v2/{reference.path}/tags/list"
    tags: list[str] = []
    for _ in range(_PAGES):
        data, headers = await client.fetch(path, pull_scope(reference.path), 4 * 1024 * 1024)
        try:
            tags += msgspec.json.decode(data, type=_Tags).tags or []
        except msgspec.DecodeError as error:
            raise Corrupt(f"the registry's list of tags can't be read: {error}") from error
        link = headers.get("Link", "")
        if 'rel="next"' not in link:
            break
        path = link.partition("<")[2].partition(">")[0]
    return tags
