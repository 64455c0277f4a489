"""The images that are here, by id and by name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from onggi.errors import Conflict, InvalidArgument, NotFound
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


IMAGES = Table("images", ImageRow)
NAMES = Table("image_names", NameRow)


Users = Callable[[str], list[tuple[str, bool]]]
"""Containers of an image: (id, is running)."""


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
        self._leases: dict[Digest, int] = {}
        self._blob_leases: dict[Digest, int] = {}
        self.on_event: Callable[[str, str, str], None] = lambda _action, _id, _name: None
        """Told of (action, id, name) after the commit; the engine makes an event of it."""

    def restore(self) -> list[str]:
        """Reads the records; the names of images whose content is damaged, which are left out."""
        damaged = []
        for identifier, row in self._database.load(IMAGES).items():
            try:
                self._configs[identifier] = decode_image_config(self.content.read(parse_digest(identifier)))
            except (NotFound, InvalidArgument, OSError):
                damaged.append(identifier)
                continue
            self._rows[identifier] = row
        self._names = {name: row.image for name, row in self._database.load(NAMES).items() if row.image in self._rows}
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
        return None

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
        row = ImageRow(
            identifier,
            size,
            old.created_ns if old else now,
            parent or (old.parent if old else ""),
            now if names else (old.last_tagged_ns if old else 0),
            (old.blobs if old else {}) | (blobs or {}),
            manifest or (old.manifest if old else ""),
        )
        named = [str(name) for name in names]
        await self._database.commit(
            Put(IMAGES, identifier, row), *[Put(NAMES, name, NameRow(identifier)) for name in named]
        )
        self._rows[identifier], self._configs[identifier] = row, config
        self._names |= dict.fromkeys(named, identifier)
        return self.get(identifier)

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

    async def remove(
        self,
        text: str,
        *,
        force: bool,
        prune: bool,
        users: Users,
    ) -> Sequence[dict[str, str]]:
        """`docker rmi`: takes a name away, and the image with its last one. Docker's list of {Untagged}, {Deleted}.

        `users` gives (container id, is running) of an image. Raises Conflict in docker's words, NotFound.
        """
        image = self.resolve(text)
        by_name = not self._is_id_of(text, image)
        names = [*image.tags, *image.digests]
        if by_name:
            reference = parse_reference(text)
            mine = [
                name
                for name in names
                if name == str(reference) or (reference.digest and name.startswith(f"{reference.name}@"))
            ]
            # Digest names of a repository go with its last tag.
            repository = reference.name
            left_tags = [name for name in image.tags if name not in mine]
            if not any(name.startswith(f"{repository}:") for name in left_tags):
                mine += [name for name in image.digests if name.startswith(f"{repository}@") and name not in mine]
            if [name for name in names if name not in mine]:
                return await self._untag(image, mine)
            self._check_unused(image, users, force=force, reference=reference.familiar())
            return [*await self._untag(image, mine), *await self._delete(image, prune=prune, users=users)]
        repositories = {name.rpartition(":")[0] for name in image.tags}
        if len(repositories) > 1 and not force:
            raise Conflict(
                f"conflict: unable to delete {image.short_id} (must be forced) - image is referenced in multiple repositories"
            )
        self._check_unused(image, users, force=force, reference="")
        children = self.children(image.id)
        if children and not names:
            raise Conflict(
                f"conflict: unable to delete {image.short_id} (cannot be forced) - image has dependent child images"
            )
        untagged = await self._untag(image, names)
        return [*untagged, *await self._delete(image, prune=prune, users=users)]

    @staticmethod
    def _is_id_of(text: str, image: Image) -> bool:
        return is_image_id(text) and image.id.startswith("sha256:" + text.removeprefix("sha256:"))

    def _check_unused(self, image: Image, users: Users, *, force: bool, reference: str) -> None:
        for container, running in users(image.id):
            if running and not reference:
                raise Conflict(
                    f"conflict: unable to delete {image.short_id} (cannot be forced) - "
                    f"image is being used by running container {container[:12]}"
                )
            if not force and reference:
                raise Conflict(
                    f'conflict: unable to remove repository reference "{reference}" (must force) - '
                    f"container {container[:12]} is using its referenced image {image.short_id}"
                )
            if not force:
                raise Conflict(
                    f"conflict: unable to delete {image.short_id} (must be forced) - "
                    f"image is being used by stopped container {container[:12]}"
                )

    async def _untag(self, image: Image, names: Iterable[str]) -> Sequence[dict[str, str]]:
        names = sorted(names)
        await self._database.commit(*[Delete(NAMES, name) for name in names])
        for name in names:
            self._names.pop(name, None)
            self.on_event("untag", image.id, parse_reference(name, None).familiar())
        return [{"Untagged": parse_reference(name, None).familiar()} for name in names]

    async def _delete(self, image: Image, *, prune: bool, users: Users) -> Sequence[dict[str, str]]:
        """The image and, with `prune`, those of its parents that nothing names or uses. Kept when a container still needs it."""
        deleted: list[dict[str, str]] = []
        current: Image | None = self.get(image.id)  # its names are fewer now
        while current is not None:
            if users(current.id) or self.children(current.id) or current.tags or current.digests:
                break
            await self._database.commit(Delete(IMAGES, current.id))
            row, config = self._rows.pop(current.id), self._configs.pop(current.id)
            deleted.append({"Deleted": current.id})
            self.on_event("delete", current.id, current.id)
            deleted += await self._drop_content(row, config)
            parent = row.parent
            current = self.get(parent) if prune and parent in self._rows else None
        return deleted

    async def _drop_content(self, row: ImageRow, config: ImageConfig) -> Sequence[dict[str, str]]:
        """Layers and blobs that nobody else needs. The rows are gone already: a crash here leaves bytes, not a lie."""
        needed = self.needed_layers()
        deleted: list[dict[str, str]] = []
        for diff in reversed(config.rootfs.diff_ids):
            if diff not in needed and Digest(diff) not in self._leases:
                await self.layers.remove(Digest(diff))
                deleted.append({"Deleted": diff})
        await self._drop_blobs({row.id, row.manifest, *row.blobs.values()} - {""})
        return deleted

    async def _drop_blobs(self, blobs: Iterable[str]) -> None:
        """Those of `blobs` that no image and nothing under way needs."""
        kept = {blob for other in self._rows.values() for blob in (*other.blobs.values(), other.manifest, other.id)}
        for blob in blobs:
            if blob not in kept and blob not in self._blob_leases:
                await asyncio.to_thread(self.content.delete, Digest(blob))

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

    async def prune(
        self,
        *,
        dangling_only: bool,
        wanted: Callable[[Image], bool],
        users: Users,
    ) -> tuple[Sequence[dict[str, str]], int]:
        """Removes images that no container uses and no name (or, not `dangling_only`, no matter which) holds; bytes freed."""
        deleted: list[dict[str, str]] = []
        before = self._disk_bytes()
        for image in self.list():
            if users(image.id) or image.id not in self._rows or not wanted(image):
                continue
            if dangling_only and image.tags:
                continue
            if self.children(image.id):
                continue
            deleted += await self._untag(image, [*image.tags, *image.digests])
            deleted += await self._delete(image, prune=True, users=users)
        return deleted, max(0, before - self._disk_bytes())

    def _disk_bytes(self) -> int:
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
