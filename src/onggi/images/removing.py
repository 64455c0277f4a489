"""When an image may go, in docker's order and words (moby daemon/images/image_delete.go)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from onggi.errors import Conflict
from onggi.images.catalog import Catalog, Image, is_image_id
from onggi.oci.reference import Reference, parse_reference

if TYPE_CHECKING:
    from onggi.oci.digest import Digest

Users = Callable[[str], list[tuple[str, bool]]]
"""Containers of an image: (id, is running)."""

Deleted = Sequence[dict[str, str]]


async def remove(catalog: Catalog, text: str, *, force: bool, prune: bool, users: Users) -> Deleted:
    """Takes a name away, and the image with its last one; or by id the image with all names. Raises Conflict, NotFound."""
    image = catalog.resolve(text)
    if _is_id_of(text, image.id):
        _check_id(catalog, image, users, force=force)
        untagged = await catalog.untag(image.id, [*image.tags, *image.digests])
        return [*untagged, *await _delete(catalog, image.id, prune=prune, users=users, force=force)]
    reference = parse_reference(text)
    using = users(image.id)
    if using and not force and _is_single(image):
        raise Conflict(
            f'conflict: unable to remove repository reference "{text}" (must force) - '
            f"container {using[0][0][:12]} is using its referenced image {image.short_id}"
        )
    names = _names_of(image, reference)
    untagged = await catalog.untag(image.id, names)
    if set(names) != {*image.tags, *image.digests}:
        return untagged
    # The name is gone; an image that something still needs stays without one.
    return [*untagged, *await _delete(catalog, image.id, prune=prune, users=users, force=force)]


async def prune(
    catalog: Catalog, *, dangling_only: bool, wanted: Callable[[Image], bool], users: Users
) -> tuple[Deleted, int]:
    """Images that no container uses; what went, and the bytes that are free now."""
    deleted: list[dict[str, str]] = []
    before = catalog.disk_bytes()
    for image in catalog.list():
        current = catalog.find(image.id)
        if current is None or users(image.id) or catalog.children(image.id) or not wanted(current):
            continue
        if dangling_only and current.tags:
            continue
        deleted += await catalog.untag(image.id, [*current.tags, *current.digests])
        deleted += await _delete(catalog, image.id, prune=True, users=users)
    await catalog.sweep()
    return deleted, max(0, before - catalog.disk_bytes())


async def _delete(
    catalog: Catalog, identifier: Digest, *, prune: bool, users: Users, force: bool = False
) -> list[dict[str, str]]:
    """The image and, with `prune`, those of its parents that nothing names or uses. One that is needed stays.

    `force`: a container that doesn't run keeps the image no longer; its layers stay with it.
    """
    deleted: list[dict[str, str]] = []
    current = catalog.find(identifier)
    while current is not None:
        needed = [runs for _, runs in users(current.id) if runs or not (force and current.id == identifier)]
        if needed or catalog.children(current.id) or current.tags or current.digests:
            break
        deleted += await catalog.forget(current.id)
        current = catalog.find(current.row.parent) if prune else None
    return deleted


def _check_id(catalog: Catalog, image: Image, users: Users, *, force: bool) -> None:
    """Hard conflicts stand whatever is forced, and are told first."""
    using = users(image.id)
    if catalog.children(image.id):
        raise Conflict(_unable(image, "cannot be forced", "image has dependent child images"))
    for container, runs in using:
        if runs:
            raise Conflict(
                _unable(image, "cannot be forced", f"image is being used by running container {container[:12]}")
            )
    if force:
        return
    if not _is_single(image):
        raise Conflict(_unable(image, "must be forced", "image is referenced in multiple repositories"))
    if using:
        raise Conflict(_unable(image, "must be forced", f"image is being used by stopped container {using[0][0][:12]}"))


def _unable(image: Image, how: str, why: str) -> str:
    return f"conflict: unable to delete {image.short_id} ({how}) - {why}"


def _is_single(image: Image) -> bool:
    """Whether the names are one tag at most, and digests of one repository, the tag's."""
    repositories = {name.partition("@")[0] for name in image.digests}
    repositories |= {name.rpartition(":")[0] for name in image.tags}
    return len(image.tags) <= 1 and len(repositories) <= 1


def _names_of(image: Image, reference: Reference) -> list[str]:
    """What goes with `reference`: with the last tag of a repository its digests too."""
    digests = [name for name in image.digests if name.startswith(f"{reference.name}@")]
    if reference.digest:
        return [name for name in digests if name == str(reference.with_digest(reference.digest))]
    others = [name for name in image.tags if name != str(reference) and name.rpartition(":")[0] == reference.name]
    return [str(reference)] if others else [str(reference), *digests]


def _is_id_of(text: str, identifier: Digest) -> bool:
    return is_image_id(text) and identifier.startswith("sha256:" + text.removeprefix("sha256:"))
