"""Bind mounts that shall propagate: only a source that is shared on the host can (mount_namespaces(7)). Blocking, quick."""

from __future__ import annotations

import os
from collections.abc import Iterable

from onggi.engine.config import MountPoint
from onggi.errors import InvalidArgument
from onggi.kernel import mounts

_SHARED = frozenset({"shared", "rshared"})
_SLAVE = frozenset({"slave", "rslave"})


def check(points: Iterable[MountPoint]) -> None:
    """Raises InvalidArgument in dockerd's words for one that could not propagate: it would be private without a word."""
    wanted = [point for point in points if point.type == "bind" and point.propagation in _SHARED | _SLAVE]
    if not wanted:
        return
    table = _mounts()
    for point in wanted:
        source = os.path.realpath(point.source)
        at = max((path for path in table if path in ("/", source) or source.startswith(path + "/")), key=len)
        tags = table[at]
        if point.propagation in _SHARED and "shared" not in tags:
            raise InvalidArgument(f"path {point.source} is mounted on {at} but it is not a shared mount")
        if point.propagation in _SLAVE and not tags & {"shared", "master"}:
            raise InvalidArgument(f"path {point.source} is mounted on {at} but it is not a shared or slave mount")


def _mounts() -> dict[str, set[str]]:
    """Mount point → its propagation tags; the topmost mount counts."""
    return {mount.target: {tag.partition(":")[0] for tag in mount.optional} for mount in mounts.mountinfo()}
