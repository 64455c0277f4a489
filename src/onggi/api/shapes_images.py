"""Images as clients read them, each version in its form. Pure: the image room's values in, documents out.

Source: the API's version history; names and order of fields are dockerd's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from onggi.api.matching import label_test, only_flag
from onggi.api.shapes_networks import until_of
from onggi.errors import InvalidArgument
from onggi.oci.digest import Digest
from onggi.oci.image import RunConfig
from onggi.oci.reference import parse_reference

if TYPE_CHECKING:
    from onggi.api.query import Filters
    from onggi.images import Image, Images

Document = dict[str, Any]
_FRACTION: Final = re.compile(r"\.(\d+)", re.ASCII)

_RUNTIME_FIELDS: Final = (
    "Hostname",
    "Domainname",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Image",
)
"""Fields that an image's config never meant; gone from answers with 1.50."""
_ALWAYS_TOLD: Final = ("Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes", "WorkingDir")
_ZERO_TIME: Final = "0001-01-01T00:00:00Z"


def unix_time(text: str | None) -> int:
    """Seconds since 1970 of an RFC 3339 time; 0 when it is none."""
    if not text:
        return 0
    try:
        return int(datetime.fromisoformat(text.replace("Z", "+00:00")[:19] + "+00:00").timestamp())
    except ValueError:
        return 0


def familiar_names(image: Image) -> tuple[list[str], list[str]]:
    """Tags and digests as people write them."""
    tags = [parse_reference(name).familiar() for name in image.tags]
    return tags, [parse_reference(name, None).familiar() for name in image.digests]


def summary(
    image: Image, version: int, *, containers: int, shared: int, names: tuple[list[str], list[str]] | None = None
) -> Document:
    """An entry of `GET /images/json`."""
    tags, digests = names or familiar_names(image)
    if version < 43:
        tags = tags or ["<none>:<none>"]
        digests = digests or (["<none>@<none>"] if tags == ["<none>:<none>"] else [])
    found: Document = {
        "Containers": containers if version >= 51 else -1,
        "Created": unix_time(image.config.created),
        "Id": image.id,
        "Labels": image.config.run.labels,
        "ParentId": image.row.parent,
        "RepoDigests": digests,
        "RepoTags": tags,
        "SharedSize": shared,
        "Size": image.row.size,
    }
    if version < 44:
        found["VirtualSize"] = image.row.size
    return found


def inspect(image: Image, version: int, *, lower: Sequence[str], last_tagged: str) -> Document:
    """`GET /images/{name}/json`. `lower`: the layers' directories, topmost first."""
    config = image.config
    tags, digests = familiar_names(image)
    found: Document = {
        "Id": image.id,
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": image.row.parent,
        "Comment": (config.history or [])[-1].comment if config.history else "",
        "Created": config.created or _ZERO_TIME,
        "DockerVersion": "",
        "Author": config.author,
        "Config": run_config(config.run, version),
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os or "linux",
        "OsVersion": config.os_version,
        "Size": image.row.size,
        "GraphDriver": {"Data": graph_data(lower), "Name": "overlay2"},
        "RootFS": {"Type": config.rootfs.type, "Layers": list(config.rootfs.diff_ids)},
        "Metadata": {"LastTagTime": last_tagged or _ZERO_TIME},
    }
    for name in ("Variant", "OsVersion"):
        if not found[name]:
            del found[name]
    if version < 44:
        found["VirtualSize"] = image.row.size
    if version < 45:
        found |= {"Container": "", "ContainerConfig": run_config(RunConfig(), version)}
    return found


def graph_data(lower: Sequence[str]) -> dict[str, str]:
    """The directories that overlay mounts. Several, so they are joined by colons as overlay's option is."""
    data = {"UpperDir": lower[0]} if lower else {}
    return data | ({"LowerDir": ":".join(lower[1:])} if len(lower) > 1 else {})


def run_config(run: RunConfig, version: int) -> Document:
    """An image's `Config`: from 1.52 without what is empty, before with nulls, below 1.50 with a container's fields too."""
    found: Document = msgspec.to_builtins(run)
    if version >= 52:
        return {name: value for name, value in found.items() if value and name not in _RUNTIME_FIELDS}
    for name in _ALWAYS_TOLD:
        found.setdefault(name, "" if name in ("User", "WorkingDir") else None)
    for name in _RUNTIME_FIELDS:
        if version < 50:
            found.setdefault(name, "" if name in ("Hostname", "Domainname", "Image") else False)
        else:
            found.pop(name, None)
    return found


def history(image: Image, size_of: Callable[[Digest], int]) -> list[Document]:
    """`GET /images/{name}/history`, newest first; only the image itself has an id."""
    layers = iter(image.layers)
    entries: list[Document] = []
    for step in image.config.history or []:
        layer = None if step.empty_layer else next(layers, None)
        entries.append(
            {
                "Comment": step.comment,
                "Created": unix_time(step.created),
                "CreatedBy": step.created_by,
                "Id": "<missing>",
                "Size": size_of(layer) if layer else 0,
                "Tags": None,
            }
        )
    for layer in layers:  # more layers than steps: an image made without a history
        entries.append(
            {"Comment": "", "Created": 0, "CreatedBy": "", "Id": "<missing>", "Size": size_of(layer), "Tags": None}
        )
    entries.reverse()
    if entries:
        entries[0] |= {"Id": image.id, "Tags": familiar_names(image)[0] or None}
    return entries


def image_test(filters: Filters, images: Images) -> Callable[[Image], tuple[list[str], list[str]] | None]:
    """What of an image's names a list shows; None when the image isn't wanted. Raises InvalidArgument, NotFound.

    `reference` chooses names, and so images; everything else chooses images alone.
    """
    labels = label_test(filters)
    dangling = only_flag(filters, "dangling")
    patterns = filters.get("reference", [])
    before = min((_created(images.resolve(name)) for name in filters.get("before", [])), default=None)
    since = max((_created(images.resolve(name)) for name in filters.get("since", [])), default=None)
    until = until_of(filters)

    def test(image: Image) -> tuple[list[str], list[str]] | None:
        created = _created(image)
        tags, digests = familiar_names(image)
        if patterns:
            tags = [name for name in tags if any(reference_matches(pattern, name) for pattern in patterns)]
            digests = [name for name in digests if any(reference_matches(pattern, name) for pattern in patterns)]
            if not tags and not digests:
                return None
        wanted = (
            labels(image.config.run.labels or {})
            and dangling in (None, not image.tags)
            and (before is None or created < before)
            and (since is None or created > since)
            and (not until or created < until)
        )
        return (tags, digests) if wanted else None

    return test


def reference_matches(pattern: str, name: str) -> bool:
    """Go's path.Match on the whole familiar name, or on its repository (reference.FamiliarMatch)."""
    repository = name.partition("@")[0]
    if "/" in repository.rpartition(":")[2] or ":" not in repository:
        bare = repository
    else:
        bare = repository.rpartition(":")[0]
    return any(_glob(pattern)(text) is not None for text in (name, bare))


@lru_cache(maxsize=64)
def _glob(pattern: str) -> Callable[[str], re.Match[str] | None]:
    """`*` and `?` stop at a slash, as path.Match's do."""
    parts = re.split(r"(\*+|\?|\[[^\]]*\])", pattern)
    expression = ""
    for part in parts:
        if part.startswith("*"):
            expression += "[^/]*"
        elif part == "?":
            expression += "[^/]"
        elif part.startswith("["):
            expression += (
                "[" + part[1:-1].replace("\\", "\\\\").replace("[", "\\[") + "]" if len(part) > 2 else re.escape(part)
            )
        else:
            expression += re.escape(part)
    try:
        return re.compile(expression).fullmatch
    except re.error:
        raise InvalidArgument(f"invalid filter 'reference={pattern}'") from None


def shared_sizes(images: Images) -> dict[str, int]:
    """By image: bytes of layers that another image has too."""
    users: dict[str, int] = {}
    for image in images.list():
        for layer in set(image.layers):
            users[layer] = users.get(layer, 0) + 1
    return {
        image.id: sum(images.layers.size(layer) for layer in image.layers if users[layer] > 1)
        for image in images.list()
    }


def _created(image: Image) -> int:
    """Nanoseconds since 1970: images of one build are younger than each other by parts of a second."""
    fraction = _FRACTION.search(image.config.created or "")
    return unix_time(image.config.created) * 10**9 + (int(fraction[1].ljust(9, "0")[:9]) if fraction else 0)
