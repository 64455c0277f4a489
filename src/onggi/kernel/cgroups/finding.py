"""Groups by their name, wherever they lie: what a killed process has made is found without its notes."""

from __future__ import annotations

import os

from onggi.kernel.cgroups.v1 import mounted_hierarchies


def find(name: str, unified_root: str) -> set[str]:
    """Paths below the roots of all hierarchies; the groups below one that is found aren't looked at.

    `unified_root` is v2's mount point, "" on a machine with v1. Blocking: 30 µs for each group of the machine.
    """
    found: set[str] = set()
    for root in [unified_root] if unified_root else set(mounted_hierarchies().values()):
        # Directories of other programs go while we look: os.walk passes over them.
        for path, below, _ in os.walk(root):
            if name in below:
                found.add(f"{path}/{name}".removeprefix(root))
                below.remove(name)
    return found


def names_below(path: str, unified_root: str) -> set[str]:
    """Of the groups directly below `path`, in whichever hierarchy."""
    roots = [unified_root] if unified_root else set(mounted_hierarchies().values())
    return {name for root in roots for name in _directories(f"{root}/{path.strip('/')}")}


def _directories(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return []
