"""The images that are here, by id and by name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import msgspec

from onggi.errors import Corrupt, InvalidArgument, NotFound
from onggi.oci.digest import Digest, hex_of, is_digest, parse_digest
from onggi.oci.image import ImageConfig, decode_image_config, encode_image_config
from onggi.oci.reference import Reference, parse_reference
from onggi.store.content import Content
from onggi.store.database import Database, Delete, Put, Table
from onggi.store.layers import Layers


class ImageRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image. `blobs` maps a layer's diff id to the packed blob that it came in, if it is kept."""

    id: str
    size: int
    created_ns: int
    parent: str = ""
    last_tagged_ns: int = 0
    blobs: dict[str, str] = {}
    manifest: str = ""


class NameRow(msgspec.Struct, frozen=True):
    """A tag (`docker.io/library/busybox:latest`) or a digest (`…@sha256:…`) that leads to an image."""

    image: str


class BlobRow(msgspec.Struct, frozen=True):
    """The packed form of a layer that came without an image, and that can't be packed again to the same bytes."""

    blob: str


IMAGES = Table("images", ImageRow)
BLOBS = Table("layer_blobs", BlobRow)
NAMES = Table("image_names", NameRow)


_ORPHAN_S: Final = 3600.0


class Image(msgspec.Struct, frozen=True):
    """An image as the other rooms see it."""

    row: ImageRow
    config: ImageConfig
    tags: tuple[str, ...]
    digests: tuple[str, ...]

    @property
    def id(self) -> Digest:
        return Digest(self.row.id)

    @property
    def short_id(self) -> str:
        return hex_of(self.id)[:12]

    @property
    def layers(self) -> list[Digest]:
        """Diff ids, lowest first."""
        return [Digest(diff) for diff in self.config.rootfs.diff_ids]


def is_image_id(text: str) -> bool:
    """Whether `text` may be an id or the beginning of one."""
    rest = text.removeprefix("sha256:")
    return 4 <= len(rest) <= 64 and all(letter in "0123456789abcdef" for letter in rest)


class Catalog:
    """The records. One for an engine; every change is one commit."""

    def __init__(self, content: Content, layers: Layers, database: Database) -> None:
        self.content, self.layers, self._database = content, layers, database
        self._rows: dict[str, ImageRow] = {}
        self._configs: dict[str, ImageConfig] = {}
        self._names: dict[str, str] = {}
        self._lone_blobs: dict[str, str] = {}
        """Diff id → blob, of layers that came without an image."""
        self._leases: dict[Digest, int] = {}
        self._blob_leases: dict[Digest, int] = {}
        self.on_event: Callable[[str, str, str], None] = lambda _action, _id, _name: None
        """Told of (action, id, name) after the commit; the engine makes an event of it."""
        self.is_running_on: Callable[[Digest], bool] = lambda _diff_id: False
        """Whether a container that runs has the layer below it; the engine knows."""

    def restore(self) -> list[str]:
        """Reads the records; the names of images whose content is damaged, which are left out."""
        damaged = []
        for identifier, row in self._database.load(IMAGES).items():
            try:
                self._configs[identifier] = decode_image_config(self.content.read(parse_digest(identifier)))
            except (NotFound, InvalidArgument, Corrupt, OSError):
                damaged.append(identifier)
                continue
            self._rows[identifier] = row
        self._names = {name: row.image for name, row in self._database.load(NAMES).items() if row.image in self._rows}
        self._lone_blobs = {diff: row.blob for diff, row in self._database.load(BLOBS).items()}
        return damaged

    # Reading

    def get(self, identifier: str) -> Image:
        names = [name for name, image in self._names.items() if image == identifier]
        return Image(
            self._rows[identifier],
            self._configs[identifier],
            tuple(sorted(name for name in names if "@" not in name)),
            tuple(sorted(name for name in names if "@" in name)),
        )

    def find(self, identifier: str) -> Image | None:
        """By full id, None when it is gone."""
        return self.get(identifier) if identifier in self._rows else None

    def named(self, name: str) -> str | None:
        """The id that a whole name leads to."""
        return self._names.get(name)

    def list(self) -> Sequence[Image]:
        """All of them, newest first: by their own date, which is RFC 3339 and so sorts as text."""
        rows = sorted(
            self._rows.values(), key=lambda row: (self._configs[row.id].created or "", row.created_ns), reverse=True
        )
        return [self.get(row.id) for row in rows]

    def names(self) -> Iterable[str]:
        """All names there are, whole."""
        return self._names.keys()

    def blob_of(self, diff_id: Digest) -> Digest | None:
        """A packed form of the layer that is here, whichever image brought it."""
        for row in self._rows.values():
            blob = row.blobs.get(diff_id)
            if blob and self.content.has(Digest(blob)):
                return Digest(blob)
        lone = self._lone_blobs.get(diff_id)
        return Digest(lone) if lone and self.content.has(Digest(lone)) else None

    def packed(self, diff_id: Digest, blob: Digest) -> str | None:
        """The blob that a layer which is here can be packed on from: `blob` before another; "" when it packs to itself.

        None: the layer isn't here, or could never be pushed.
        """
        if not self.layers.has(diff_id):
            return None
        if self.content.has(blob):
            return blob
        other = self.blob_of(diff_id)
        return other or ("" if self.layers.info(diff_id).captured else None)

    def __len__(self) -> int:
        return len(self._rows)

    def resolve(self, text: str) -> Image:
        """By name, by digest, by id or by a beginning of it. Raises NotFound, InvalidArgument."""
        if is_digest(text) and text in self._rows:
            return self.get(text)
        by_id = self._by_prefix(text) if is_image_id(text) else None
        try:
            reference = parse_reference(text)
        except InvalidArgument:
            if by_id:
                return self.get(by_id)
            if is_digest(text):
                raise NotFound(f"No such image: {text}") from None
            raise
        found = self._find(reference)
        if found or by_id:
            return self.get(found or by_id or "")
        raise NotFound(f"No such image: {reference.familiar() if not is_image_id(text) else text}")

    def _find(self, reference: Reference) -> str | None:
        if reference.digest:
            # name@digest, whether or not a tag stands there too: the digest decides.
            wanted = str(Reference(reference.domain, reference.path, None, reference.digest))
            return self._names.get(wanted) or (
                reference.digest
                if reference.digest in self._rows and self._has_name(reference, reference.digest)
                else None
            )
        return self._names.get(str(reference))

    def _has_name(self, reference: Reference, identifier: str) -> bool:
        return any(image == identifier and name.startswith(reference.name) for name, image in self._names.items())

    def _by_prefix(self, text: str) -> str | None:
        prefix = "sha256:" + text.removeprefix("sha256:")
        found = [identifier for identifier in self._rows if identifier.startswith(prefix)]
        if len(found) > 1:
            raise InvalidArgument(f"multiple IDs found with provided prefix: {text}")
        return found[0] if found else None

    def familiar_tags(self, image: Image) -> Sequence[str]:
        return [parse_reference(name).familiar() for name in image.tags]

    def familiar_digests(self, image: Image) -> Sequence[str]:
        return [parse_reference(name, None).familiar() for name in image.digests]

    def children(self, identifier: str) -> Sequence[str]:
        return [row.id for row in self._rows.values() if row.parent == identifier]

    # Changing

    async def create(
        self,
        config: ImageConfig,
        *,
        names: Iterable[Reference] = (),
        parent: str = "",
        blobs: dict[str, str] | None = None,
        raw: bytes | None = None,
        manifest: str = "",
    ) -> Image:
        """Records an image whose layers are in the store, and gives it `names`.

        `raw` are the config's own bytes when it came from elsewhere: its digest is the id. An image that is here
        already gets the names.
        """
        data = raw if raw is not None else encode_image_config(config)
        identifier = await asyncio.to_thread(self.content.put, data)
        now = time.time_ns()
        old = self._rows.get(identifier)
        size = sum(self.layers.size(Digest(diff)) for diff in config.rootfs.diff_ids)
        blobs = self._inherited(config) | (old.blobs if old else {}) | (blobs or {})
        row = ImageRow(
            identifier,
            size,
            old.created_ns if old else now,
            parent or (old.parent if old else ""),
            now if names else (old.last_tagged_ns if old else 0),
            blobs,
            manifest or (old.manifest if old else ""),
        )
        named = [str(name) for name in names]
        await self._database.commit(
            Put(IMAGES, identifier, row), *[Put(NAMES, name, NameRow(identifier)) for name in named]
        )
        self._rows[identifier], self._configs[identifier] = row, config
        self._names |= dict.fromkeys(named, identifier)
        return self.get(identifier)

    def _inherited(self, config: ImageConfig) -> dict[str, str]:
        """Blobs of layers that came from elsewhere: without them nobody could push this image once their own image has gone."""
        foreign = [diff for diff in config.rootfs.diff_ids if not self.layers.info(Digest(diff)).captured]
        return {diff: blob for diff in foreign if (blob := self.blob_of(Digest(diff)))}

    async def keep_lone_blob(self, diff_id: Digest, blob: Digest) -> None:
        """Remembers the blob, which is in the store, of a layer that came without an image, for as long as the layer is here."""
        if self._lone_blobs.get(diff_id) != blob:
            self._lone_blobs[diff_id] = blob
            await self._database.commit(Put(BLOBS, diff_id, BlobRow(blob)))

    async def _forget_lone_blobs(self) -> None:
        """Those whose layer has gone."""
        gone = [diff for diff in self._lone_blobs if not self.layers.has(Digest(diff))]
        for diff in gone:
            del self._lone_blobs[diff]
        if gone:
            await self._database.commit(*[Delete(BLOBS, diff) for diff in gone])

    async def keep_blobs(self, identifier: str, blobs: dict[str, str], manifest: str = "") -> None:
        """Remembers which packed blobs belong to the layers of an image, in place of those that did; nobody's are deleted."""
        row = self._rows[identifier]
        replaced = {row.blobs[diff] for diff, blob in blobs.items() if row.blobs.get(diff, blob) != blob}
        row = msgspec.structs.replace(row, blobs=row.blobs | blobs, manifest=manifest or row.manifest)
        await self._database.commit(Put(IMAGES, identifier, row))
        self._rows[identifier] = row
        await self._drop_blobs(replaced)

    async def tag(self, image: Image, reference: Reference) -> None:
        """Moves the name if it stands elsewhere. Raises InvalidArgument for a digest."""
        if reference.digest and not reference.tag:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        await self.name(image.id, str(Reference(reference.domain, reference.path, reference.tag)))
        self.on_event("tag", image.id, reference.familiar())

    async def name(self, identifier: str, name: str) -> None:
        row = msgspec.structs.replace(self._rows[identifier], last_tagged_ns=time.time_ns())
        await self._database.commit(Put(NAMES, name, NameRow(identifier)), Put(IMAGES, identifier, row))
        self._names[name], self._rows[identifier] = identifier, row

    async def untag(self, identifier: str, names: Iterable[str]) -> Sequence[dict[str, str]]:
        """Takes names away; docker's entries for them."""
        names = sorted(names)
        await self._database.commit(*[Delete(NAMES, name) for name in names])
        for name in names:
            self._names.pop(name, None)
            self.on_event("untag", identifier, parse_reference(name, None).familiar())
        return [{"Untagged": parse_reference(name, None).familiar()} for name in names]

    async def forget(self, identifier: str) -> Sequence[dict[str, str]]:
        """The record goes, then what nobody else needs; docker's entries for both.

        Out of memory at once, so that nobody begins to use it meanwhile (R-31). A crash after the commit leaves bytes that
        `sweep` finds, not a lie.
        """
        row, config = self._rows.pop(identifier), self._configs.pop(identifier)
        try:
            await self._database.commit(Delete(IMAGES, identifier))
        except BaseException:
            self._rows[identifier], self._configs[identifier] = row, config
            raise
        self.on_event("delete", identifier, identifier)
        deleted = [{"Deleted": identifier}]
        for diff in reversed(config.rootfs.diff_ids):
            # Asked anew for each: removing one takes time.
            if diff not in self.needed_layers() and diff not in self._leases:
                await self.layers.remove(diff)
                deleted.append({"Deleted": diff})
        await self._drop_blobs({row.id, row.manifest, *row.blobs.values()} - {""})
        return deleted

    async def drop_layers(self, diff_ids: Sequence[Digest]) -> None:
        """Those that nobody needs any more; `diff_ids` lowest first."""
        for diff in reversed(diff_ids):
            if diff not in self.needed_layers() and diff not in self._leases and self.layers.has(diff):
                await self.layers.remove(diff)

    async def _drop_blobs(self, blobs: Iterable[str]) -> None:
        """Those of `blobs` that no image and nothing under way needs."""
        for blob in blobs:
            if not self._needs_blob(blob):
                await asyncio.to_thread(self.content.delete, Digest(blob))

    def _needs_blob(self, blob: str) -> bool:
        if blob in self._lone_blobs.values():
            return True
        return blob in self._blob_leases or any(
            blob in (row.id, row.manifest) or blob in row.blobs.values() for row in self._rows.values()
        )

    async def sweep(self, layers_in_use: Collection[str] | None = None) -> int:
        """Deletes blobs that belong to nothing, and layers too when told which ones containers have; how many.

        What is younger than an hour stays: it may be somebody's who hasn't committed yet, or what a failed pull goes on from.
        """
        await self._forget_lone_blobs()
        before = time.time() - _ORPHAN_S
        blobs = await asyncio.to_thread(self.content.older_than, before)
        orphans = [blob for blob in blobs if not self._needs_blob(blob)]
        await self._drop_blobs(orphans)
        count = len(orphans)
        if layers_in_use is not None:
            for diff in list(self.layers.walk()):
                if diff not in self.needed_layers() and diff not in layers_in_use and diff not in self._leases:
                    await self.layers.remove(diff)
                    count += 1
        return count

    def needed_layers(self) -> set[str]:
        """Diff ids that an image has."""
        return {diff for config in self._configs.values() for diff in config.rootfs.diff_ids}

    def is_leased(self, diff_id: Digest) -> bool:
        return diff_id in self._leases

    def lease(self, diff_ids: Iterable[Digest], blobs: Iterable[Digest] = ()) -> Callable[[], None]:
        """Keeps layers and blobs from being removed until the returned function is called (a pull, a build, a start)."""
        release_layers, release_blobs = _held(self._leases, diff_ids), _held(self._blob_leases, blobs)

        def release() -> None:
            release_layers()
            release_blobs()

        return release

    def disk_bytes(self) -> int:
        """Of all layers that images have, each once."""
        return sum(self.layers.size(Digest(diff)) for diff in self.needed_layers() if self.layers.has(Digest(diff)))


def _held(counts: dict[Digest, int], digests: Iterable[Digest]) -> Callable[[], None]:
    """Counts `digests` once more; the returned function takes that back."""
    held = list(digests)
    for digest in held:
        counts[digest] = counts.get(digest, 0) + 1

    def release() -> None:
        for digest in held:
            counts[digest] -= 1
            if not counts[digest]:
                del counts[digest]

    return release
